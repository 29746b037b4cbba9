"""Encode pictures."""

from __future__ import annotations

from io import BytesIO
from typing import cast

import simplejpeg
from PIL import Image

from processing.compress.decode import TURBO_COLORSPACES, Picture, turbo_pixels
from processing.compress.scaling import WHITE, flattened
from processing.compress.types import CompressError

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


def jpeg_from_jpeg(picture: Picture, quality: int) -> bytes | None:
    """Encode a JPEG again with another quality. Return None if libjpeg-turbo cannot do it alone.

    Raise CompressError if the picture is damaged.
    """
    # The encoder averages the colours of neighbouring pixels, so interpolating them first gains nothing.
    image = picture.image
    pixels = turbo_pixels(picture, reduction=1, smooth=False)
    if pixels is None:
        return None
    subsampling = "Gray" if image.mode == "L" else "420"
    jpeg = simplejpeg.encode_jpeg(pixels, quality, TURBO_COLORSPACES[image.mode], subsampling)
    return cast(bytes, jpeg)


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
