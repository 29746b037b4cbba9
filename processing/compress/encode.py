"""Encode pictures."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, cast

import simplejpeg
from PIL import Image

from processing.compress.decode import TURBO_COLORSPACES
from processing.compress.scaling import WHITE, flattened
from processing.compress.types import CompressError

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


def encode_turbo_pixels(pixels: NDArray[uint8], mode: str, quality: int) -> bytes:
    """Encode the pixels that ``turbo_pixels()`` returned for a JPEG of Pillow's ``mode``."""
    subsampling = "Gray" if mode == "L" else "420"
    return cast(bytes, simplejpeg.encode_jpeg(pixels, quality, TURBO_COLORSPACES[mode], subsampling))


def encode(image: Image.Image, target: str, quality: int, background: str | None = None) -> bytes:
    """Encode an image without metadata.

    JPEG gets the background, ``#rrggbb`` or white, where the image has transparency.
    """
    if target == "jpeg":
        image = flattened(image, background or WHITE)
    image.info.clear()  # Pillow would write the profile and the comment that it finds here
    settings = {} if target == "png" else {"quality": quality}
    file = BytesIO()
    image.save(file, target, **settings)
    return file.getvalue()
