"""What a picture says of itself before it is decoded: whether it may be, how large it is, which way is up."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

from PIL import ExifTags, Image

from processing.compress.kinds import JPEGS, PILLOW_FORMATS, refusal
from processing.compress.values import CompressError

# Everything that Pillow's decoders are known to raise for files that are not what they claim to be.
DECODER_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDES_SWAPPED = (5, 6, 7, 8)


@contextmanager
def decoding(data: bytes) -> Iterator[None]:
    """Turns whatever a decoder raises into a CompressError."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        detail = "The picture has more pixels than can be processed."
        raise CompressError("too_many_pixels", detail) from error
    except DECODER_ERRORS as error:
        raise refusal(data) from error


def opened(data: bytes, max_pixels: int) -> Image.Image:
    """The picture with its header read, and unless it is a JPEG its pixels too."""
    # Pillow's limit is global, and guards what it allocates while opening a GIF or a WebP. It must not be
    # below ours, and never goes down again, so that threads cannot get in each other's way.
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels
    image = Image.open(BytesIO(data), formats=PILLOW_FORMATS)
    width, height = image.size
    if width * height > max_pixels:
        detail = f"The picture has {width:,} × {height:,} pixels; at most {max_pixels:,} in all are accepted."
        raise CompressError("too_many_pixels", detail)
    if image.format not in JPEGS:
        image.load()  # before asking for EXIF: that of a PNG may follow its pixels
    return image


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8. Broken metadata counts as none: the picture itself may be sound."""
    try:
        turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    except DECODER_ERRORS:
        return 1
    return turn if turn in UPRIGHT else 1


def turned(size: tuple[int, int], turn: int) -> tuple[int, int]:
    """Width and height as a viewer shows them."""
    width, height = size
    return (height, width) if turn in _SIDES_SWAPPED else size
