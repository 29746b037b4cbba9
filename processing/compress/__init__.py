"""Makes a web picture out of the bytes of any picture: a pure function, without Django, files or network.

JPEGs are decoded, and where nothing but the quality changes also encoded, by libjpeg-turbo directly
(``simplejpeg``); everything else, and every JPEG that it does not fully understand, is Pillow's.
"""

from __future__ import annotations

from typing import cast

from processing.compress.colour import is_plain_jpeg
from processing.compress.decode import picture_in
from processing.compress.encode import KEPT_FORMATS, encoded, jpeg_from_jpeg, refuse_longer_than_format
from processing.compress.header import decoding, opened, orientation, turned
from processing.compress.values import Compressed, CompressError, Facts, Options

__all__ = ["CompressError", "Compressed", "Facts", "Options", "compress"]


def compress(data: bytes, options: Options, *, max_pixels: int) -> Compressed:
    """The picture in ``data`` (the first of several) upright, in sRGB, without metadata, never enlarged.

    Transparency lies on white in a JPEG and stays in every other format. ``original`` keeps JPEG, WebP, AVIF
    and PNG, makes JPEG of MPO and PNG of the rest. More than ``max_pixels`` (width times height, read before
    anything is decoded) is refused. Raises ``CompressError`` and nothing else for whatever ``data`` holds.
    """
    with decoding(data):
        image = opened(data, max_pixels)
        turn = orientation(image)
    kind = cast(str, image.format).lower()
    target = KEPT_FORMATS.get(kind, "png") if options.format == "original" else options.format
    shown = turned(image.size, turn)
    size = _fitted(shown, options)
    refuse_longer_than_format(size, target)

    only_quality_changes = target == "jpeg" and size == shown and turn == 1 and is_plain_jpeg(image)
    output = jpeg_from_jpeg(image, data, options.quality) if only_quality_changes else None
    if output is None:
        picture = picture_in(image, data, turn, size)
        output = encoded(picture, target, options.quality)
    return Compressed(
        data=output,
        extension="jpg" if target == "jpeg" else target,
        source=Facts(len(data), *shown, kind),
        output=Facts(len(output), *size, target),
    )


def _fitted(size: tuple[int, int], options: Options) -> tuple[int, int]:
    """The largest size of the same aspect within the limits, and not larger than it is."""
    width, height = size
    scale = min(1, (options.max_width or width) / width, (options.max_height or height) / height)
    return max(1, round(width * scale)), max(1, round(height * scale))
