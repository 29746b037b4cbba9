"""A limit of time for everything that a thread does over the network."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import httpx

_ends_at: ContextVar[float | None] = ContextVar("ends_at", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Give everything that this thread does over guarded connections inside the block `seconds` in all.

    Then it raises `httpx.TimeoutException`, however steadily bytes drip in. Only a name lookup cannot be
    interrupted: it ends by the resolver's own time limit, and counts.
    """
    token = _ends_at.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends_at.reset(token)


def time_left(timeout: float | None) -> float | None:
    """`timeout`, or what is left until the thread's deadline if that is less."""
    ends_at = _ends_at.get()
    if ends_at is None:
        return timeout
    left = ends_at - time.monotonic()
    if left <= 0:
        raise httpx.TimeoutException("the deadline has passed")
    return left if timeout is None else min(timeout, left)
