"""The quality ``auto``: the lowest at which an output still looks like its picture."""

from __future__ import annotations

from bisect import bisect_left
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from processing.compress.encode import encode
from processing.compress.scaling import flattened
from processing.compress.types import WHITE

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

    Plane = NDArray[float32]

#: The mean SSIM (structural similarity) of the brightness that an output needs. Even areas do not count: a
#: white background would hide a loss in the product in front of it.
MIN_SSIM = 0.96
#: Four steps of bisection find the lowest that suffices. The last one is taken without a trial.
QUALITIES = range(30, 91, 4)
#: Tiles represent a larger picture. They are aligned with the blocks of encoders, and are not scaled, since
#: the quality depends on sharpness.
TILE_PIXELS, TILES = 96, 4
_GRID_PIXELS = 16
#: SSIM is computed for windows of twice this side, half a window apart.
_STEP_PIXELS = 4
#: A window with less variance is even.
_EVEN_VARIANCE = 1.0
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def choose_quality(image: Image.Image, target: str, effort: str) -> int:
    """Return the quality with which to encode an image in the format ``target``. PNG needs none."""
    if target == "png":
        return QUALITIES[-1]
    sample = _sample(flattened(image, WHITE))
    wanted = _brightness(sample)

    def ssim_of(quality: int) -> float:
        encoded = encode(sample.copy(), target, quality, effort)
        return ssim(wanted, _brightness(Image.open(BytesIO(encoded))))

    return QUALITIES[bisect_left(QUALITIES[:-1], MIN_SSIM, key=ssim_of)]


def _sample(image: Image.Image) -> Image.Image:
    """Return up to TILES rows of TILES tiles that are spread over an image, or all of a small one."""
    width, height = image.size
    side = TILE_PIXELS * TILES
    if width * height <= side * side:
        return image
    columns, rows = _tile_starts(width), _tile_starts(height)
    tile_size = min(width, TILE_PIXELS), min(height, TILE_PIXELS)
    sample = Image.new(image.mode, (len(columns) * tile_size[0], len(rows) * tile_size[1]))
    for column, left in enumerate(columns):
        for row, top in enumerate(rows):
            tile = image.crop((left, top, left + tile_size[0], top + tile_size[1]))
            sample.paste(tile, (column * tile_size[0], row * tile_size[1]))
    return sample


def _tile_starts(side: int) -> list[int]:
    count = max(1, min(TILES, side // TILE_PIXELS))
    room = max(0, side - TILE_PIXELS)
    return [room * number // max(1, count - 1) // _GRID_PIXELS * _GRID_PIXELS for number in range(count)]


def _brightness(image: Image.Image) -> Plane:
    return np.asarray(image.convert("L"), np.float32)


def ssim(one: Plane, other: Plane) -> float:
    """Return the mean SSIM (Wang et al. 2004) of the windows of ``one`` that are not even; 1 is equal."""
    if min(one.shape) < 2 * _STEP_PIXELS:
        one, other = (np.pad(plane, (0, 2 * _STEP_PIXELS), mode="edge") for plane in (one, other))
    mean, other_mean = _means(one), _means(other)
    variance = _means(one * one) - mean * mean
    other_variance = _means(other * other) - other_mean * other_mean
    covariance = _means(one * other) - mean * other_mean
    brightness = (2 * mean * other_mean + _C1) / (mean * mean + other_mean * other_mean + _C1)
    structure = (2 * covariance + _C2) / (variance + other_variance + _C2)
    counted = (brightness * structure)[variance >= _EVEN_VARIANCE]
    return float(counted.mean()) if counted.size else 1.0


def _means(plane: Plane) -> Plane:
    """Return the means of all windows."""
    height, width = (side // _STEP_PIXELS * _STEP_PIXELS for side in plane.shape)
    # Pillow adds up the cells in a quarter of the time that numpy takes.
    cells = np.asarray(Image.fromarray(plane[:height, :width]).reduce(_STEP_PIXELS), np.float32)
    means: Plane = (cells[1:, 1:] + cells[:-1, 1:] + cells[1:, :-1] + cells[:-1, :-1]) / np.float32(4)
    return means
