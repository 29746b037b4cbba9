"""Encode pictures."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, cast

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from processing.compress.scaling import flattened
from processing.compress.types import WHITE, CompressError

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray

#: Output formats of the option "original", by source format. All other formats become PNG. HEIC becomes JPEG,
#: since few browsers display it.
ORIGINAL_FORMATS = {"jpeg": "jpeg", "mpo": "jpeg", "heif": "jpeg", "webp": "webp", "avif": "avif"}
# Pixels. JPEG allows 65,535, but libjpeg stops at 65,500. AVIF allows 65,536, but libavif, and with it most
# browsers, open no more than 32,768.
_MAX_SIDES = {"jpeg": 65_500, "webp": 16_383, "avif": 32_768}


def check_sides(size: tuple[int, int], target: str) -> None:
    """Raise CompressError if the format ``target`` does not allow this width or height."""
    limit = _MAX_SIDES.get(target)
    if limit and max(size) > limit:
        detail = (
            f"{target.upper()} pictures can be at most {limit:,} pixels wide or high. This one has "
            f"{max(size):,}. Set a maximum width and height, or choose another format."
        )
        raise CompressError("unsupported_format", detail)


def is_finer(image: JpegImageFile, quality: int) -> bool:
    """Return whether a JPEG of this quality rounds nothing more than the image's file, and something less."""
    wanted = _steps(quality)
    steps: list[tuple[int, int]] = []
    for number, (_, _, _, table) in enumerate(image.layer):
        steps += zip(wanted[min(number, 1)], image.quantization.get(table, [0] * 64), strict=True)
    return all(new <= old for new, old in steps) and any(new < old for new, old in steps)


@cache
def _steps(quality: int) -> dict[int, list[int]]:
    """Return the quantisation tables of a quality: that of brightness, and that of colours."""
    smallest = BytesIO(encode(Image.new("RGB", (1, 1)), "jpeg", quality))
    return cast(JpegImageFile, Image.open(smallest)).quantization


def encode_turbo_pixels(pixels: NDArray[uint8], mode: str, quality: int) -> bytes:
    """Encode the pixels that ``turbo_pixels()`` returned for a JPEG of Pillow's mode L or RGB."""
    height, width = pixels.shape[:2]
    return encode(Image.frombuffer(mode, (width, height), pixels, "raw", mode, 0, 1), "jpeg", quality)


def encode(image: Image.Image, target: str, quality: int, background: str | None = None) -> bytes:
    """Encode an image without metadata.

    JPEG gets the background, ``#rrggbb`` or white, where the image has transparency.
    """
    image.info.clear()  # Pillow would write the profile and the comment that it finds here
    if target == "png":
        return _saved(image, target)
    if target != "jpeg":
        return _saved(image, target, quality=quality)
    image = flattened(image, background or WHITE)
    try:
        return _saved(image, target, quality=quality, optimize=True)
    except OSError:
        # For optimised Huffman codes Pillow has room for a byte a pixel. Grain may need more.
        return _saved(image, target, quality=quality)


def _saved(image: Image.Image, format: str, **settings: object) -> bytes:
    file = BytesIO()
    image.save(file, format, **settings)
    return file.getvalue()
