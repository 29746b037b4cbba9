"""The option `effort`: outputs differ in their size, and JPEG and PNG not in their pixels."""

from collections.abc import Callable

import pytest
from PIL import Image

from processing.compress import Compressed, OutputOptions, Recipe, compress
from processing.compress.native import UnsuitableError, requantise
from tests.support import pictures
from tests.support.corpus import SOUND
from tests.support.pictures import decoded, encoded
from tests.support.reader import metadata, psnr

CAP = 50_000_000
EFFORTS = ("fast", "balanced", "smallest")
JPEGS = [name for name, sound in SOUND.items() if sound.format in ("jpeg", "mpo")]
SOURCES: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: encoded(pictures.photo(400, 300), "JPEG", quality=90),
    "grey JPEG": lambda: encoded(pictures.photo(400, 300).convert("L"), "JPEG", quality=90),
    "JPEG with all of its colours": lambda: encoded(
        pictures.photo(400, 300), "JPEG", quality=90, subsampling="4:4:4"
    ),
    "PNG": lambda: encoded(pictures.photo(400, 300), "PNG"),
}


def made(source: bytes, **options: object) -> dict[str, Compressed]:
    return {
        effort: compress(source, Recipe(effort=effort, **options), max_pixels=CAP)  # type: ignore[arg-type]
        for effort in EFFORTS
    }


@pytest.mark.usefixtures("jpeg_path")
@pytest.mark.parametrize("name", SOURCES)
def test_each_effort_makes_a_smaller_jpeg_with_the_same_pixels(name: str) -> None:
    outputs = made(SOURCES[name]())
    pixels = {effort: decoded(one.data).tobytes() for effort, one in outputs.items()}
    assert pixels["fast"] == pixels["balanced"] == pixels["smallest"]
    sizes = [len(outputs[effort].data) for effort in EFFORTS]
    assert sizes[0] > sizes[1] > sizes[2]
    assert all(metadata(one.data) == [] for one in outputs.values())
    assert outputs["smallest"].output.quality == 50


@pytest.mark.usefixtures("jpeg_path")
@pytest.mark.sample("name")
@pytest.mark.parametrize("name", JPEGS)
def test_no_jpeg_of_the_corpus_looks_different(name: str) -> None:
    source = SOUND[name].file()
    outputs = made(source, quality=80)
    if not any(one.kept for one in outputs.values()):
        assert len({decoded(one.data).tobytes() for one in outputs.values()}) == 1
    for one in outputs.values():
        assert len(one.data) <= len(source)
        assert decoded(one.data).size == SOUND[name].shows.size


def test_the_efforts_of_a_png_have_the_same_pixels() -> None:
    drawing = pictures.quarters(200, 150)
    for image in (drawing, pictures.photo(200, 150)):
        outputs = made(encoded(image, "TIFF"), format="original")
        assert {decoded(one.data).tobytes() for one in outputs.values()} == {image.tobytes()}
        assert len(outputs["smallest"].data) == min(len(one.data) for one in outputs.values())


def test_the_efforts_of_a_webp_are_about_as_like_its_source() -> None:
    source = pictures.photo(320, 240)
    outputs = made(encoded(source, "PNG"), format="webp")
    losses = [psnr(decoded(one.data), source) for one in outputs.values()]
    assert max(losses) - min(losses) < 1
    assert len(outputs["fast"].data) > len(outputs["smallest"].data)


def test_a_rendition_has_an_effort_of_its_own() -> None:
    source = SOURCES["JPEG"]()
    renditions = tuple(OutputOptions(effort=effort) for effort in EFFORTS)
    result = compress(source, Recipe(effort="fast", renditions=renditions), max_pixels=CAP)
    alone = made(source)
    assert [one.data for one in result.outputs] == [alone[one].data for one in ("fast", *EFFORTS)]


@pytest.mark.needs("requantise.so")
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(1, 1), (17, 33), (320, 240)])
@pytest.mark.parametrize("quality", [1, 50, 100])
def test_standard_codes_have_every_symbol(mode: str, size: tuple[int, int], quality: int) -> None:
    source = encoded(pictures.photo(*size).convert(mode), "JPEG", quality=100)
    plain, own = (requantise(source, quality, CAP, has_own_codes=own) for own in (False, True))
    assert decoded(plain).tobytes() == decoded(own).tobytes()
    assert requantise(plain, quality, CAP) == own


@pytest.mark.needs("requantise.so")
def test_standard_codes_go_with_the_tables_of_the_other_path() -> None:
    source = bytearray(encoded(pictures.photo(64, 48), "JPEG", quality=90, dpi=(300, 300), progressive=True))
    frame = source.index(b"\xff\xc2")
    for component in range(3):  # all have the first quantisation table, and identifiers of their own
        source[frame + 12 + 3 * component] = 0
    plain, own = (requantise(bytes(source), 50, CAP, has_own_codes=own) for own in (False, True))
    assert decoded(plain).tobytes() == decoded(own).tobytes()
    assert decoded(plain).info == decoded(own).info


@pytest.mark.needs("requantise.so")
def test_standard_codes_of_noise_need_more_room_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Image.effect_noise((256, 256), 200)
    source = encoded(noise, "JPEG", quality=5)
    try:
        output = requantise(source, 100, CAP, has_own_codes=False)
    except UnsuitableError as error:
        assert "larger" in str(error)
    else:
        assert decoded(output).size == (256, 256)
