"""Files of finished pictures."""

from __future__ import annotations

from io import BytesIO
from typing import cast

import simplejpeg
from PIL import Image

from processing.compress.decode import TURBO_COLORSPACES, turbo_pixels
from processing.compress.values import CompressError

# Longest side that a format can hold. JPEG allows 65,535 but libjpeg stops at 65,500; AVIF allows 65,536 but
# libavif, and with it most browsers, open no more than 32,768.
LONGEST_SIDE = {"jpeg": 65_500, "webp": 16_383, "avif": 32_768}
# What "original" makes of a source; HEIC, which few browsers show, becomes JPEG;
# GIF, BMP and TIFF become PNG.
KEPT_FORMATS = {"jpeg": "jpeg", "mpo": "jpeg", "heif": "jpeg", "webp": "webp", "avif": "avif"}


def refuse_longer_than_format(size: tuple[int, int], target: str) -> None:
    limit = LONGEST_SIDE.get(target)
    if limit and max(size) > limit:
        detail = (
            f"A {target.upper()} picture can be at most {limit:,} pixels long, this one is {max(size):,}: "
            "set a maximum width and height or choose another format."
        )
        raise CompressError("unsupported_format", detail)


def jpeg_from_jpeg(image: Image.Image, data: bytes, quality: int) -> bytes | None:
    """The same picture in another quality; None where libjpeg-turbo alone does not do."""
    # The encoder halves the resolution of colours: of those that were one before it makes the same again.
    pixels = turbo_pixels(image, data, reduction=1, smooth=False)
    if pixels is None:
        return None
    subsampling = "Gray" if image.mode == "L" else "420"
    jpeg = simplejpeg.encode_jpeg(pixels, quality, TURBO_COLORSPACES[image.mode], subsampling)
    return cast(bytes, jpeg)


def encoded(picture: Image.Image, target: str, quality: int) -> bytes:
    """The file of a picture, with nothing in it but the picture."""
    if target == "jpeg" and picture.mode in ("LA", "RGBA"):
        picture = _on_white(picture)
    picture.info.clear()  # Pillow writes profiles and comments that it finds here
    settings = {} if target == "png" else {"quality": quality}
    file = BytesIO()
    picture.save(file, target, **settings)
    return file.getvalue()


def _on_white(picture: Image.Image) -> Image.Image:
    paper = Image.new(picture.mode.removesuffix("A"), picture.size, "white")
    paper.paste(picture.convert(paper.mode), mask=picture.getchannel("A"))
    return paper
