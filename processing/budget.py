"""What bounds the memory that a process takes for pictures, whatever arrives together."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock

# Of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def share_freed_memory() -> None:
    """Let all threads take memory from one pool, where the C library is glibc; called before they start.

    Else each keeps what the largest of its pictures took. The pool keeps up to 64 MB for the next picture,
    which saves the kernel's work for new pages; what takes over 32 MB at once is returned at once.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 64 << 20)


class PixelBudget:
    """So many pixels for all threads, handed out in the order in which they are asked for.

    What is over the whole budget gets all of it.
    """

    def __init__(self, pixels: int) -> None:
        self._all = self._free = pixels
        self._returned = Condition()  # guards _free
        self._turn = Lock()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait until so many are free, and keep them from others until the end of the block."""
        pixels = min(pixels, self._all)
        with self._turn, self._returned:  # one waits at a time, so small pictures cannot starve a large one
            self._returned.wait_for(lambda: self._free >= pixels)
            self._free -= pixels
        try:
            yield
        finally:
            with self._returned:
                self._free += pixels
                self._returned.notify()
