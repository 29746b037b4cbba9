"""A deadline for all network I/O of a thread over guarded connections."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import httpx

_ends_at: ContextVar[float | None] = ContextVar("ends_at", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Limit the network I/O of this thread inside the block to `seconds` in all.

    After that it raises `httpx.TimeoutException`, even while bytes keep arriving. Only a name lookup cannot
    be interrupted: it ends by the resolver's own timeout.
    """
    token = _ends_at.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends_at.reset(token)


def time_left(timeout: float | None) -> float | None:
    """Return `timeout`, or the seconds until the thread's deadline if they are fewer."""
    ends_at = _ends_at.get()
    if ends_at is None:
        return timeout
    left = ends_at - time.monotonic()
    if left <= 0:
        raise httpx.TimeoutException("the deadline has passed")
    return left if timeout is None else min(timeout, left)
