"""Open and decode pictures.

libjpeg-turbo (``simplejpeg``) decodes JPEGs. Pillow decodes all other formats, and JPEGs that libjpeg-turbo
finds anything unusual in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, cast

import simplejpeg
from PIL import ExifTags, Image, TiffImagePlugin

from processing.compress.colour import embedded_profile, to_srgb
from processing.compress.formats import JPEG_FORMATS, PILLOW_FORMATS, decoding_error
from processing.compress.isobmff import max_declared_pixels
from processing.compress.types import CompressError

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray

#: simplejpeg's names for Pillow's modes.
TURBO_COLORSPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
# Warnings of libjpeg about missing or destroyed image data. It gives others (stray bytes before a marker, an
# odd header) for files that every browser displays.
_DAMAGE = re.compile(r"remature end|bad (Huffman|arithmetic) code|instead of RST")
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


def open_image(data: bytes, max_pixels: int) -> Image.Image:
    """Read the header of a picture, and decode nothing.

    Raise CompressError if it cannot be read or declares more than ``max_pixels``.
    """
    # Pillow has one limit for all threads, which it checks before it allocates memory for a GIF or a WebP. It
    # must not be lower than ours, and is never lowered, so that threads do not interfere with each other.
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels
    with _decoder_errors(data):
        # Pillow reports an AVIF of more than 32,768 pixels a side as damaged, so this comes first.
        if data[4:8] == b"ftyp" and max_declared_pixels(memoryview(data)) > max_pixels:
            raise CompressError("too_many_pixels", f"The picture has more than {max_pixels:,} pixels.")
        image = Image.open(BytesIO(data), formats=PILLOW_FORMATS)
        if image.width * image.height > max_pixels:
            detail = (
                f"The picture has {image.width:,} × {image.height:,} pixels. The limit is {max_pixels:,}."
            )
            raise CompressError("too_many_pixels", detail)
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            _check_tiles(image, max_pixels)
    return image


def _check_tiles(image: TiffImagePlugin.TiffImageFile, max_pixels: int) -> None:
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


def load(image: Image.Image, data: bytes) -> None:
    """Let Pillow decode the first frame or page. Raise CompressError if it cannot."""
    size = image.size
    with _decoder_errors(data):
        image.load()
        if image.size != size:  # a HEIC can be larger than its header says, and than what was checked
            raise ValueError(f"The header says {size}, the picture has {image.size}")


def decode(image: Image.Image, data: bytes, orientation: int, size: tuple[int, int]) -> Image.Image:
    """Return an opened picture in sRGB, upright, and scaled down to ``size`` (as displayed).

    Other formats than JPEG must be loaded already. Raise CompressError if a JPEG cannot be decoded.
    """
    profile = embedded_profile(image)
    full_size, stored_size = image.size, oriented(size, orientation)
    if image.format in JPEG_FORMATS:
        image = _decode_jpeg(image, data, stored_size)
    image = to_srgb(image, profile)
    if image.size != stored_size:
        # If a JPEG was scaled to n/8, its last row and column may be partly outside of the picture.
        eighths = round(8 * max(image.size) / max(full_size))
        right, bottom = full_size[0] * eighths / 8, full_size[1] * eighths / 8
        box = (0, 0, min(right, image.width), min(bottom, image.height))
        image = image.resize(stored_size, Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
    return image.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else image


def _decode_jpeg(image: Image.Image, data: bytes, size: tuple[int, int]) -> Image.Image:
    """Decode a JPEG, already reduced if it stays at least twice as large as ``size``."""
    enough = (2 * size[0], 2 * size[1])
    # Both decoders are fast with these factors, and give the same pixels.
    ratio = min(image.width // enough[0], image.height // enough[1])
    reduction = next(factor for factor in (8, 4, 2, 1) if factor <= max(1, ratio))
    pixels = turbo_pixels(image, data, reduction)
    if pixels is None:
        with _decoder_errors(data):
            image.draft(image.mode, enough)
            image.load()
        return image
    height, width = pixels.shape[:2]
    raw_mode = "CMYK;I" if image.mode == "CMYK" else image.mode  # JPEGs store CMYK inverted
    return Image.frombuffer(image.mode, (width, height), pixels, "raw", raw_mode, 0, 1)


def turbo_pixels(
    image: Image.Image, data: bytes, reduction: int, *, smooth: bool = True
) -> NDArray[uint8] | None:
    """Let libjpeg-turbo decode a JPEG, with width and height divided by ``reduction``.

    ``smooth`` interpolates colours that are stored at a lower resolution; without it each is repeated, which
    is faster. Return None if libjpeg-turbo finds anything unusual that may be no damage: Pillow decides then.
    Raise CompressError if the picture is damaged.
    """
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
            if _DAMAGE.search(str(error)):
                raise
            return None
    return cast("NDArray[uint8]", pixels)
