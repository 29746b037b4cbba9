"""Open and decode pictures.

libjpeg-turbo (``simplejpeg``) decodes JPEGs. Pillow decodes all other formats, and JPEGs that libjpeg-turbo
finds anything unusual in.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, cast

import simplejpeg
from PIL import ExifTags, Image, TiffImagePlugin

from processing.compress.animation import is_animated
from processing.compress.bmp import MaskedBmpFile
from processing.compress.colour import embedded_profile, to_srgb
from processing.compress.formats import JPEG_FORMATS, PILLOW_FORMATS, decoding_error
from processing.compress.icon import is_icon, largest_picture
from processing.compress.isobmff import jp2_profile, max_declared_pixels, nclx_codes
from processing.compress.jpeg import has_end, with_end
from processing.compress.png import SIGNATURE, Png, read_png
from processing.compress.profiles import SRGB_CURVE, profile_of_codes
from processing.compress.structure import Structure, check_structure
from processing.compress.tiff import SampleTiffFile, is_left_to_pillow
from processing.compress.types import CompressError

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray

#: simplejpeg's names for Pillow's modes.
TURBO_COLORSPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
# Warnings of libjpeg about missing or destroyed image data. It gives others (stray bytes before a marker, an
# odd header) for files that every browser displays.
_DAMAGE = re.compile(r"remature end|bad (Huffman|arithmetic) code|instead of RST")
# Of a progressive JPEG that is cut off after its first scan, browsers show all rows, if less sharp.
_CUT_OFF = re.compile(r"remature end")
# How to turn an image upright, by EXIF orientation.
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@contextmanager
def _decoder_errors(data: bytes) -> Iterator[None]:
    """Turn any exception of a decoder into a CompressError: damaged files cause exceptions of all kinds.

    MemoryError passes through, since the machine may be as much to blame as the picture.
    """
    try:
        yield
    except (CompressError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise CompressError("too_many_pixels", "The picture has too many pixels.") from error
    except Exception as error:
        raise decoding_error(data) from error


# --- The header ---


@dataclass
class Picture:
    """An opened picture: what Pillow knows of it, and the file that decoders read.

    That is the source, but for what had to be mended or taken out of it.
    """

    image: Image.Image
    data: bytes
    format: str
    is_animated: bool = False
    png: Png | None = None
    #: Whether it is a progressive JPEG of which later scans are missing.
    is_cut_off: bool = False


def open_picture(data: bytes, structure: Structure, max_pixels: int) -> Picture:
    """Read the header of a picture, and decode nothing.

    Raise CompressError if it cannot be read or declares more than ``max_pixels``.
    """
    # Pillow has one limit for all threads, which it checks before it allocates memory for a GIF or a WebP. It
    # must not be lower than ours, and is never lowered, so that threads do not interfere with each other.
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels
    with _decoder_errors(data):
        picture = _opened(data, structure, max_pixels)
        image = picture.image
        if image.width * image.height > max_pixels:
            detail = (
                f"The picture has {image.width:,} × {image.height:,} pixels. The limit is {max_pixels:,}."
            )
            raise CompressError("too_many_pixels", detail)
        if isinstance(image, TiffImagePlugin.TiffImageFile | SampleTiffFile):
            _check_tiles(image, max_pixels)
    return picture


def _opened(data: bytes, structure: Structure, max_pixels: int) -> Picture:
    format = "png"
    if is_icon(data):
        data, format = largest_picture(data), "ico"
        check_structure(data)
    if data.startswith(SIGNATURE):
        png = read_png(data)
        header = Image.open(BytesIO(png.file_without_pixels()), formats=("PNG",))
        return Picture(header, data, format, png.is_animated, png)
    if format == "ico":
        return Picture(Image.open(BytesIO(data), formats=("ICO",)), data, format)
    # Pillow reports an AVIF of more than 32,768 pixels a side as damaged, so this comes first.
    if data[4:8] == b"ftyp" and max_declared_pixels(memoryview(data)) > max_pixels:
        raise CompressError("too_many_pixels", f"The picture has more than {max_pixels:,} pixels.")
    is_cut_off = bool(structure.scan_start) and not has_end(data, structure.scan_start)
    if is_cut_off:
        if structure.is_progressive and structure.passes == 1:
            raise ValueError("a picture of which only a coarse first scan is there")
        data = with_end(data)
    image = _open(data)
    picture = Picture(image, data, cast(str, image.format).lower(), is_animated(data))
    if image.format in ("AVIF", "HEIF"):
        _describe_colours(image, data)
        picture.is_animated = image.format == "AVIF" and getattr(image, "n_frames", 1) > 1
    if image.format == "JPEG2000" and data[4:8] == b"jP  ":
        image.info["icc_profile"] = jp2_profile(memoryview(data))
    picture.is_cut_off = is_cut_off and structure.is_progressive
    return picture


def _open(data: bytes) -> Image.Image:
    try:
        image = Image.open(BytesIO(data), formats=PILLOW_FORMATS)
    except (OSError, KeyError, OverflowError, ValueError):
        if data.startswith(b"BM"):
            return MaskedBmpFile(BytesIO(data))
        if data.startswith((b"II", b"MM")):
            return SampleTiffFile(BytesIO(data))
        raise
    if image.format == "BMP" and image.palette and len(image.palette.palette) > 4 * 256:
        return MaskedBmpFile(BytesIO(data))
    if isinstance(image, TiffImagePlugin.TiffImageFile) and not is_left_to_pillow(image.tag_v2):
        return SampleTiffFile(BytesIO(data))
    return image


def _describe_colours(image: Image.Image, data: bytes) -> None:
    """Add the ICC profile of an AVIF's or HEIC's colours where it has codes instead."""
    codes = nclx_codes(memoryview(data))
    if codes and not image.info.get("icc_profile"):
        is_grey = image.mode in ("L", "LA")
        image.info["icc_profile"] = profile_of_codes(*codes, camera_curve=SRGB_CURVE, is_grey=is_grey)


def _check_tiles(image: TiffImagePlugin.TiffImageFile | SampleTiffFile, max_pixels: int) -> None:
    """Raise CompressError if a TIFF has a tile, or all of its tiles have, too many pixels.

    The decoder takes memory for a whole tile and time for all of them, even if the picture is smaller.
    """
    width = image.tag_v2.get(TiffImagePlugin.TILEWIDTH, 0)
    height = image.tag_v2.get(TiffImagePlugin.TILELENGTH, 0)
    if not (width and height):
        return
    tiles = -(-image.width // width) * -(-image.height // height)
    if width * height > max_pixels or tiles * width * height > 2 * max_pixels:
        detail = f"The picture is stored in tiles of more than {max_pixels:,} pixels."
        raise CompressError("too_many_pixels", detail)


def exif_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8, or 1 if there is none or the EXIF data is damaged."""
    # Pillow would take one from XMP, which browsers do not look at.
    for name in ("xmp", "XML:com.adobe.xmp"):
        image.info.pop(name, None)
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1
    return orientation if orientation in _TRANSPOSE else 1


def oriented(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Swap width and height if an image of this EXIF orientation is turned by 90 degrees to be upright."""
    width, height = size
    return (height, width) if orientation >= 5 else size


# --- The pixels ---


def load(picture: Picture) -> None:
    """Let Pillow decode the first frame or page. Raise CompressError if it cannot."""
    size = picture.image.size
    with _decoder_errors(picture.data):
        if picture.png:
            _load_png(picture, picture.png)
        else:
            picture.image.load()
        if (
            picture.format == "psd"
        ):  # its first frame has the number 1, which Pillow's AVIF encoder cannot seek
            picture.image = picture.image.copy()
        if picture.image.size != size:  # a HEIC can be larger than its header says, and than what was checked
            raise ValueError(f"The header says {size}, the picture has {picture.image.size}")


def _load_png(picture: Picture, png: Png) -> None:
    try:
        _load_png_file(picture, png, png.file())
    except (OSError, SyntaxError):
        mended = with_checksum(png, picture.image.size)
        if mended is None:
            raise
        _load_png_file(picture, png, mended)


def with_checksum(png: Png, size: tuple[int, int]) -> bytes | None:
    """Return the file with the right checksum of its pixels, or None if they are damaged."""
    width, height = size
    with suppress(ValueError, zlib.error):
        return png.file_with_checksum(max_bytes=(8 * width + 8) * (height + 8))
    return None


def _load_png_file(picture: Picture, png: Png, data: bytes) -> None:
    picture.data, picture.image = data, Image.open(BytesIO(data), formats=("PNG",))
    picture.image.load()
    if png.profile:
        picture.image.info["icc_profile"] = png.profile


def decode(
    picture: Picture, size: tuple[int, int], pixels: NDArray[uint8] | None = None
) -> tuple[Image.Image, tuple[float, float]]:
    """Return an opened picture in sRGB as it is stored, not turned upright, at least ``size`` large.

    A JPEG may be reduced already, but stays at least twice as large as ``size``. Its last row and column may
    then be partly outside of the picture, whose width and height in these pixels are returned beside it.
    One that would not be reduced is not decoded again if its ``pixels`` are given, as ``turbo_pixels()``
    returned them.

    Other formats than JPEG must be loaded already. Raise CompressError if a JPEG cannot be decoded.
    """
    image = picture.image
    profile = embedded_profile(image)
    width, height = image.size
    if image.format in JPEG_FORMATS:
        image = _decode_jpeg(picture, size, pixels)
    eighths = round(8 * max(image.size) / max(width, height))
    extent = min(width * eighths / 8, image.width), min(height * eighths / 8, image.height)
    return to_srgb(image, profile, getattr(image, "alpha", None)), extent


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn an image of this EXIF orientation upright."""
    return image.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else image


def _decode_jpeg(picture: Picture, size: tuple[int, int], pixels: NDArray[uint8] | None) -> Image.Image:
    """Decode a JPEG, already reduced if it stays at least twice as large as ``size``, or take its pixels."""
    image = picture.image
    enough = (2 * size[0], 2 * size[1])
    # Both decoders are fast with these factors, and give the same pixels.
    ratio = min(image.width // enough[0], image.height // enough[1])
    reduction = next(factor for factor in (8, 4, 2, 1) if factor <= max(1, ratio))
    if pixels is None or reduction > 1:  # decoding it reduced is faster than scaling all of its pixels
        pixels = turbo_pixels(picture, reduction)
    if pixels is None:
        with _decoder_errors(picture.data):
            image.draft(image.mode, enough)
            image.load()
        return image
    height, width = pixels.shape[:2]
    raw_mode = "CMYK;I" if image.mode == "CMYK" else image.mode  # JPEGs store CMYK inverted
    return Image.frombuffer(image.mode, (width, height), pixels, "raw", raw_mode, 0, 1)


def turbo_pixels(picture: Picture, reduction: int, *, smooth: bool = True) -> NDArray[uint8] | None:
    """Let libjpeg-turbo decode a JPEG, with width and height divided by ``reduction``.

    ``smooth`` interpolates colours that are stored at a lower resolution; without it each is repeated, which
    is faster. Return None if libjpeg-turbo finds anything unusual that may be no damage: Pillow decides then.
    Raise CompressError if the picture is damaged.
    """
    image, data = picture.image, picture.data
    width, height = image.size
    with _decoder_errors(data):
        try:
            # Do not decode a size that was not checked against the limit.
            if simplejpeg.decode_jpeg_header(data)[:2] != (height, width):
                return None
            pixels = simplejpeg.decode_jpeg(
                data,
                TURBO_COLORSPACES[image.mode],
                min_width=-(-width // reduction),
                min_height=-(-height // reduction),
                min_factor=reduction,
                fastupsample=not smooth,
            )
        except ValueError as error:
            is_less_sharp = picture.is_cut_off and _CUT_OFF.search(str(error))
            if _DAMAGE.search(str(error)) and not is_less_sharp:
                raise
            return None
    return cast("NDArray[uint8]", pixels)
