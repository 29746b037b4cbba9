"""Encode pictures."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, cast

import mozjpeg_lossless_optimization as mozjpeg
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from processing.compress.scaling import flattened
from processing.compress.types import BALANCED, FAST, SMALLEST, WHITE, CompressError

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray

#: Output formats of the option "original", by source format. All other formats become PNG. HEIC becomes JPEG,
#: since few browsers display it.
ORIGINAL_FORMATS = {"jpeg": "jpeg", "mpo": "jpeg", "heif": "jpeg", "webp": "webp", "avif": "avif"}
# Settings of encoders by format and effort, where they are not Pillow's. Slower ones of the AVIF encoder take
# four times as long and save nothing.
_SETTINGS: dict[tuple[str, str], dict[str, object]] = {
    ("webp", FAST): {"method": 2},
    ("webp", SMALLEST): {"method": 6},
    ("avif", FAST): {"speed": 9},
    ("png", FAST): {"compress_level": 1},
}
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


def encode_turbo_pixels(pixels: NDArray[uint8], mode: str, quality: int, effort: str) -> bytes:
    """Encode the pixels that ``turbo_pixels()`` returned for a JPEG of Pillow's mode L or RGB."""
    height, width = pixels.shape[:2]
    image = Image.frombuffer(mode, (width, height), pixels, "raw", mode, 0, 1)
    return encode(image, "jpeg", quality, effort)


def encode(
    image: Image.Image, target: str, quality: int, effort: str = BALANCED, background: str | None = None
) -> bytes:
    """Encode an image without metadata. The effort does not change the pixels of a JPEG or PNG.

    JPEG gets the background, ``#rrggbb`` or white, where the image has transparency.
    """
    image.info.clear()  # Pillow would write the profile and the comment that it finds here
    if target == "png" and effort == SMALLEST:  # of photographs, fast compression makes the smaller files
        tries = [_saved(image, target, optimize=True), encode(image, target, quality, FAST)]
        return min(tries, key=len)
    if target != "jpeg":
        settings = _SETTINGS.get((target, effort), {})
        return _saved(image, target, **settings | ({} if target == "png" else {"quality": quality}))
    image = flattened(image, background or WHITE)
    if effort != FAST:
        # For optimised Huffman codes Pillow has room for a byte a pixel. Grain may need more.
        with suppress(OSError):
            return _saved(image, target, quality=quality, optimize=True)
    return _saved(image, target, quality=quality)


def with_smallest_scans(jpeg: bytes) -> bytes:
    """Return a JPEG with the same pixels in progressive scans, if that is smaller."""
    with suppress(ValueError):  # which it has for lack of memory
        jpeg = min(jpeg, mozjpeg.optimize(jpeg), key=len)
    return jpeg


def _saved(image: Image.Image, format: str, **settings: object) -> bytes:
    file = BytesIO()
    image.save(file, format, **settings)
    return file.getvalue()
