"""Pictures that end too early, kinds that are called unsupported by name, and animations."""

import zlib
from collections.abc import Callable

import numpy
import pytest
from PIL import Image

from processing.compress import CompressError, Recipe, compress
from processing.compress.png import read_png
from tests.support import pictures
from tests.support import rare_pictures as rare
from tests.support.corpus import DAMAGE, GREY, SOUND, WHOLE, frames, samples, stored_as
from tests.support.pictures import decoded, difference, encoded, photo_jpeg, png_chunk

CAP = 50_000_000


def made(data: bytes, **options: int | str) -> Image.Image:
    return decoded(compress(data, Recipe(**options), max_pixels=CAP).data)  # type: ignore[arg-type]


def refused(data: bytes) -> CompressError:
    with pytest.raises(CompressError) as caught:
        compress(data, Recipe(), max_pixels=CAP)
    return caught.value


# --- JPEGs that end too early ---


@pytest.mark.parametrize("tail", [b"", b"\xff", bytes(999), b"\xff" * 999])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_only_its_end_is_whole(progressive: bool, tail: bytes) -> None:
    source = photo_jpeg(progressive=progressive)
    assert difference(made(source[:-2] + tail, quality=95), made(source, quality=95)) < 2


def test_a_progressive_jpeg_whose_later_scans_are_cut_off_has_all_of_its_rows() -> None:
    source = photo_jpeg(progressive=True)
    scans = [at for at in range(len(source)) if source.startswith(b"\xff\xda", at)]
    for keep in (*range(scans[-1] - 40, scans[-1] + 40), len(source) - 9):
        output = made(source[:keep], quality=95)
        bottom = (0, 200, 320, 240)
        assert difference(output.crop(bottom), decoded(source).crop(bottom)) < 12


def test_a_progressive_jpeg_with_only_a_coarse_scan_is_corrupt() -> None:
    source = photo_jpeg(progressive=True)
    second = source.index(b"\xff\xda", source.index(b"\xff\xda") + 2)
    assert refused(source[: second - 40]).code == "corrupt_image"


@pytest.mark.parametrize("height", [320, 1_600])
@pytest.mark.parametrize("ended", [False, True])
def test_how_much_of_a_jpeg_is_missing_is_said(height: int, ended: bool) -> None:
    source = photo_jpeg(240, height)
    error = refused(source[: len(source) // 4] + (b"\xff\xd9" if ended else b""))
    assert error.code == "corrupt_image"
    [percent] = [int(word) for word in error.detail.split() if word.isdigit()]
    assert 70 <= percent <= 85
    assert error.detail == f"The JPEG picture is incomplete: {percent} % of its rows are missing."


# --- PNGs ---


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_browsers_overlook_in_a_png_does_not_reach_the_output(damage: str) -> None:
    plain = encoded(WHOLE, "PNG")
    output = compress(DAMAGE[damage](plain), Recipe(format="original"), max_pixels=CAP).data
    assert decoded(output).tobytes() == WHOLE.tobytes()
    assert output.count(b"IDAT") == 1
    assert not any(name in output for name in (b"zTXt", b"iTXt", b"tEXt", b"iCCP", b"gAMA", b"acTL"))


def test_a_png_without_the_palette_that_it_needs_is_corrupt() -> None:
    source = bytearray(encoded(WHOLE.quantize(8), "PNG"))
    start = source.index(b"PLTE")
    source[start + 4] ^= 1  # so that its checksum is wrong
    assert refused(bytes(source)).code == "corrupt_image"


def test_pixels_that_inflate_to_more_than_the_picture_are_not_given_a_checksum() -> None:
    endless = rare.with_pixels(encoded(WHOLE, "PNG"), zlib.compress(bytes(50_000_000), 9))
    with pytest.raises(ValueError, match="too many pixels"):
        read_png(endless).file_with_checksum(max_bytes=100_000)


# --- Samples ---


def test_a_few_highlights_do_not_darken_a_picture() -> None:
    values = samples(WHOLE, "f4", 1).copy()
    values[:2, :10] = 12.5
    values[0, 0] = numpy.nan
    output = made(rare.tiff(values, 2), format="original")
    assert difference(output.crop((0, 2, 96, 64)), WHOLE.crop((0, 2, 96, 64))) < 1
    assert output.getpixel((0, 0)) == (0, 0, 0)
    assert output.getpixel((5, 1)) == (255, 255, 255)


def test_colours_that_were_multiplied_by_their_opacity_are_divided_again() -> None:
    rows = numpy.zeros((8, 8, 4), numpy.uint16)
    rows[...] = (100 * 257, 50 * 257, 25 * 257, 128 * 257)
    output = made(rare.tiff(rows, 2, extra=1, in_planes=True), format="original")
    assert output.mode == "RGBA"
    red, green, blue, alpha = output.getpixel((3, 3))  # type: ignore[misc]
    assert (red, green, blue, alpha) == (199, 99, 49, 128)


def test_white_may_be_zero() -> None:
    rows = samples(GREY, "u4", 2**32 - 1)
    turned = rare.tiff((2**32 - 1 - rows).astype("u4"), 0)
    assert difference(made(turned, format="original"), GREY) < 2


def test_the_orientation_of_unusual_samples_counts() -> None:
    source = rare.tiff(samples(stored_as(WHOLE, 6), "f4", 1), 2, orientation=6)
    assert difference(made(source, format="original"), WHOLE) < 1


def test_the_profile_of_a_photoshop_document_and_of_a_jpeg_2000_counts() -> None:
    swapped = Image.merge("RGB", [WHOLE.getchannel(band) for band in "GRB"])
    document = rare.photoshop(WHOLE, 3, profile=pictures.swapped_profile())
    assert difference(made(document, format="original"), swapped) < 6


# --- What is not supported ---


def jpeg_of(bits: int, frame: int = 0xC0) -> bytes:
    """A JPEG whose header says so; no library at hand writes one."""
    source = bytearray(photo_jpeg(64, 48))
    at = source.index(b"\xff\xc0")
    source[at + 1], source[at + 4] = frame, bits
    return bytes(source)


def tiff_compressed_by(method: int) -> bytes:
    return rare.tiff_of_pieces({256: 8, 257: 8, 258: (8, 8, 8), 259: method, 262: 2, 277: 3}, [bytes(192)])


def bmp_with_a_jpeg() -> bytes:
    source = bytearray(encoded(WHOLE, "BMP"))
    source[30] = 4
    return bytes(source)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: jpeg_of(12), "JPEG pictures of 12 bits per colour"),
        (lambda: jpeg_of(12, 0xC1), "JPEG pictures of 12 bits per colour"),
        (lambda: jpeg_of(8, 0xC3), "Lossless JPEG pictures"),
        (lambda: b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "JPEG XL pictures"),
        (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG pictures"),
        (lambda: tiff_compressed_by(34661), None),
        (lambda: tiff_compressed_by(33003), None),
        (lambda: tiff_compressed_by(12345), None),
        (lambda: rare.tiff(samples(WHOLE, "u2", 255), 8), "TIFF pictures with these colours"),
        (lambda: rare.tiff(numpy.zeros((8, 8, 12), "u2"), 2), "TIFF pictures of more than 20 bytes a pixel"),
        (bmp_with_a_jpeg, "BMP pictures with a JPEG or PNG in them"),
    ],
)
def test_what_is_not_supported_is_called_so_and_not_damaged(
    make: Callable[[], bytes], what: str | None
) -> None:
    error = refused(make())
    assert error.code == "unsupported_format"
    if what:
        assert error.detail == f"{what} are not supported."
    else:
        assert error.detail.startswith("TIFF pictures compressed by ")


def test_a_tiff_offset_beyond_all_bounds_is_damage() -> None:
    assert refused(b"II+\0\x08\0\0\0" + b"\xff" * 8).code == "corrupt_image"


# --- Animations ---


def one_frame_apng() -> bytes:
    control = png_chunk(b"acTL", b"\0\0\0\1" + bytes(4))
    return rare.with_chunks(encoded(WHOLE, "PNG"), control)


@pytest.mark.parametrize("format", ["jpeg", "webp", "original"])
@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_the_first_frame_of_an_animation_is_called_so(kind: str, format: str) -> None:
    result = compress(frames(kind, WHOLE.quantize(64).convert("RGB")), Recipe(format=format), max_pixels=CAP)
    assert result.animated


@pytest.mark.parametrize(
    "name",
    [name for name, sound in SOUND.items() if "animated" not in name and sound.format != "tiff"],
)
def test_what_stands_still_is_called_so(name: str) -> None:
    assert not compress(SOUND[name].file(), Recipe(), max_pixels=CAP).animated


@pytest.mark.parametrize(
    "make",
    [
        one_frame_apng,
        lambda: encoded(WHOLE, "GIF", save_all=True, append_images=[]),
        lambda: frames("TIFF"),
        lambda: frames("MPO"),
        lambda: frames("GIF", WHOLE.quantize(8))[:-2000],
    ],
)
def test_pages_and_single_frames_are_no_animation(make: Callable[[], bytes]) -> None:
    assert not compress(make(), Recipe(), max_pixels=CAP).animated


def test_a_gif_of_very_many_frames_is_not_read_through() -> None:
    two, source = frames("GIF", WHOLE.quantize(8)), b""
    source = two[:-1] + two[two.index(b"\x21\xf9") : -1] * 50 + b";"
    assert compress(source, Recipe(), max_pixels=CAP).animated
