"""Scale samples of more than eight bits to eight."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BATCH = 1 << 20
#: What may be white in a file that does not say so, and the share of samples that may be brighter than that.
_WHITES, _HIGHLIGHTS = (1.0, 255.0, 65_535.0), 0.01


def to_eight_bits(samples: NDArray[Any], *, is_full_range: bool) -> NDArray[np.uint8]:
    """Return the samples scaled so that white is 255.

    White is the largest value of the type if ``is_full_range``, and else the smallest usual one that hardly
    any sample exceeds. A sample that is no number is black.
    """
    white = float(np.iinfo(samples.dtype).max) if is_full_range else _white(samples)
    scaled = np.empty(samples.shape, np.uint8)
    rows = max(1, _BATCH // max(1, samples[:1].size))
    for start in range(0, len(samples), rows):
        batch = samples[start : start + rows].astype(np.float32) * np.float32(255 / white)
        np.nan_to_num(batch, copy=False, nan=0, posinf=255, neginf=0)
        scaled[start : start + rows] = np.clip(batch + 0.5, 0, 255)
    return scaled


def _white(samples: NDArray[Any]) -> float:
    is_float = samples.dtype.kind == "f"
    for white in _WHITES if is_float else _WHITES[1:]:
        if np.count_nonzero(samples > white) <= _HIGHLIGHTS * samples.size:
            return white
    if is_float:
        return float(np.max(samples, where=np.isfinite(samples), initial=0))
    brightest, limit = int(samples.max()), int(np.iinfo(samples.dtype).max)
    return limit if samples.dtype.kind == "u" and brightest > limit >> 8 else brightest
