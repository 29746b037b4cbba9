"""Every picture of the corpus as Chromium paints it, and as it paints what is made of it.

With `-s` the comparison is printed as the table of docs/formats.md.
"""

from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from processing.compress import Recipe, compress
from tests.support import rare_pictures as rare
from tests.support.corpus import CLEAR, CODES, COLOURED, SOUND, WIDE, stored_as
from tests.support.painting import painted
from tests.support.pictures import decoded, difference, encoded

if TYPE_CHECKING:
    from playwright.sync_api import Page

CAP = 50_000_000
#: Mean difference of the channel that differs most, of 255, where nothing is lost on the way.
TOLERANCE = 2
#: What quality 95 loses of such grain and hard edges.
CODEC = 3.5
#: Formats that Chromium does not show.
NOT_PAINTED = {"tiff", "heif", "jpeg2000", "psd"}
#: Chromium ignores the EXIF orientation of a WebP, and paints the frames of an AVIF with too much contrast.
#: Of a JPEG without an end it leaves out the last rows, although they are there.
TURNED, HARSH, CUT = "WebP: orientation 6", "AVIF: animated", "JPEG: no end"


@pytest.fixture
def lossless(monkeypatch: pytest.MonkeyPatch) -> None:
    """PNG is made of every format."""
    monkeypatch.setattr("processing.compress.compression.ORIGINAL_FORMATS", {})


def made(source: bytes, quality: int = 95) -> bytes:
    return compress(source, Recipe(quality=quality, format="original"), max_pixels=CAP).data


def print_table(differences: dict[str, float]) -> None:
    groups = defaultdict(list)
    for name, value in differences.items():
        groups[name.partition(":")[0]].append(value)
    print("\n| format | cases | worst difference |\n|---|---|---|")
    for group, values in groups.items():
        print(f"| {group} | {len(values)} | {max(values):.2f} |")


def test_chromium_paints_what_is_made_as_it_paints_the_source(page: "Page", lossless: None) -> None:
    sources = {name: sound.file() for name, sound in SOUND.items() if sound.format not in NOT_PAINTED}
    sources |= {name: make() for name, make in COLOURED.items()}
    sources[CUT] += bytes(99)
    shown = dict(zip(sources, painted(page, sources.values()), strict=True))
    outputs = dict(zip(sources, painted(page, map(made, sources.values())), strict=True))
    differences = {}
    for name, expected in shown.items():
        output = outputs[name]
        assert expected is not None, name
        assert output is not None, name
        if name == TURNED:
            expected = stored_as(expected, 8)  # noqa: PLW2901
        differences[name] = difference(expected, output)
    print_table(differences)
    assert 2 < differences.pop(HARSH) < 9
    assert {name: value for name, value in differences.items() if value > TOLERANCE} == {}


def test_of_a_format_that_chromium_does_not_show_a_png_of_the_same_picture_is_the_measure(
    page: "Page", lossless: None
) -> None:
    sounds = {name: sound for name, sound in SOUND.items() if sound.format in NOT_PAINTED}
    sources = {name: sound.file() for name, sound in sounds.items()}
    assert painted(page, sources.values()) == [None] * len(sources)
    expected = painted(page, (encoded(sound.shows, "PNG") for sound in sounds.values()))
    outputs = painted(page, map(made, sources.values()))
    differences = {
        name: difference(one, other)
        for name, one, other in zip(sounds, expected, outputs, strict=True)
        if one is not None and other is not None
    }
    print_table(differences)
    assert set(differences) == set(sounds)
    assert {name: value for name, value in differences.items() if value > sounds[name].tolerance} == {}


def test_the_codes_of_a_heic_mean_what_they_mean_in_a_png(page: "Page", lossless: None) -> None:
    heic = encoded(WIDE, "HEIF", quality=100, chroma=444)
    pixels = encoded(decoded(heic), "PNG")
    # The transfer function of a camera means another one in a PNG.
    codes = [pair for pair in CODES.values() if pair[1] != 1]
    expected = painted(page, (rare.with_chunks(pixels, rare.codes(*pair)) for pair in codes))
    outputs = painted(page, (made(rare.with_nclx(heic, *pair)) for pair in codes))
    for one, other in zip(expected, outputs, strict=True):
        assert one is not None
        assert other is not None
        assert difference(one, other) < TOLERANCE


def test_what_a_picture_keeps_of_its_format_chromium_paints_alike(page: "Page") -> None:
    kept = ("jpeg", "mpo", "webp", "avif", "png")
    names = [
        name for name, sound in SOUND.items() if sound.format in kept and name not in (TURNED, HARSH, CUT)
    ]
    sources = [SOUND[name].file() for name in names]
    for name, source, output in zip(
        names, painted(page, sources), painted(page, map(made, sources)), strict=True
    ):
        assert source is not None, name
        assert output is not None, name
        assert difference(source, output) < CODEC + TOLERANCE, name


def test_the_judge_sees_a_difference(page: "Page") -> None:
    [upright, turned] = painted(page, [encoded(CLEAR, "PNG"), encoded(CLEAR.rotate(180), "PNG")])
    assert isinstance(upright, Image.Image)
    assert isinstance(turned, Image.Image)
    assert difference(upright, turned) > 10
