"""Decode, scale and encode one picture."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from processing.compress.colour import is_srgb
from processing.compress.decode import (
    Picture,
    decode,
    exif_orientation,
    load,
    open_picture,
    oriented,
    with_checksum,
)
from processing.compress.encode import ORIGINAL_FORMATS, check_sides, encode, jpeg_from_jpeg
from processing.compress.formats import JPEG_FORMATS
from processing.compress.memory import BYTES_PER_PIXEL
from processing.compress.metadata import strip_metadata
from processing.compress.png import read_png
from processing.compress.structure import check_structure
from processing.compress.types import Compressed, ImageInfo, Options

#: Copies of the file at most: the segments that Pillow collects, a decoder's own, the file without metadata.
FILE_COPIES = 4


def compress(
    data: bytes,
    options: Options,
    *,
    max_pixels: int,
    reserve: Callable[[int], AbstractContextManager[None]] = lambda pixels: nullcontext(),
) -> Compressed:
    """Return the picture in ``data`` upright, in sRGB, without metadata, and scaled down to the limits.

    Only the first frame or page is taken. A JPEG gets a white background in place of transparency, other
    formats keep it. The format ``original`` keeps JPEG, WebP, AVIF and PNG, turns MPO and HEIC into JPEG, and
    the rest into PNG. Where only the quality changes, the source's image data is kept unless
    encoding it again saves bytes, so that no picture grows.

    ``max_pixels`` is the largest width times height accepted, read before anything is decoded. Memory that
    depends on the size of the picture is allocated within ``reserve(pixels)``, in which the copies that
    decoders take of the file count as pixels of BYTES_PER_PIXEL.

    Raise CompressError if the picture cannot be compressed. No ``data`` makes it raise anything else, except
    MemoryError.
    """
    picture = open_picture(data, check_structure(data), max_pixels)
    with reserve(reserved_pixels(picture, data)):
        return compress_opened(picture, data, options)


def reserved_pixels(picture: Picture, data: bytes) -> int:
    """Return the pixels to reserve for compressing a picture, including those that its file stands for."""
    return picture.image.width * picture.image.height + FILE_COPIES * len(data) // BYTES_PER_PIXEL


def compress_opened(picture: Picture, data: bytes, options: Options) -> Compressed:
    """Do what ``compress()`` does with a picture whose structure was checked and whose header was read."""
    if picture.image.format not in JPEG_FORMATS:
        load(picture)  # before reading EXIF, which may follow the pixels of a PNG
    image, source_format = picture.image, picture.format
    orientation = exif_orientation(image)
    target = ORIGINAL_FORMATS.get(source_format, "png") if options.format == "original" else options.format
    source_size = oriented(image.size, orientation)
    size = _scaled(source_size, options)
    check_sides(size, target)

    only_quality_changes = size == source_size and orientation == 1 and is_srgb(image)
    may_keep = only_quality_changes and target == source_format
    output = None
    if only_quality_changes and target == "jpeg" and image.format in JPEG_FORMATS:
        output = jpeg_from_jpeg(picture, options.quality)
    if output is None:
        may_keep = may_keep and source_format != "jpeg"  # it would keep what libjpeg-turbo objects to
        output = encode(decode(picture, orientation, size), target, options.quality)
    kept = strip_metadata(picture.data, source_format, max_bytes=len(output)) if may_keep else None
    if kept and picture.png:  # Pillow, which stops at the last pixel, has not seen the checksum behind it
        kept = with_checksum(read_png(kept), image.size)
    output = kept or output
    return Compressed(
        data=output,
        extension="jpg" if target == "jpeg" else target,
        source=ImageInfo(len(data), *source_size, source_format),
        output=ImageInfo(len(output), *size, target),
        kept=kept is not None,
        animated=picture.is_animated,
    )


def _scaled(size: tuple[int, int], options: Options) -> tuple[int, int]:
    """Return the largest size of the same aspect ratio within the limits, but no larger than ``size``."""
    width, height = size
    scale = min(1, (options.max_width or width) / width, (options.max_height or height) / height)
    return max(1, round(width * scale)), max(1, round(height * scale))
