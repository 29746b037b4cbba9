"""Compress pictures: bytes and a recipe in, outputs out, without Django, files or network.

``compress()`` works in this process, ``compress_isolated()`` in a child process for pictures that may crash a
decoder or take long. ``compress_here()`` tells the two apart by the header. ``PixelBudget`` and
``configure_malloc()`` bound the memory of a process with many threads.
"""

from processing.compress.child_process import (
    NeedsChildError,
    TimeLimitError,
    compress_here,
    compress_isolated,
)
from processing.compress.compression import check_minimum, compress
from processing.compress.memory import BYTES_PER_PIXEL, PixelBudget, configure_malloc
from processing.compress.native import jpeg_codec
from processing.compress.types import Compressed, CompressError, Encoded, ImageInfo, OutputOptions, Recipe

__all__ = [
    "BYTES_PER_PIXEL",
    "CompressError",
    "Compressed",
    "Encoded",
    "ImageInfo",
    "NeedsChildError",
    "OutputOptions",
    "PixelBudget",
    "Recipe",
    "TimeLimitError",
    "check_minimum",
    "compress",
    "compress_here",
    "compress_isolated",
    "configure_malloc",
    "jpeg_codec",
]
