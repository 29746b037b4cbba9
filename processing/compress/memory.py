"""Limits on the memory that a process takes for pictures."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock

#: Memory that ``compress()`` needs at most for each pixel of the source. The most that was measured is 56,
#: for WebP with transparency to WebP.
BYTES_PER_PIXEL = 64

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def configure_malloc() -> None:
    """Make glibc's malloc use one arena for all threads. Call it before any thread starts.

    With an arena each, every thread keeps the memory of its largest picture. The one arena keeps up to 64 MB
    of free memory for the next picture, which saves page faults; blocks of more than 32 MB go back to the
    system as soon as they are freed. With other C libraries this does nothing.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 64 << 20)


class PixelBudget:
    """A number of pixels that threads share, first come, first served.

    A request for more than the whole budget gets the whole budget.
    """

    def __init__(self, pixels: int) -> None:
        self._total = self._free = pixels
        self._returned = Condition()  # guards _free
        self._turn = Lock()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait until this number of pixels is free, and hold them until the block ends."""
        pixels = min(pixels, self._total)
        with (
            self._turn,
            self._returned,
        ):  # only one thread waits here, so small pictures cannot starve a large one
            self._returned.wait_for(lambda: self._free >= pixels)
            self._free -= pixels
        try:
            yield
        finally:
            with self._returned:
                self._free += pixels
                self._returned.notify()
