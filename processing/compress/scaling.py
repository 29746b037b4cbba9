"""Sizes of outputs, and the scaled, cropped, padded and trimmed images.

Colours are averaged as they are stored, with their gamma, which is what sharp and ImageMagick do by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, ImageColor

from processing.compress.decode import Picture, decode, oriented, upright
from processing.compress.types import OutputOptions

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray

Size = tuple[int, int]

#: A border may differ by so much from the corner in each channel.
MAX_BORDER_DIFFERENCE = 10


class Plan(NamedTuple):
    """Sizes of an output: of the scaled picture, and of its middle part or of the canvas around it."""

    scaled: Size
    size: Size


def plan(source: Size, options: OutputOptions) -> Plan:
    """Return the sizes of an output for a picture, which is never enlarged.

    Sides are rounded to the nearest pixel, halves up, and are at least 1.
    """
    if options.box == (None, None):
        return Plan(source, source)
    width, height = source
    box_width, box_height = (limit or side for limit, side in zip(options.box, source, strict=True))
    # Compared by products, which are exact: the side that is shorter in proportion to the box decides.
    is_wide = width * box_height >= height * box_width
    if is_wide == (options.fit != "cover"):
        scaled = _scaled(source, box_width, width)
    else:
        scaled = _scaled(source, box_height, height)
    if options.fit == "pad":
        return Plan(scaled, (box_width, box_height))
    if options.fit == "cover":
        return Plan(scaled, (min(scaled[0], box_width), min(scaled[1], box_height)))
    return Plan(scaled, scaled)


def _scaled(size: Size, wanted: int, whole: int) -> Size:
    """Return the size times ``wanted / whole``, but no larger than it is."""
    if wanted >= whole:
        return size
    width, height = (max(1, (2 * side * wanted + whole) // (2 * whole)) for side in size)
    return width, height


class _Level(NamedTuple):
    """A picture in the orientation of its file; its last row and column may be partly outside of its size."""

    image: Image.Image
    width: float
    height: float


class Pixels:
    """The pixels of a picture, decoded once, from which all of its outputs are scaled.

    Other formats than JPEG must be loaded already.
    """

    def __init__(
        self,
        picture: Picture,
        orientation: int,
        sizes: Sequence[Size],
        turbo: NDArray[uint8] | None = None,
    ) -> None:
        """Prepare for outputs that are scaled to ``sizes``, as displayed. Nothing is decoded yet.

        ``turbo`` are the pixels of a JPEG, without interpolated colours, if they were decoded for another
        output. They may be used if all outputs are at most half as large: larger ones would be less smooth.
        """
        self._picture, self._orientation = picture, orientation
        self._sizes, self._turbo = sizes, turbo
        self._levels: list[_Level] = []  # the decoded picture first, then smaller ones

    def trim(self) -> Size:
        """Cut off uniform borders, and return the size that is left."""
        image = upright(self._decoded().image, self._orientation)
        image = image.crop(border_box(image))
        self._orientation, self._levels = 1, [_Level(image, *image.size)]
        return image.size

    def _decoded(self) -> _Level:
        """Decode the picture for all sizes."""
        widths, heights = zip(*(oriented(size, self._orientation) for size in self._sizes), strict=True)
        largest = max(widths), max(heights)
        width, height = self._picture.image.size
        is_half = 2 * largest[0] <= width and 2 * largest[1] <= height
        image, extent = decode(self._picture, largest, self._turbo if is_half else None)
        return _Level(image, *extent)

    def scaled(self, size: Size) -> Image.Image:
        """Return the picture upright in this size. Small ones are made of large ones asked for before."""
        stored = oriented(size, self._orientation)
        image, width, height = self._sufficient((2 * stored[0], 2 * stored[1]))
        if image.size != stored:
            image = image.resize(stored, Image.Resampling.LANCZOS, box=(0, 0, width, height))
            # Only if much smaller: so all levels together have at most twice the pixels of the first.
            smallest = min(level.image.width * level.image.height for level in self._levels)
            if 2 * stored[0] * stored[1] <= smallest:
                self._levels.append(_Level(image, *stored))
        return upright(image, self._orientation)

    def _sufficient(self, least: Size) -> _Level:
        """Return the smallest level that is at least so large, or the decoded picture."""
        if not self._levels:
            self._levels.append(self._decoded())
        width, height = least
        enough = [level for level in self._levels if level.width >= width and level.height >= height]
        best = min(enough, key=lambda level: level.width, default=self._levels[0])
        while best.width >= 2 * width and best.height >= 2 * height:
            best = _Level(best.image.reduce(2), best.width / 2, best.height / 2)
            self._levels.append(best)
        return best


def border_box(image: Image.Image) -> tuple[int, int, int, int]:
    """Return the box inside of rows and columns that are all alike to the top left corner.

    The whole image if nothing is inside of them.
    """
    corner = image.crop((0, 0, 1, 1)).tobytes()
    table = [0 if abs(value - at) <= MAX_BORDER_DIFFERENCE else 255 for at in corner for value in range(256)]
    return image.point(table).getbbox(alpha_only=False) or (0, 0, *image.size)


def covering(image: Image.Image, size: Size) -> Image.Image:
    """Return the middle of an image in this size, which is no larger."""
    # Of an odd number of rows or columns, one more is cut off at the top and left, as sharp does it.
    left, top = ((side - wanted + 1) // 2 for side, wanted in zip(image.size, size, strict=True))
    return image.crop((left, top, left + size[0], top + size[1])) if image.size != size else image


def padded(image: Image.Image, size: Size, background: str | None) -> Image.Image:
    """Return an image in the middle of this size, which is no smaller.

    Around it is the background, which fills its own transparency as well; without one, transparency.
    """
    if background is not None:
        image = flattened(image, background)
    if image.size == size:
        return image
    left, top = ((wanted - side) // 2 for side, wanted in zip(image.size, size, strict=True))
    if background is None and not image.mode.endswith("A"):
        image = image.convert(f"{image.mode}A")
    canvas = Image.new(image.mode, size, background or (0,) * len(image.mode))
    canvas.paste(image, (left, top))
    return canvas


def flattened(image: Image.Image, background: str) -> Image.Image:
    """Return an image without transparency, on a background. It is in colour if the background is."""
    has_alpha = image.mode.endswith("A")
    red, green, blue = ImageColor.getrgb(background)[:3]
    mode = "L" if image.mode in ("L", "LA") and red == green == blue else "RGB"
    if not has_alpha:
        return image if image.mode == mode else image.convert(mode)
    canvas = Image.new(mode, image.size, background)
    canvas.paste(image.convert(mode), mask=image.getchannel("A"))
    return canvas
