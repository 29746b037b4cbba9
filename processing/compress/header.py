"""What a picture says of itself before it is decoded: whether it may be, how large it is, which way is up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

from PIL import ExifTags, Image, TiffImagePlugin

from processing.compress.boxes import most_pixels_declared
from processing.compress.kinds import PILLOW_FORMATS, refusal
from processing.compress.values import CompressError

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
    """Turns whatever a decoder raises into a CompressError, since files make them fail in every way there is.

    Only MemoryError passes: it says at least as much of the machine as of the picture.
    """
    try:
        yield
    except (CompressError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        detail = "The picture has more pixels than can be processed."
        raise CompressError("too_many_pixels", detail) from error
    except Exception as error:
        raise refusal(data) from error


def opened(data: bytes, max_pixels: int) -> Image.Image:
    """The picture with nothing but its header read, which says that it has no more than ``max_pixels``."""
    # Pillow's limit is global, and guards what it allocates while opening a GIF or a WebP. It must not be
    # below ours, and never goes down again, so that threads cannot get in each other's way.
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels
    # Pillow's reader calls an AVIF of more than 32,768 pixels a side damaged.
    if data[4:8] == b"ftyp" and most_pixels_declared(memoryview(data)) > max_pixels:
        raise CompressError("too_many_pixels", f"The picture has more than {max_pixels:,} pixels.")
    image = Image.open(BytesIO(data), formats=PILLOW_FORMATS)
    width, height = image.size
    if width * height > max_pixels or _pixels_per_tile(image) > max_pixels:
        detail = f"The picture has {width:,} × {height:,} pixels; at most {max_pixels:,} in all are accepted."
        raise CompressError("too_many_pixels", detail)
    return image


def _pixels_per_tile(image: Image.Image) -> int:
    """Of a tiled TIFF, whose decoder allocates a whole tile however small the picture in it is."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 0
    tags = image.tag_v2
    tile: int = tags.get(TiffImagePlugin.TILEWIDTH, 0) * tags.get(TiffImagePlugin.TILELENGTH, 0)
    return tile


def load(image: Image.Image) -> None:
    """Decode the first frame or page."""
    size = image.size
    image.load()
    if image.size != size:  # a HEIC may turn out to be larger than was checked
        raise ValueError(f"The header promised {size}, the picture has {image.size}")


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8. Broken metadata counts as none: the picture itself may be sound."""
    try:
        turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1
    return turn if turn in UPRIGHT else 1


def turned(size: tuple[int, int], turn: int) -> tuple[int, int]:
    """Width and height as a viewer shows them."""
    width, height = size
    return (height, width) if turn in _SIDES_SWAPPED else size
