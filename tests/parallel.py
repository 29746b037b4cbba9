"""For tests of what happens at the same time: calls in threads, and waiting for what threads do."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

from django.db import connection

T = TypeVar("T")
PATIENCE_SECONDS = 30


def together(calls: Sequence[Callable[[], T]]) -> list[T]:
    """What the calls return, made at one moment in a thread and over a connection each."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        barrier.wait(PATIENCE_SECONDS)
        try:
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


def wait_until(condition: Callable[[], object]) -> None:
    """Return as soon as `condition` holds; fail if it never does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "what was waited for has not come"
        time.sleep(0.01)
