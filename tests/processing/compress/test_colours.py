"""Losses of pictures: colours of profiles against ImageCms and libvips, the rest by SSIM and PSNR."""

from io import BytesIO

import pytest
import pyvips
import simplejpeg
from PIL import ExifTags, Image, ImageCms, ImageDraw
from pytest import MonkeyPatch

from processing.compress import Compressed, Recipe, compress
from tests.support import pictures
from tests.support.pictures import decoded, difference, encoded
from tests.support.reader import metadata, psnr, seen, similarity

CAP = 50_000_000
PROFILES = {
    "Display P3": pictures.display_p3_profile(),
    "Adobe RGB": pictures.adobe_rgb_profile(),
    "swapped": pictures.swapped_profile(),
}
SMOOTH = pictures.photo(12, 8).resize((192, 128), Image.Resampling.BICUBIC)


def made(data: bytes, **options: int | str) -> Compressed:
    return compress(data, Recipe(**options), max_pixels=CAP)  # type: ignore[arg-type]


def by_imagecms(image: Image.Image, profile: bytes) -> Image.Image:
    """The picture's colours in sRGB."""
    srgb = ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, BytesIO(profile), srgb, outputMode="RGB")
    assert converted is not None
    return converted


def by_libvips(data: bytes) -> Image.Image:
    """Return the pixels of a file in sRGB."""
    picture = pyvips.Image.new_from_buffer(data, "").icc_transform("srgb", embedded=True)
    return Image.frombytes("RGB", (picture.width, picture.height), picture.write_to_memory())


def scene(width: int, height: int) -> Image.Image:
    """Like a photograph: sharp edges before soft shapes, and a sensor's grain, all of it scaled down."""
    image = pictures.photo(2 * width, 2 * height)
    draw = ImageDraw.Draw(image)
    draw.ellipse((width // 2, height // 2, width, height), fill=(40, 90, 160))
    draw.rectangle((width, height // 4, width * 3 // 2, height), fill=(220, 200, 60))
    for start in range(0, 2 * width, width // 8):
        draw.line((start, 0, 2 * width - start, 2 * height), fill=(20, 20, 20), width=5)
    return image.resize((width, height), Image.Resampling.LANCZOS)


# --- Profiles ---


@pytest.mark.sample("stored", keep=2)
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    ("stored", "format"),
    [
        *((stored, "jpeg") for stored in ("JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF")),
        # Colours are converted before any encoder sees them.
        *(("PNG", format) for format in ("webp", "avif", "original")),
    ],
)
def test_colours_are_converted_within_two_levels_of_imagecms(profile: str, stored: str, format: str) -> None:
    icc = PROFILES[profile]
    source = encoded(SMOOTH, stored, icc_profile=icc, quality=95)
    expected = by_imagecms(decoded(source), icc)
    assert difference(expected, SMOOTH) > 5
    result = made(source, format=format, quality=95)
    assert difference(seen(result.data), expected) < 2
    assert metadata(result.data) == []
    assert not result.kept


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("stored", ["PNG", "TIFF"])
def test_colours_are_converted_within_two_levels_of_libvips(profile: str, stored: str) -> None:
    source = encoded(SMOOTH, stored, icc_profile=PROFILES[profile])
    assert difference(seen(made(source, format="original").data), by_libvips(source)) < 2


def test_inks_are_converted_within_two_levels_of_imagecms() -> None:
    icc, inks = pictures.red_ink_profile(), SMOOTH.convert("CMYK")
    output = seen(made(encoded(inks, "TIFF", icc_profile=icc), format="original").data)
    assert difference(output, by_imagecms(inks, icc)) < 2


@pytest.mark.parametrize("format", ["jpeg", "webp", "avif"])
def test_an_srgb_profile_is_dropped_and_the_colours_stay(format: str) -> None:
    source = encoded(SMOOTH, "PNG", icc_profile=pictures.srgb_profile())
    result = made(source, format=format, quality=95)
    assert difference(seen(result.data), SMOOTH) < 2
    assert metadata(result.data) == []


# --- Loss ---


@pytest.mark.sample("stored")
@pytest.mark.parametrize(
    ("size", "stored", "format"),
    [
        *(((640, 480), "PNG", format) for format in ("jpeg", "webp", "avif")),
        *(((400, 300), "JPEG", format) for format in ("jpeg", "webp", "avif")),
        ((640, 480), "JPEG", "jpeg"),  # read and written past Pillow
        ((400, 300), "HEIF", "jpeg"),
    ],
)
def test_quality_50_is_like_the_source(size: tuple[int, int], stored: str, format: str) -> None:
    source = encoded(scene(*size), stored, quality=90)
    assert similarity(seen(made(source, format=format).data), decoded(source)) >= 0.9


@pytest.mark.parametrize("format", ["jpeg", "webp", "avif"])
def test_quality_50_is_like_the_source_where_that_is_scaled_down(format: str) -> None:
    source = encoded(scene(1000, 750), "JPEG", quality=90)
    expected = decoded(source).resize((400, 300), Image.Resampling.LANCZOS)
    assert similarity(seen(made(source, format=format, max_width=400).data), expected) >= 0.9


# --- Two ways ---


EXIF = Image.Exif()
EXIF[ExifTags.Base.Orientation] = 6
WAYS: dict[str, tuple[str, dict[str, object]]] = {
    "plain": ("RGB", {}),
    "4:4:4": ("RGB", {"subsampling": "4:4:4"}),
    "4:2:2": ("RGB", {"subsampling": "4:2:2"}),
    "progressive": ("RGB", {"progressive": True}),
    "grey": ("L", {}),
    "CMYK": ("CMYK", {}),
    "turned": ("RGB", {"exif": EXIF}),
    "Display P3": ("RGB", {"icc_profile": pictures.display_p3_profile()}),
}


# The colours of these are halved in resolution as those of the output are.
HALVED = ("plain", "4:2:2", "progressive")


def both_ways(way: str, limit: int | None, monkeypatch: MonkeyPatch) -> list[Image.Image]:
    """Return the pixels of the source, of libjpeg-turbo's output and of Pillow's."""
    mode, options = WAYS[way]
    source = encoded(scene(401, 299).convert(mode), "JPEG", quality=90, **options)
    fast = compress(source, Recipe(max_width=limit), max_pixels=CAP)

    def refuse(data: bytes) -> None:
        raise ValueError("Unsupported marker type 0x02")

    monkeypatch.setattr(simplejpeg, "decode_jpeg_header", refuse)
    slow = compress(source, Recipe(max_width=limit), max_pixels=CAP)
    return [seen(data) for data in (source, fast.data, slow.data)]


@pytest.mark.sample("limit", keep=2)
@pytest.mark.parametrize("limit", [None, 333, 150, 100, 50, 20])
@pytest.mark.parametrize("way", WAYS)
def test_a_jpeg_is_the_same_whichever_decoder_reads_it(
    way: str, limit: int | None, monkeypatch: MonkeyPatch
) -> None:
    source, fast, slow = both_ways(way, limit, monkeypatch)
    assert fast.size == slow.size
    if way in HALVED and limit is None:  # Pillow smooths these colours: the source is the judge
        assert psnr(fast, source) >= psnr(slow, source) - 0.05
    else:
        assert psnr(fast, slow) >= 38
