"""The quality `auto`."""

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from processing.compress import OutputOptions, Recipe, auto_quality, compress, compress_isolated
from processing.compress.encode import encode
from tests.support import pictures
from tests.support.pictures import decoded, encoded
from tests.support.reader import similarity

CAP = 50_000_000


def grained(width: int, height: int) -> Image.Image:
    """A picture that loses much at a low quality."""
    noise = Image.effect_noise((width, height), 40).convert("RGB")
    return Image.blend(pictures.photo(width, height), noise, 0.4)


def plane(image: Image.Image) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return np.asarray(image.convert("L"), np.float32)


def on_white(product: Image.Image, side: int) -> Image.Image:
    image = Image.new("RGB", (side, side), "white")
    image.paste(product, ((side - product.width) // 2, (side - product.height) // 2))
    return image


@pytest.mark.usefixtures("jpeg_path")
@pytest.mark.parametrize("format", ["jpeg", "webp", "avif"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_quality_is_the_lowest_that_is_like_the_source(kind: str, format: str) -> None:
    image = grained(240, 160)
    source = encoded(image, kind, **({"quality": 97} if kind == "JPEG" else {}))
    result = compress(source, Recipe(quality="auto", format=format), max_pixels=CAP)
    chosen = result.output.quality
    assert chosen is not None
    assert chosen in auto_quality.QUALITIES
    assert result.data == compress(source, Recipe(quality=chosen, format=format), max_pixels=CAP).data
    wanted = plane(decoded(source))
    assert auto_quality.ssim(wanted, plane(decoded(result.data))) > auto_quality.MIN_SSIM - 0.01
    if chosen > auto_quality.QUALITIES[0]:
        lower = compress(source, Recipe(quality=chosen - 4, format=format), max_pixels=CAP)
        assert auto_quality.ssim(wanted, plane(decoded(lower.data))) < auto_quality.MIN_SSIM + 0.01


def test_what_has_more_to_lose_gets_a_higher_quality() -> None:
    soft = pictures.photo(320, 240).resize((160, 120)).resize((320, 240), Image.Resampling.BICUBIC)
    assert auto_quality.choose_quality(soft, "jpeg", "fast") < auto_quality.choose_quality(
        grained(320, 240), "jpeg", "fast"
    )


def test_a_white_background_does_not_count() -> None:
    product = grained(200, 200)
    alone = auto_quality.choose_quality(product, "jpeg", "fast")
    framed = auto_quality.choose_quality(on_white(product, 380), "jpeg", "fast")
    assert abs(alone - framed) <= 4
    drawing = on_white(product, 380)
    ImageDraw.Draw(drawing).rectangle((0, 0, 40, 40), "navy")
    assert abs(auto_quality.choose_quality(drawing, "jpeg", "fast") - alone) <= 8


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (95, 97), (400, 400), (1200, 700)])
@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA"])
def test_every_size_and_mode_gets_one_within_four_tries(
    size: tuple[int, int], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[tuple[Any, ...]] = []

    def encode_and_note(*given: Any) -> bytes:
        tries.append(given)
        return encode(*given)

    monkeypatch.setattr(auto_quality, "encode", encode_and_note)
    assert (
        auto_quality.choose_quality(pictures.photo(*size).convert(mode), "jpeg", "fast")
        in auto_quality.QUALITIES
    )
    assert 1 <= len(tries) <= 4
    side = auto_quality.TILE_PIXELS * auto_quality.TILES
    assert all(image.width * image.height <= side * side for image, *_ in tries)


def test_even_pictures_get_the_lowest_and_png_needs_none() -> None:
    white = Image.new("RGB", (500, 500), "white")
    assert auto_quality.choose_quality(white, "jpeg", "balanced") == auto_quality.QUALITIES[0]
    result = compress(encoded(white, "PNG"), Recipe(quality="auto", format="original"), max_pixels=CAP)
    assert (result.output.format, result.output.quality) == ("png", None)


def test_every_output_gets_its_own() -> None:
    source = encoded(grained(800, 600), "JPEG", quality=95)
    thumb = OutputOptions(quality="auto", max_width=100)
    result = compress(source, Recipe(quality="auto", renditions=(thumb, OutputOptions())), max_pixels=CAP)
    assert result.output.quality in auto_quality.QUALITIES
    assert result.renditions[0].output.quality in auto_quality.QUALITIES
    assert result.renditions[1].output.quality == 50
    again = compress_isolated(source, Recipe(quality="auto", renditions=(thumb,)), max_pixels=CAP)
    assert again.output == result.output
    assert again.renditions[0].output == result.renditions[0].output


@pytest.mark.usefixtures("jpeg_path")
def test_a_jpeg_that_is_compressed_harder_is_kept() -> None:
    source = encoded(grained(320, 240), "JPEG", quality=20)
    result = compress(source, Recipe(quality="auto"), max_pixels=CAP)
    assert result.kept
    assert result.output.quality is None
    assert len(result.data) <= len(source)


def test_the_measure_is_that_of_the_literature() -> None:
    image = pictures.photo(320, 240)
    for quality in (20, 50, 80):
        other = decoded(encoded(image, "JPEG", quality=quality))
        assert auto_quality.ssim(plane(image), plane(other)) == pytest.approx(
            similarity(image, other), abs=0.03
        )
    assert auto_quality.ssim(plane(image), plane(image)) == pytest.approx(1)
