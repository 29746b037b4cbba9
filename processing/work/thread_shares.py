"""Shares of a worker's threads: one owner's Requests never occupy all of them."""

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from threading import Lock


class ThreadShares:
    """Counts the threads that each owner's lanes and ingests occupy, out of `threads`. Thread-safe.

    The last idle thread is kept for an owner who occupies none. Without that, another owner's Request would
    wait for a slice of each of somebody's many Requests.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._lock = Lock()
        self._occupied: Counter[Hashable] = Counter()

    @contextmanager
    def thread_for(self, owner: Hashable) -> Iterator[bool]:
        """Yield whether this thread may work for `owner`, and count it until the block ends."""
        with self._lock:
            others_remain = self._occupied.total() + 1 < self._threads
            may_work = others_remain or not self._occupied[owner]
            self._occupied[owner] += may_work
        try:
            yield may_work
        finally:
            with self._lock:
                self._occupied[owner] -= may_work
                if not self._occupied[owner]:
                    del self._occupied[owner]
