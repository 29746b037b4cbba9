"""JPEGs whose coefficients are requantised, judged by those whose pixels are decoded and encoded."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from processing.compress import CompressError, Recipe, compress, native
from processing.compress.native import UnsuitableError, requantise
from tests.support import hostile_pictures as hostile
from tests.support import pictures
from tests.support.corpus import SOUND, ultra_hdr
from tests.support.pictures import decoded, encoded
from tests.support.reader import metadata, psnr
from tests.support.sanitized import call_mutated

pytestmark = pytest.mark.needs(native.LIBRARY.name)
CAP = 50_000_000
JPEGS = [name for name, sound in SOUND.items() if sound.format in ("jpeg", "mpo")]
SIZES = [(1, 1), (7, 5), (8, 8), (9, 8), (16, 16), (17, 33), (301, 1), (1, 301), (320, 240)]


def made(data: bytes, quality: int) -> bytes | str:
    """The output, or the code of the error."""
    try:
        return compress(data, Recipe(quality=quality), max_pixels=CAP).data
    except CompressError as error:
        return error.code


def by_pixels(data: bytes, quality: int) -> bytes | str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "library", lambda: None)
        return made(data, quality)


def noise(mode: str, side: int = 64) -> Image.Image:
    """The most that a JPEG may have to store."""
    shape = (side, side, 3) if mode == "RGB" else (side, side)
    return Image.fromarray(np.random.default_rng(1).integers(0, 2, shape, np.uint8) * 255)


def header(data: bytes) -> JpegImageFile:
    return cast(JpegImageFile, Image.open(BytesIO(data)))


# --- What it makes ---


@pytest.mark.sample("quality")
@pytest.mark.parametrize("quality", [50, 10, 95])
@pytest.mark.parametrize("name", JPEGS)
def test_every_jpeg_of_the_corpus_comes_out_as_by_its_pixels(name: str, quality: int) -> None:
    source = SOUND[name].file()
    one, other = made(source, quality), by_pixels(source, quality)
    assert isinstance(one, bytes)
    assert isinstance(other, bytes)
    assert metadata(one) == []
    assert (decoded(one).size, decoded(one).mode) == (decoded(other).size, decoded(other).mode)
    assert psnr(decoded(one), decoded(other)) > 26
    shown = SOUND[name].shows.convert(decoded(one).mode)
    assert psnr(decoded(one), shown) >= psnr(decoded(other), shown) - 0.25  # so few pixels
    assert len(one) <= len(source)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("quality", [20, 50, 70])
def test_it_is_as_near_to_a_photograph_and_no_larger(mode: str, quality: int) -> None:
    source = encoded(pictures.photo(640, 480).convert(mode), "JPEG", quality=90)
    one, other = requantise(source, quality, CAP), by_pixels(source, quality)
    assert isinstance(other, bytes)
    assert psnr(decoded(one), decoded(source)) >= psnr(decoded(other), decoded(source)) - 0.05
    assert len(one) <= len(other)


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_blocks": 3}, {"optimize": True}]
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", SIZES)
def test_with_the_same_tables_not_a_pixel_changes(
    size: tuple[int, int], mode: str, options: dict[str, object]
) -> None:
    source = encoded(pictures.photo(*size).convert(mode), "JPEG", quality=70, **options)
    output = requantise(source, 70, CAP)
    assert decoded(output).tobytes() == decoded(source).tobytes()
    assert requantise(output, 70, CAP) == output
    if not options.keys() & {"progressive", "optimize"}:
        assert len(output) <= len(source)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("quality", [1, 30, 100])
def test_with_the_same_tables_not_a_pixel_of_noise_changes(mode: str, quality: int) -> None:
    source = encoded(noise(mode, 512), "JPEG", quality=quality)
    output = requantise(source, quality, CAP)
    assert decoded(output).tobytes() == decoded(source).tobytes()
    assert len(output) <= len(source)


def test_the_huffman_codes_are_as_short_as_those_of_libjpeg() -> None:
    images = [pictures.photo(200, 150, seed=seed) for seed in range(8)]
    plain = [requantise(encoded(image, "JPEG", quality=50), 50, CAP) for image in images]
    optimal = [encoded(image, "JPEG", quality=50, optimize=True) for image in images]
    assert sum(map(len, plain)) <= sum(map(len, optimal))


@pytest.mark.parametrize("quality", [1, 24, 25, 26, 49, 50, 51, 75, 95, 100])
def test_the_quantisation_tables_are_those_of_the_other_path(quality: int) -> None:
    for mode in ("RGB", "L"):
        source = encoded(pictures.photo(64, 64).convert(mode), "JPEG", quality=98)
        plain = encoded(pictures.photo(64, 64).convert(mode), "JPEG", quality=quality)
        output = header(requantise(source, quality, CAP))
        assert output.quantization == header(plain).quantization
        assert get_sampling(output) == get_sampling(header(plain))
        assert output.info == {"jfif": 257, "jfif_version": (1, 1), "jfif_density": (1, 1), "jfif_unit": 0}


def test_halves_go_to_zero() -> None:
    """The mean of the pixels is stored in steps of 1 and wanted in steps of 16: 24 are one and a half."""
    for grey, steps in ((131, 1), (125, -1)):
        source = encoded(Image.new("L", (8, 8), grey), "JPEG", quality=100)
        expected = 128 + steps * 16 / 8
        assert decoded(requantise(source, 50, CAP)).getpixel((0, 0)) == expected


def test_a_grey_jpeg_with_sampling_factors_is_understood() -> None:
    source = bytearray(encoded(pictures.photo(33, 17).convert("L"), "JPEG", quality=70))
    frame = source.index(b"\xff\xc0")
    assert source[frame + 11] == 0x11
    source[frame + 11] = 0x22
    assert decoded(requantise(bytes(source), 70, CAP)).tobytes() == decoded(bytes(source)).tobytes()


def test_of_several_pictures_in_a_file_the_first_is_taken() -> None:
    assert decoded(requantise(ultra_hdr(), 50, CAP)).size == (96, 64)


def test_threads_do_not_get_in_each_others_way() -> None:
    sources = [pictures.photo_jpeg(300 + 16 * seed, 200, seed=seed) for seed in range(8)]
    alone = [requantise(source, 50, CAP) for source in sources]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda number: requantise(sources[number % 8], 50, CAP), range(160)))
    assert together == alone * 20


# --- What it leaves to the other path ---


def patched(data: bytes, marker: bytes, offset: int, value: int) -> bytes:
    at = data.index(marker) + offset
    return data[:at] + bytes([value]) + data[at + 1 :]


def without_last_scan(data: bytes) -> bytes:
    last = data.rindex(b"\xff\xda")
    return data[: data.rindex(b"\xff\xc4", 0, last)] + b"\xff\xd9"


def jpeg(**options: Any) -> bytes:
    return pictures.photo_jpeg(64, 48, **options)


UNSUITABLE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no JPEG": lambda: pictures.rgba_png(8, 8),
    "the start alone": lambda: b"\xff\xd8\xff",
    "colours at full resolution": lambda: jpeg(subsampling="4:4:4"),
    "colours at half the width": lambda: jpeg(subsampling="4:2:2"),
    "red, green and blue": lambda: jpeg(keep_rgb=True),
    "inks": lambda: pictures.cmyk_jpeg(64, 48),
    "cut off": lambda: pictures.truncated(jpeg()),
    "cut off between scans": lambda: without_last_scan(jpeg(progressive=True)),
    "stray bytes": lambda: jpeg()[:-2] + b"stray\xff\xd9",
    "a wrong restart": lambda: jpeg(restart_marker_blocks=1).replace(b"\xff\xd1", b"\xff\xd5"),
    "arithmetic coding": lambda: patched(jpeg(), b"\xff\xc0", 1, 0xC9),
    "lossless": lambda: patched(jpeg(), b"\xff\xc0", 1, 0xC3),
    "12 bits": lambda: patched(jpeg(), b"\xff\xc0", 4, 12),
    "no components": lambda: patched(jpeg(), b"\xff\xc0", 9, 0),
    "two components": lambda: patched(jpeg(), b"\xff\xc0", 9, 2),
    "no such quantisation table": lambda: patched(jpeg(), b"\xff\xc0", 12, 3),
    "no such Huffman table": lambda: patched(jpeg(), b"\xff\xda", 6, 0x33),
    "no width": lambda: patched(patched(jpeg(), b"\xff\xc0", 7, 0), b"\xff\xc0", 8, 0),
    "more rows than there are": lambda: patched(jpeg(), b"\xff\xc0", 5, 1),
    "too many scans": lambda: hostile.repeated_scans(200),
    "hidden scans": lambda: hostile.hidden_scans(200),
}


@pytest.mark.parametrize("name", UNSUITABLE)
def test_what_is_odd_is_left_to_the_other_path(name: str) -> None:
    source = UNSUITABLE[name]()
    with pytest.raises(UnsuitableError) as caught:
        requantise(source, 50, CAP)
    assert str(caught.value)
    assert made(source, 50) == by_pixels(source, 50)


def test_more_pixels_than_were_reckoned_with_are_not_read() -> None:
    source = jpeg()
    assert requantise(source, 50, 64 * 48)
    with pytest.raises(UnsuitableError, match="too many pixels"):
        requantise(source, 50, 64 * 48 - 1)


def test_an_output_that_would_be_much_larger_is_left_to_the_other_path() -> None:
    source = encoded(noise("L", 512), "JPEG", quality=3)
    with pytest.raises(UnsuitableError, match="larger"):
        native_with_room(source, 100, room=len(source))
    assert len(made(source, 100)) <= len(source)


def native_with_room(data: bytes, quality: int, room: int) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{native.__name__}.np.empty", lambda size, kind: np.zeros(room, kind))
        return requantise(data, quality, CAP)


@pytest.mark.parametrize("fault", ["missing", "no library"])
def test_without_its_library_pixels_are_decoded(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "no library":
        (tmp_path / "requantise.so").write_bytes(b"no library")
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "requantise.so")
    monkeypatch.setattr(native, "library", native.library.__wrapped__)
    assert native.library() is None
    with pytest.raises(UnsuitableError):
        requantise(jpeg(), 50, CAP)
    assert made(jpeg(), 50) == by_pixels(jpeg(), 50)


# --- Safety ---


@pytest.mark.needs("more time")
def test_no_damage_makes_it_err(tmp_path: Path) -> None:
    sources = [SOUND[name].file() for name in JPEGS] + [make() for make in UNSUITABLE.values()]
    assert "2000 calls" in call_mutated(sources, tmp_path, seconds=0, rounds=2000, seed=26)
