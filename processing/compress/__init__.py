"""Makes a web picture out of the bytes of any picture: a pure function, without Django, files or network.

JPEGs are decoded, and where nothing but the quality changes also encoded, by libjpeg-turbo directly
(``simplejpeg``); everything else, and every JPEG that it does not fully understand, is Pillow's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import cast

from PIL import Image

from processing.compress.colour import is_plain
from processing.compress.decode import picture_in
from processing.compress.encode import KEPT_FORMATS, encoded, jpeg_from_jpeg, refuse_longer_than_format
from processing.compress.header import decoding, load, opened, orientation, turned
from processing.compress.kinds import JPEGS
from processing.compress.original import stripped
from processing.compress.values import Compressed, CompressError, Facts, Options

__all__ = ["CompressError", "Compressed", "Facts", "Options", "compress"]


def compress(
    data: bytes,
    options: Options,
    *,
    max_pixels: int,
    reserve: Callable[[int], AbstractContextManager[None]] = lambda pixels: nullcontext(),
) -> Compressed:
    """The picture in ``data`` (the first of several) upright, in sRGB, without metadata, never enlarged.

    Transparency lies on white in a JPEG and stays in every other format. ``original`` keeps JPEG, WebP, AVIF
    and PNG, makes JPEG of MPO and HEIC, and PNG of the rest. Where nothing but the quality changes and to
    encode the picture anew makes it no smaller, its own data is kept, so that it never grows.

    More than ``max_pixels`` (width times height, read before anything is decoded) is refused. All the memory
    that depends on the picture's size is taken inside of ``reserve(width * height)``.

    Raises ``CompressError``, or MemoryError, and nothing else for whatever ``data`` holds.
    """
    with decoding(data):
        image = opened(data, max_pixels)
    with reserve(image.width * image.height):
        return _compressed(image, data, options)


def _compressed(image: Image.Image, data: bytes, options: Options) -> Compressed:
    if image.format not in JPEGS:
        with decoding(data):
            load(image)  # before asking for EXIF: that of a PNG may follow its pixels
    turn = orientation(image)
    kind = cast(str, image.format).lower()
    target = KEPT_FORMATS.get(kind, "png") if options.format == "original" else options.format
    shown = turned(image.size, turn)
    size = _fitted(shown, options)
    refuse_longer_than_format(size, target)

    only_quality_changes = size == shown and turn == 1 and is_plain(image)
    may_keep, output = only_quality_changes and target == kind, None
    if only_quality_changes and target == "jpeg" and image.format in JPEGS:
        output = jpeg_from_jpeg(image, data, options.quality)
    if output is None:
        may_keep = may_keep and kind != "jpeg"  # what is odd about it would stay
        output = encoded(picture_in(image, data, turn, size), target, options.quality)
    original = stripped(data, kind, len(output)) if may_keep else None
    return Compressed(
        data=original or output,
        extension="jpg" if target == "jpeg" else target,
        source=Facts(len(data), *shown, kind),
        output=Facts(len(original or output), *size, target),
        kept=original is not None,
    )


def _fitted(size: tuple[int, int], options: Options) -> tuple[int, int]:
    """The largest size of the same aspect within the limits, and not larger than it is."""
    width, height = size
    scale = min(1, (options.max_width or width) / width, (options.max_height or height) / height)
    return max(1, round(width * scale)), max(1, round(height * scale))
