"""Promises of compress(), checked on pictures that Pillow makes and decodes on its own."""

import pickle
import random
import re
from collections.abc import Callable

import numpy as np
import pytest
import simplejpeg
from PIL import ExifTags, Image, ImageCms, ImageFile, ImageOps
from PIL.JpegImagePlugin import get_sampling

from processing.compress import Compressed, CompressError, ImageInfo, Recipe, compress
from processing.compress.native import LIBRARY
from tests.support import pictures
from tests.support.pictures import BLUE, GREEN, RED, YELLOW, decoded, difference, encoded, png_chunk
from tests.support.reader import psnr

CAP = 50_000_000
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def made(data: bytes, **options: int | str) -> Compressed:
    return compress(data, Recipe(**options), max_pixels=CAP)  # type: ignore[arg-type]


def refused(data: bytes, *, max_pixels: int = CAP, **options: int | str) -> CompressError:
    with pytest.raises(CompressError) as caught:
        compress(data, Recipe(**options), max_pixels=max_pixels)  # type: ignore[arg-type]
    return caught.value


def near(image: Image.Image, place: tuple[int, int], colour: tuple[int, ...], tolerance: int = 12) -> bool:
    seen = image.convert("RGBA" if len(colour) == 4 else "RGB").getpixel(place)
    assert isinstance(seen, tuple)
    return all(abs(a - b) <= tolerance for a, b in zip(seen, colour, strict=True))


def colours_at_corners(image: Image.Image) -> str:
    """The quarters of a turned ``quarters()``, for instance RGBY, from top left to bottom right."""
    right, bottom = image.width - 9, image.height - 9
    names = dict(zip("RGBY", (RED, GREEN, BLUE, YELLOW), strict=True))
    corners = [(8, 8), (right, 8), (8, bottom), (right, bottom)]
    return "".join(name for at in corners for name, colour in names.items() if near(image, at, colour, 40))


# What comes out


@pytest.mark.parametrize("source", [pictures.photo_jpeg(), encoded(pictures.photo(), "PNG")])
def test_the_default_is_a_jpeg_of_quality_50_with_halved_colour_resolution(source: bytes) -> None:
    result = made(source)
    expected = decoded(pictures.photo_jpeg(quality=50))
    output = decoded(result.data)
    assert output.format == "JPEG"
    assert output.quantization == expected.quantization  # type: ignore[attr-defined]
    assert get_sampling(output) == 2  # 4:2:0
    assert result.extension == "jpg"


def test_the_facts_of_source_and_output_are_those_of_the_files() -> None:
    source = encoded(pictures.photo(200, 100), "PNG")
    result = made(source, max_width=50)
    assert result.source == ImageInfo(bytes=len(source), width=200, height=100, format="png")
    assert result.output == ImageInfo(bytes=len(result.data), width=50, height=25, format="jpeg", quality=50)
    assert decoded(result.data).size == (50, 25)


@pytest.mark.parametrize("format", ["jpeg", "webp", "avif"])
def test_a_higher_quality_takes_more_bytes_and_is_closer_to_the_source(format: str) -> None:
    source = pictures.photo_jpeg()
    low, high = (made(source, format=format, quality=quality).data for quality in (20, 90))
    original = decoded(source)
    assert len(low) < len(high)
    assert difference(decoded(high), original) < difference(decoded(low), original)


@pytest.mark.parametrize("size", [(320, 240), (321, 241), (1, 1), (7, 300)])
def test_both_ways_to_make_a_jpeg_are_as_close_to_the_source(size: tuple[int, int]) -> None:
    source = pictures.photo_jpeg(*size)
    shown = decoded(source)
    through_pillow = encoded(shown, "PNG")
    one, other = decoded(made(source).data), decoded(made(through_pillow).data)
    assert one.size == other.size == size
    assert psnr(one, shown) >= psnr(other, shown) - 0.05


@pytest.mark.usefixtures("pixels_only")
def test_of_a_plain_jpeg_pillow_decodes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    source = pictures.photo_jpeg()
    with monkeypatch.context() as patch:
        patch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("decoded by Pillow"))
        result = made(source)
    assert difference(decoded(result.data), decoded(source)) < 6


@pytest.mark.needs(LIBRARY.name)
def test_of_a_plain_jpeg_no_pixels_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    source = pictures.photo_jpeg()
    with monkeypatch.context() as patch:
        patch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("decoded by Pillow"))
        patch.setattr(simplejpeg, "decode_jpeg", lambda *args, **options: pytest.fail("decoded"))
        patch.setattr(Image.Image, "save", lambda *args, **options: pytest.fail("encoded by Pillow"))
        result = made(source)
    assert difference(decoded(result.data), decoded(source)) < 6


@pytest.mark.parametrize("quality", [90, 95])
def test_grain_that_needs_much_room_is_encoded_all_the_same(quality: int) -> None:
    """Pillow has too little room for it where Huffman codes are to be optimal."""
    grain = np.random.default_rng(1).integers(0, 2, (400, 300, 3), np.uint8) * 255
    result = made(encoded(Image.fromarray(grain), "PNG"), format="jpeg", quality=quality)
    assert decoded(result.data).size == (300, 400)


def test_an_srgb_profile_changes_nothing() -> None:
    assert (
        made(pictures.photo_jpeg(icc_profile=pictures.srgb_profile())).data
        == made(pictures.photo_jpeg()).data
    )


def test_a_jpeg_of_whose_size_the_decoders_disagree_is_decoded_by_the_one_that_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = pictures.photo_jpeg()
    monkeypatch.setattr(simplejpeg, "decode_jpeg_header", lambda data: (60_000, 60_000, "YCbCr", "420"))
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *args, **options: pytest.fail("decoded unchecked"))
    assert difference(decoded(made(source).data), decoded(source)) < 6


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": "4:4:4"}, {"optimize": True}])
def test_every_kind_of_jpeg_keeps_its_picture(options: dict[str, object]) -> None:
    source = encoded(pictures.photo(), "JPEG", **options)
    assert difference(decoded(made(source).data), decoded(source)) < 6


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("width", [320, 100])
def test_grey_stays_grey(format: str, width: int) -> None:
    source = encoded(pictures.photo().convert("L"), format)
    output = decoded(made(source, max_width=width).data)
    assert output.mode == "L"
    assert difference(output, decoded(source).resize(output.size)) < 6


@pytest.mark.parametrize(
    ("stored", "format", "extension"),
    [
        ("JPEG", "jpeg", "jpg"),
        ("MPO", "jpeg", "jpg"),
        ("PNG", "png", "png"),
        ("WEBP", "webp", "webp"),
        ("AVIF", "avif", "avif"),
        ("GIF", "png", "png"),
        ("BMP", "png", "png"),
        ("TIFF", "png", "png"),
    ],
)
def test_original_keeps_what_browsers_show_and_makes_png_of_the_rest(
    stored: str, format: str, extension: str
) -> None:
    more = {"save_all": True, "append_images": [pictures.photo(seed=1)]} if stored == "MPO" else {}
    result = made(encoded(pictures.photo(), stored, **more), format="original")
    output = decoded(result.data)
    assert result.source.format == stored.lower()
    assert output.format == format.upper()
    assert (result.output.format, result.extension) == (format, extension)
    assert result.output.format == format
    assert difference(output, pictures.photo()) < 16  # a GIF has but 256 colours


@pytest.mark.parametrize("stored", ["GIF", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
def test_of_several_frames_the_first_is_taken(stored: str) -> None:
    first = pictures.quarters()
    source = encoded(first, stored, save_all=True, append_images=[first.rotate(180), first.rotate(180)])
    assert colours_at_corners(decoded(made(source).data)) == "RGBY"


# Orientation and metadata


@pytest.mark.parametrize(
    ("orientation", "shown"),
    [(1, "RGBY"), (2, "GRYB"), (3, "YBGR"), (4, "BYRG"), (5, "RBGY"), (6, "BRYG"), (7, "YGBR"), (8, "GYRB")],
)
def test_pictures_come_out_upright_whatever_their_exif_orientation(orientation: int, shown: str) -> None:
    result = made(pictures.rotated_jpeg(orientation))
    output = decoded(result.data)
    size = (64, 96) if orientation > 4 else (96, 64)
    assert colours_at_corners(output) == shown
    assert output.size == size == (result.source.width, result.source.height)
    assert ExifTags.Base.Orientation not in output.getexif()


@pytest.mark.sample("format", keep=2)
@pytest.mark.parametrize("stored", ["PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("format", ["jpeg", "webp", "avif", "original"])
def test_orientation_counts_in_every_format(stored: str, format: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    source = encoded(pictures.quarters(), stored, exif=exif)
    result = made(source, format=format, quality=80)
    assert colours_at_corners(decoded(result.data)) == "BRYG"
    assert (result.source.width, result.source.height) == (64, 96)


def test_exif_behind_the_pixels_of_a_png_counts() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    plain = encoded(pictures.quarters(), "PNG")
    source = plain[:-12] + png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + plain[-12:]
    assert colours_at_corners(decoded(made(source).data)) == "BRYG"


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\x7f"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_broken_exif_is_no_reason_to_refuse_a_picture(exif: bytes) -> None:
    assert colours_at_corners(decoded(made(encoded(pictures.quarters(), "JPEG", exif=exif)).data)) == "RGBY"


@pytest.mark.sample("format", keep=2)
@pytest.mark.parametrize("format", ["jpeg", "webp", "avif", "original"])
@pytest.mark.parametrize("stored", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("profile", [pictures.srgb_profile(), pictures.swapped_profile()])
def test_no_metadata_reaches_the_output(format: str, stored: str, profile: bytes) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "SECRET"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSProcessingMethod] = b"SECRET"
    options = {"exif": exif, "icc_profile": profile, "xmp": b"<SECRET/>", "comment": b"SECRET"}
    source = encoded(pictures.photo(), stored, **options)
    assert b"SECRET" in source
    result = made(source, format=format)
    output = decoded(result.data)
    assert b"SECRET" not in result.data
    assert not dict(output.getexif())
    assert not {"exif", "icc_profile", "xmp", "comment"} & set(output.info)


# Colours


def test_cmyk_without_a_profile_keeps_its_colours() -> None:
    source = pictures.cmyk_jpeg()
    output = decoded(made(source).data)
    assert output.mode == "RGB"
    assert difference(output, pictures.photo()) < 8


@pytest.mark.parametrize("stored", ["JPEG", "TIFF"])
def test_an_embedded_cmyk_profile_says_what_the_inks_look_like(stored: str) -> None:
    image = Image.new("CMYK", (64, 64), (255, 0, 0, 0))
    image.paste((0, 0, 0, 255), (32, 0, 64, 64))
    output = decoded(made(encoded(image, stored, icc_profile=pictures.red_ink_profile())).data)
    assert near(output, (8, 8), (255, 0, 0))
    assert near(output, (56, 8), BLACK)


@pytest.mark.sample("format", keep=2)
@pytest.mark.parametrize("format", ["jpeg", "webp", "avif", "original"])
@pytest.mark.parametrize("stored", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_colours_of_another_profile_become_those_of_srgb(stored: str, format: str) -> None:
    image = Image.new("RGB", (64, 64), (255, 0, 0))
    source = encoded(image, stored, icc_profile=pictures.swapped_profile())
    assert near(decoded(made(source, format=format, quality=90).data), (32, 32), (0, 255, 0))


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_a_profile_holds_for_palettes_and_leaves_transparency_alone(mode: str) -> None:
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 255))
    image.putalpha(pictures.left_half_clear(64, 64))
    stored = image if mode == "RGBA" else image.quantize(4)
    source = encoded(stored, "PNG", icc_profile=pictures.swapped_profile())
    assert near(decoded(made(source, format="original").data), (48, 32), (0, 255, 0, 255))
    assert near(decoded(made(source).data), (8, 32), WHITE)


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_a_grey_profile_is_converted_and_grey_stays_grey(mode: str) -> None:
    image = Image.new("L", (64, 64), 128).convert(mode)
    output = decoded(made(encoded(image, "PNG", icc_profile=pictures.linear_grey_profile())).data)
    assert output.mode == "L"
    assert near(output, (32, 32), (188, 188, 188), tolerance=2)


@pytest.mark.parametrize(
    "profile",
    [
        pytest.param(b"no profile at all", id="garbage"),
        pytest.param(pictures.swapped_profile()[:200], id="cut off"),
        pytest.param(pictures.red_ink_profile(), id="of CMYK"),
        pytest.param(pictures.swapped_profile() + bytes(5_000_000), id="far too large"),
    ],
)
@pytest.mark.parametrize("stored", ["JPEG", "TIFF"])
def test_a_profile_that_cannot_be_used_is_ignored(profile: bytes, stored: str) -> None:
    source = encoded(pictures.quarters(), stored, icc_profile=profile)
    assert colours_at_corners(decoded(made(source).data)) == "RGBY"


def test_lab_colours_become_srgb() -> None:
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    source = encoded(to_lab.apply(pictures.quarters()), "TIFF")
    output = decoded(made(source, quality=90).data)
    assert colours_at_corners(output) == "RGBY"
    assert near(output, (8, 8), RED)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I", "F"])
def test_sixteen_bits_are_scaled_and_not_clipped(mode: str) -> None:
    ramp = Image.linear_gradient("L")
    deep = ramp.convert("I").point(lambda value: value * 257)
    stored = deep if mode == "I" else deep.convert(mode)
    source = encoded(stored, "TIFF")
    assert difference(decoded(made(source, format="original").data), ramp) < 1


def test_floats_up_to_one_are_scaled() -> None:
    ramp = Image.linear_gradient("L")
    source = encoded(ramp.convert("F").point(lambda value: value * (1 / 255) + 0), "TIFF")
    assert difference(decoded(made(source, format="original").data), ramp) < 1


@pytest.mark.parametrize("stored", ["PNG", "BMP", "TIFF", "GIF"])
def test_line_art_of_one_bit_is_black_on_white(stored: str) -> None:
    image = Image.new("1", (64, 64), 1)
    image.paste(0, (32, 0, 64, 64))
    output = decoded(made(encoded(image, stored)).data)
    assert output.mode == "L" or stored == "GIF"
    assert near(output, (8, 8), WHITE)
    assert near(output, (56, 8), BLACK)


def test_ycbcr_tiffs_keep_their_colours() -> None:
    source = encoded(pictures.quarters().convert("YCbCr"), "TIFF")
    assert colours_at_corners(decoded(made(source).data)) == "RGBY"


# Transparency


def transparent(kind: str) -> bytes:
    """A picture whose left half is transparent, in one of the ways that files say so."""
    cut_out = pictures.cut_out(64, 64)
    sources: dict[str, Callable[[], bytes]] = {
        "RGBA": lambda: pictures.rgba_png(64, 64),
        "palette": lambda: pictures.palette_png(64, 64),
        "LA": lambda: encoded(cut_out.convert("LA"), "PNG"),
        "PA": lambda: encoded(cut_out.quantize(32).convert("PA"), "TIFF"),
        "key colour": lambda: encoded(keyed("RGB", (1, 2, 3)), "PNG", transparency=(1, 2, 3)),
        "key grey": lambda: encoded(keyed("L", 1), "PNG", transparency=1),
        "GIF": lambda: encoded(cut_out, "GIF"),
        "WebP": lambda: encoded(cut_out, "WEBP"),
        "AVIF": lambda: encoded(cut_out, "AVIF"),
    }
    return sources[kind]()


def keyed(mode: str, key: int | tuple[int, ...]) -> Image.Image:
    image = Image.new(mode, (64, 64), "grey")
    image.paste(key, (0, 0, 32, 64))
    return image


TRANSPARENT = ["RGBA", "palette", "LA", "PA", "key colour", "key grey", "GIF", "WebP", "AVIF"]


@pytest.mark.parametrize("kind", TRANSPARENT)
@pytest.mark.parametrize("width", [64, 32])
def test_transparency_lies_on_white_in_a_jpeg(kind: str, width: int) -> None:
    output = decoded(made(transparent(kind), max_width=width, quality=90).data)
    assert near(output, (width // 8, 4), WHITE, tolerance=3)
    assert not near(output, (width - 8, 4), WHITE)


@pytest.mark.parametrize("kind", TRANSPARENT)
@pytest.mark.parametrize("format", ["webp", "avif"])
@pytest.mark.parametrize("width", [64, 32])
def test_transparency_stays_in_webp_and_avif(kind: str, format: str, width: int) -> None:
    output = decoded(made(transparent(kind), format=format, max_width=width).data)
    alpha = output.getchannel("A")
    assert alpha.getpixel((width // 8, 4)) == 0
    assert alpha.getpixel((width - 8, 4)) == 255


@pytest.mark.parametrize("kind", ["RGBA", "palette", "LA", "key colour", "GIF"])
def test_transparency_stays_in_png(kind: str) -> None:
    alpha = decoded(made(transparent(kind), format="original").data).convert("RGBA").getchannel("A")
    assert (alpha.getpixel((8, 4)), alpha.getpixel((56, 4))) == (0, 255)


# Size


@pytest.mark.parametrize(
    ("limits", "size"),
    [
        ({"max_width": 100}, (100, 50)),
        ({"max_height": 100}, (200, 100)),
        ({"max_width": 100, "max_height": 10}, (20, 10)),
        ({"max_width": 399, "max_height": 199}, (398, 199)),
        ({"max_width": 1}, (1, 1)),
        ({"max_width": 400, "max_height": 200}, (400, 200)),
        ({"max_width": 4000, "max_height": 4000}, (400, 200)),
    ],
)
@pytest.mark.parametrize("stored", ["JPEG", "PNG"])
def test_pictures_are_scaled_down_into_the_limits_and_never_up(
    limits: dict[str, int], size: tuple[int, int], stored: str
) -> None:
    result = made(encoded(pictures.quarters(400, 200), stored, quality=95), **limits)
    output = decoded(result.data)
    assert output.size == size == (result.output.width, result.output.height)
    assert size < (20, 20) or colours_at_corners(output) == "RGBY"


@pytest.mark.parametrize("width", range(1, 18))
def test_the_tiniest_jpegs_can_be_scaled_down(width: int) -> None:
    for height in (1, 8, 9, 17):
        source = pictures.photo_jpeg(width, height)
        assert decoded(made(source, max_width=1).data).width == 1
        assert decoded(made(source, max_height=1).data).height == 1


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_limits_are_measured_on_the_upright_picture(format: str) -> None:
    source = pictures.rotated_jpeg(6, pictures.quarters(400, 200))  # shown 200 wide, 400 high
    output = decoded(made(source, max_width=100, max_height=300, format=format).data)
    assert output.size == (100, 200)
    assert colours_at_corners(output) == "BRYG"


@pytest.mark.parametrize("width", [333, 250, 125, 60, 9])
@pytest.mark.parametrize("orientation", [1, 8])
def test_a_jpeg_scaled_down_is_as_good_as_if_it_had_been_decoded_in_full(
    width: int, orientation: int
) -> None:
    source = pictures.rotated_jpeg(orientation, pictures.photo(1000, 750))
    through_pillow = encoded(ImageOps.exif_transpose(decoded(source)), "PNG")
    one, other = (decoded(made(data, max_width=width, quality=95).data) for data in (source, through_pillow))
    assert difference(one, other) < 3


@pytest.mark.parametrize(("format", "limit"), [("jpeg", 65_500), ("webp", 16_383), ("avif", 32_768)])
def test_a_picture_longer_than_its_format_allows_is_refused_unless_it_is_scaled(
    format: str, limit: int
) -> None:
    longest = encoded(Image.new("L", (2, limit)), "PNG")
    longer = encoded(Image.new("L", (2, limit + 1)), "PNG")
    assert decoded(made(longest, format=format).data).size == (2, limit)
    error = refused(longer, format=format)
    assert error.code == "unsupported_format"
    assert f"{limit:,}" in error.detail
    assert decoded(made(longer, format=format, max_height=limit).data).height == limit


# What cannot be read


WHOLE = {
    "plain": pictures.photo_jpeg(),
    "progressive": pictures.photo_jpeg(progressive=True),
    "rotated": pictures.rotated_jpeg(6, pictures.photo()),
    "profile": pictures.photo_jpeg(icc_profile=pictures.swapped_profile()),
    "CMYK": pictures.cmyk_jpeg(),
    "RGBA": pictures.rgba_png(),
    "palette": pictures.palette_png(),
    **{stored: encoded(pictures.photo(), stored) for stored in ("PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF")},
    "HEIF": encoded(pictures.photo(), "HEIF"),
}


@pytest.mark.parametrize("source", WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("keep", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("width", [320, 50])
def test_a_truncated_picture_is_corrupt(source: bytes, keep: float, width: int) -> None:
    cut = pictures.truncated(source, keep)
    if source == WHOLE["progressive"] and keep > 0.05:  # less sharp, and nothing is missing
        assert made(cut, max_width=width).source.height == 240
        return
    error = refused(cut, max_width=width)
    assert error.code == "corrupt_image"
    assert str(error) == error.detail
    assert re.fullmatch(
        r"The \w+ picture is (damaged or incomplete|incomplete: \d\d? % of its rows are missing)\.",
        error.detail,
    )


@pytest.mark.parametrize("source", WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("missing", [1, 2, 3, 5, 12, 20])
def test_a_picture_without_its_last_bytes_is_kept_only_if_pillow_accepts_it(
    source: bytes, missing: int
) -> None:
    cut = source[:-missing]
    if cut.startswith(b"\xff\xd8") and (missing < 3 or source == WHOLE["progressive"]):  # no end marker
        assert made(cut, max_width=50).source.height == made(source, max_width=50).source.height
        return
    try:
        whole = decoded(cut)
    except Exception:
        assert refused(cut).code == "corrupt_image"
    else:
        assert made(cut, max_width=50).source.width == ImageOps.exif_transpose(whole).width


@pytest.mark.parametrize("source", [pictures.photo_jpeg(), pictures.cmyk_jpeg(), pictures.rotated_jpeg(3)])
def test_a_truncated_jpeg_that_was_given_an_end_is_corrupt(source: bytes) -> None:
    assert refused(pictures.truncated(source) + b"\xff\xd9").code == "corrupt_image"


@pytest.mark.parametrize("source", [pictures.photo_jpeg(), pictures.cmyk_jpeg(), pictures.rotated_jpeg(1)])
def test_bytes_that_do_not_matter_do_no_harm_to_a_jpeg(source: bytes) -> None:
    for odd in (source + b"trailing bytes" * 9, source[:-2] + b"stray" + source[-2:]):
        assert difference(decoded(made(odd).data), decoded(source)) < 12


def test_a_png_with_a_damaged_middle_is_corrupt() -> None:
    source = bytearray(pictures.rgba_png())
    source[len(source) // 2] ^= 0xFF
    assert refused(bytes(source)).code == "corrupt_image"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>Not found</body></html>", "web page"),
        (b"\xef\xbb\xbf\r\n <HTML>", "web page"),
        (b"<!-- moved --><html><svg></svg></html>", "web page"),
        (b"%PDF-1.7\n", "PDF"),
        (b'{"error": "not found"}', "not a picture"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "not a picture"),
        (b"BMW sells cars, and this text starts like a bitmap, but is none.", "not a picture"),
        (bytes(1000), "not a picture"),
    ],
)
def test_what_is_no_picture_is_called_so(data: bytes, says: str) -> None:
    error = refused(data)
    assert error.code == "not_an_image"
    assert says in error.detail


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?>\n<!-- logo --><svg></svg>", "SVG"),
        (b"8BPS\0\2" + bytes(20), "Large Photoshop documents (PSB)"),
        (b"8BPS\0\1" + bytes(16) + b"\0\x10\0\3", "Photoshop pictures of 16 bits per channel"),
        (b"\0\0\2\0\1\0", "Cursor"),
        (b"\xff\x0a\0\0", "JPEG XL"),
        (encoded(pictures.photo(64, 64), "EPS"), "EPS"),
    ],
)
def test_pictures_of_other_kinds_are_named(data: bytes, kind: str) -> None:
    error = refused(data)
    what = kind if " " in kind and kind != "JPEG XL" else f"{kind} pictures"
    assert (error.code, error.detail) == ("unsupported_format", f"{what} are not supported.")


@pytest.mark.filterwarnings("ignore")
def test_no_damage_makes_anything_but_a_compress_error() -> None:
    chance = random.Random(7)  # noqa: S311
    image, cut_out = pictures.photo(40, 30), pictures.cut_out(40, 30)
    exif, profile = pictures.rotated_jpeg(6, image), pictures.swapped_profile()
    sources = [exif, pictures.cmyk_jpeg(40, 30), encoded(cut_out, "PNG", icc_profile=profile)]
    sources += [encoded(image, stored) for stored in ("JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF")]
    codes = set()
    for _ in range(600):
        damaged = bytearray(chance.choice(sources))
        for _ in range(chance.choice((1, 3, 10))):
            damaged[chance.randrange(min(len(damaged), chance.choice((60, 100_000))))] = chance.randrange(256)
        try:
            compress(bytes(damaged), Recipe(max_width=20), max_pixels=1_000_000)
        except CompressError as error:
            codes.add(error.code)
    assert "corrupt_image" in codes


def test_an_error_finds_its_way_out_of_a_child_process() -> None:
    error = pickle.loads(pickle.dumps(refused(b"")))  # noqa: S301
    assert (error.code, str(error)) == ("not_an_image", "The file is empty.")
