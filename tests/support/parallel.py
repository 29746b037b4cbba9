"""For tests of what happens at the same time: calls in threads, and waiting for what threads do."""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread
from typing import Self, TypeVar

from django.db import connection

T = TypeVar("T")
#: No measure of speed: what counts as never.
PATIENCE_SECONDS = 100


def wait_for_threads(*names: str, but: Collection[Thread] = ()) -> None:
    """Wait until no thread is alive with one of these texts in its name, leaving out those of `but`."""
    wait_until(
        lambda: not any(name in thread.name for thread in {*threading.enumerate()} - {*but} for name in names)
    )


class Threads:
    """So many threads, which keep their connections until they are closed."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._barrier = Barrier(count)
        self._executor = ThreadPoolExecutor(count)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.together([_hang_up] * self._count)
        self._executor.shutdown()

    def together(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Make the calls at one moment, each in a thread of its own, and return their results."""
        return list(self._executor.map(self._run, calls))

    def _run(self, call: Callable[[], T]) -> T:
        self._barrier.wait(PATIENCE_SECONDS)  # so no thread can take two of the calls
        return call()


def _hang_up() -> None:
    connection.close()  # of this thread


def together(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make the calls at one moment, each in a thread with a connection of its own. Return their results."""
    with Threads(len(calls)) as threads:
        return threads.together(calls)


def wait_until(condition: Callable[[], object]) -> None:
    """Return as soon as `condition` holds; fail if it never does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "what was waited for has not come"
        time.sleep(0.01)
