"""Every picture of the corpus, to every format, judged by libvips and by the bare structure of the file."""

from collections.abc import Iterable
from functools import cache

import pytest
from PIL import Image

from processing.compress import Compressed, ImageInfo, Recipe, compress
from tests.support.corpus import CLEAR, SOUND
from tests.support.pictures import difference
from tests.support.reader import metadata, seen

CAP = 50_000_000
#: What quality 95 loses of such grain and hard edges, on average of a channel.
CODEC = 3.5
FORMATS = {"jpeg": "jpeg", "mpo": "jpeg", "heif": "jpeg", "webp": "webp", "avif": "avif"}


def pairs(names: Iterable[str], *of_all: str) -> list[tuple[str, str]]:
    """Each picture with these formats, and the first of each mode with WebP and AVIF.

    Which decoder has read a picture is no concern of an encoder, which sees its mode and its pixels.
    """
    first_of_mode = {SOUND[name].shows.mode: name for name in reversed([*names])}.values()
    return [(name, format) for name in names for format in of_all] + [
        (name, format) for name in first_of_mode for format in ("webp", "avif")
    ]


@cache
def source(name: str) -> bytes:
    return SOUND[name].file()


def made(name: str, format: str, **limits: int) -> Compressed:
    return compress(source(name), Recipe(quality=95, format=format, **limits), max_pixels=CAP)  # type: ignore[arg-type]


def shown(image: Image.Image) -> Image.Image:
    """The picture on white."""
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image.convert("RGBA"))
    return paper.convert("RGB")


@pytest.mark.sample("format", keep=2)
@pytest.mark.sample("name", by=lambda name: SOUND[name].shows.mode)
@pytest.mark.parametrize(("name", "format"), pairs(SOUND, "jpeg", "original"))
def test_a_sound_picture_comes_out_as_it_is_shown_and_without_metadata(name: str, format: str) -> None:
    sound, result = SOUND[name], made(name, format)
    target = FORMATS.get(sound.format, "png") if format == "original" else format
    output = seen(result.data)
    assert metadata(result.data) == []
    assert output.size == sound.shows.size
    assert difference(shown(output), shown(sound.shows)) < sound.tolerance + CODEC
    assert result.source == ImageInfo(len(source(name)), 96, 64, sound.format)
    quality = None if result.kept or target == "png" else 95
    assert result.output == ImageInfo(len(result.data), 96, 64, target, quality)
    if result.kept:
        assert sound.format == target
        assert len(result.data) <= len(source(name)) + sound.missing


@pytest.mark.sample("format", keep=2)
@pytest.mark.sample("name", by=lambda name: SOUND[name].shows.mode)
@pytest.mark.parametrize(
    ("name", "format"),
    pairs([name for name, sound in SOUND.items() if sound.shows.mode in ("LA", "RGBA")], "original"),
)
def test_transparency_stays_where_the_format_has_any(name: str, format: str) -> None:
    result = made(name, format)
    alpha = seen(result.data).getchannel("A") if result.output.format != "jpeg" else None
    if alpha is None:
        assert SOUND[name].format == "heif"
    else:
        assert difference(alpha, CLEAR.getchannel("A")) < 1


@pytest.mark.sample("name", by=lambda name: SOUND[name].shows.mode)
@pytest.mark.parametrize("name", SOUND)
def test_a_sound_picture_can_be_made_smaller(name: str) -> None:
    sound, result = SOUND[name], made(name, "jpeg", max_width=48)
    expected = shown(sound.shows).resize((48, 32), Image.Resampling.LANCZOS)
    output = seen(result.data)
    assert output.size == (48, 32)
    assert difference(shown(output), expected) < sound.tolerance + CODEC
    assert not result.kept
