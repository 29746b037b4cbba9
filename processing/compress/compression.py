"""Decode, scale and encode one picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, NamedTuple, cast

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from processing.compress.auto_quality import choose_quality
from processing.compress.colour import is_srgb
from processing.compress.decode import (
    Picture,
    exif_orientation,
    load,
    open_picture,
    oriented,
    turbo_pixels,
    with_checksum,
)
from processing.compress.encode import (
    ORIGINAL_FORMATS,
    check_sides,
    encode,
    encode_turbo_pixels,
    is_finer,
    with_smallest_scans,
)
from processing.compress.formats import JPEG_FORMATS
from processing.compress.memory import BYTES_PER_PIXEL
from processing.compress.metadata import strip_metadata
from processing.compress.native import UnsuitableError, requantise
from processing.compress.png import read_png
from processing.compress.scaling import Pixels, Plan, Size, covering, padded, plan
from processing.compress.structure import check_structure
from processing.compress.types import (
    AUTO,
    FAST,
    SMALLEST,
    WHITE,
    Compressed,
    CompressError,
    Encoded,
    ImageInfo,
    OutputOptions,
    Recipe,
)

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray

#: Copies of the file at most: the segments that Pillow collects, a decoder's own, the file without metadata.
FILE_COPIES = 4


def compress(
    data: bytes,
    recipe: Recipe,
    *,
    max_pixels: int,
    reserve: Callable[[int], AbstractContextManager[None]] = lambda pixels: nullcontext(),
) -> Compressed:
    """Return the outputs of the picture in ``data``, upright, in sRGB and without metadata.

    Only the first frame or page is taken. A JPEG gets a background in place of transparency, other formats
    keep it. The format ``original`` keeps JPEG, WebP, AVIF and PNG, turns MPO and HEIC into JPEG, and the
    rest into PNG. Where only the quality changes, the source's image data is kept unless encoding it again
    saves bytes, so that no picture grows.

    ``max_pixels`` is the largest width times height accepted, of the source, read before anything is decoded,
    and of an output. Memory that depends on the size of the picture is allocated within ``reserve(pixels)``,
    in which the copies that decoders take of the file count as pixels of BYTES_PER_PIXEL.

    Raise CompressError if the picture cannot be compressed. No ``data`` makes it raise anything else, except
    MemoryError.
    """
    picture = open_picture(data, check_structure(data), max_pixels)
    check_canvas(recipe, max_pixels)
    with reserve(reserved_pixels(picture, data, recipe)):
        return compress_opened(picture, data, recipe)


def check_canvas(recipe: Recipe, max_pixels: int) -> None:
    """Raise CompressError if pictures would be padded to more than ``max_pixels``."""
    if _canvas_pixels(recipe) > max_pixels:
        detail = f"The picture would be padded to more than {max_pixels:,} pixels, which is the limit."
        raise CompressError("too_many_pixels", detail)


def reserved_pixels(picture: Picture, data: bytes, recipe: Recipe) -> int:
    """Return the pixels to reserve for compressing a picture, including those that its file stands for."""
    pixels = max(picture.image.width * picture.image.height, _canvas_pixels(recipe))
    return pixels + FILE_COPIES * len(data) // BYTES_PER_PIXEL


def _canvas_pixels(recipe: Recipe) -> int:
    """Return the pixels of the largest output that is padded; 0 if none is."""
    most = 0
    for output in recipe.outputs:
        if output.fit == "pad":
            width, height = output.box
            most = max(most, (width or 0) * (height or 0))
    return most


def check_minimum(width: int, height: int, recipe: Recipe) -> None:
    """Raise CompressError if a picture of this size is smaller than the recipe demands."""
    if width >= (recipe.min_width or 1) and height >= (recipe.min_height or 1):
        return
    if recipe.min_width and recipe.min_height:
        least = f"{recipe.min_width:,} × {recipe.min_height:,} pixels"
    elif recipe.min_width:
        least = f"{recipe.min_width:,} pixels wide"
    else:
        least = f"{recipe.min_height:,} pixels high"
    detail = f"The picture has {width:,} × {height:,} pixels. It must be at least {least}."
    raise CompressError("too_small", detail)


def target_format(picture: Picture, options: OutputOptions) -> str:
    """Return the format of an output."""
    return ORIGINAL_FORMATS.get(picture.format, "png") if options.format == "original" else options.format


def compress_opened(picture: Picture, data: bytes, recipe: Recipe) -> Compressed:
    """Do what ``compress()`` does with a picture whose structure was checked and whose header was read."""
    if picture.image.format not in JPEG_FORMATS:
        load(picture)  # before reading EXIF, which may follow the pixels of a PNG
    orientation = exif_orientation(picture.image)
    size = source_size = oriented(picture.image.size, orientation)
    check_minimum(*source_size, recipe)
    is_plain = orientation == 1 and is_srgb(picture.image)
    pixels = None
    if recipe.trim:
        pixels = Pixels(picture, orientation, [source_size])
        size = pixels.trim()
    plans = [plan(size, options) for options in recipe.outputs]
    targets = [target_format(picture, options) for options in recipe.outputs]
    for planned, target in zip(plans, targets, strict=True):
        check_sides(planned.size, target)

    if any(options.quality == AUTO for options in recipe.outputs):
        pixels = pixels or Pixels(picture, orientation, [planned.scaled for planned in plans])
    wanted = [
        _Wanted(
            options,
            planned,
            target,
            _quality(options, planned, target, pixels),
            is_same=is_plain and planned == Plan(source_size, source_size),
        )
        for options, planned, target in zip(recipe.outputs, plans, targets, strict=True)
    ]
    jpegs, turbo = _recompressed(picture, wanted)
    left = [planned.scaled for index, planned in enumerate(plans) if index not in jpegs]
    pixels = pixels or Pixels(picture, orientation, left, turbo)
    outputs: dict[int, Encoded] = {}
    for index in sorted(range(len(plans)), key=lambda index: plans[index].scaled, reverse=True):
        outputs[index] = _encoded(picture, wanted[index], pixels, jpegs.get(index))
    source = ImageInfo(len(data), *source_size, picture.format)
    in_order = [outputs[index] for index in range(len(plans))]
    return Compressed.of(in_order, source, animated=picture.is_animated)


class _Wanted(NamedTuple):
    """An output to be made.

    ``is_same`` says that nothing but the quality or the format of the source changes.
    """

    options: OutputOptions
    planned: Plan
    target: str
    quality: int
    is_same: bool


def _quality(options: OutputOptions, planned: Plan, target: str, pixels: Pixels | None) -> int:
    """Return the quality that is asked for, or choose one. ``pixels`` are only needed to choose."""
    if isinstance(options.quality, int) or pixels is None:
        return cast(int, options.quality)
    image = _fitted(pixels.scaled(planned.scaled), planned.size, options, target)
    return choose_quality(image, target, options.effort)


def _recompressed(
    picture: Picture, wanted: Sequence[_Wanted]
) -> tuple[dict[int, bytes], NDArray[uint8] | None]:
    """Return the outputs, by index, of a JPEG of which only the quality changes.

    Its pixels are returned as well if they had to be decoded. Nothing is returned of a JPEG that
    libjpeg-turbo cannot do alone.
    """
    if picture.image.format not in JPEG_FORMATS:
        return {}, None
    left = {index: one for index, one in enumerate(wanted) if one.is_same and one.target == "jpeg"}
    jpegs: dict[int, bytes] = {}
    max_pixels = picture.image.width * picture.image.height
    for index, one in left.items():
        with suppress(UnsuitableError):
            jpegs[index] = requantise(
                picture.data, one.quality, max_pixels, has_own_codes=one.options.effort != FAST
            )
    if len(jpegs) == len(left):
        return jpegs, None
    # The encoder averages the colours of neighbouring pixels, so interpolating them first gains nothing.
    turbo = turbo_pixels(picture, reduction=1, smooth=False)
    if turbo is not None:
        for index in left.keys() - jpegs:
            one = left[index]
            jpegs[index] = encode_turbo_pixels(turbo, picture.image.mode, one.quality, one.options.effort)
    return jpegs, turbo


def _encoded(picture: Picture, wanted: _Wanted, pixels: Pixels, jpeg: bytes | None) -> Encoded:
    """Return an output, or the source's own data if that is no larger.

    ``jpeg`` is the output of a JPEG of which nothing but the quality changes.
    """
    options, planned, target, quality, is_same = wanted
    may_keep = is_same and target == picture.format
    if jpeg is not None:
        output = jpeg
    else:
        image = _fitted(pixels.scaled(planned.scaled), planned.size, options, target)
        # It would keep what libjpeg-turbo objects to in a JPEG, or transparency that is to be filled.
        may_keep = may_keep and target != "jpeg" and not (options.fit == "pad" and options.background)
        output = encode(image, target, quality, options.effort, options.background or WHITE)
    if target == "jpeg" and options.effort == SMALLEST:
        output = with_smallest_scans(output)
    # To store what was rounded more exactly is a loss even where optimal Huffman codes save bytes.
    is_loss = may_keep and isinstance(picture.image, JpegImageFile) and is_finer(picture.image, quality)
    max_bytes = len(picture.data) if is_loss else len(output)
    kept = strip_metadata(picture.data, picture.format, max_bytes=max_bytes) if may_keep else None
    if kept and picture.png:  # Pillow, which stops at the last pixel, has not seen the checksum behind it
        kept = with_checksum(read_png(kept), planned.size)
    output = kept or output
    is_lossy = not kept and target != "png"
    return Encoded(
        data=output,
        extension="jpg" if target == "jpeg" else target,
        output=ImageInfo(len(output), *planned.size, target, quality if is_lossy else None),
        kept=kept is not None,
    )


def _fitted(image: Image.Image, size: Size, options: OutputOptions, target: str) -> Image.Image:
    if options.fit == "pad":
        return padded(image, size, options.background or (WHITE if target == "jpeg" else None))
    return covering(image, size)
