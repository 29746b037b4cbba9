"""A gate for a limited number of threads at a time that divides the time inside between owners."""

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from threading import Event, Lock


class FairGate:
    """Lets at most `places` threads in at once. Of the owners that wait, the one with the least time is next.

    Time counts until nobody is inside. An owner who comes back has no credit for the time away. Thread-safe.
    """

    def __init__(self, places: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._places = self._free = places
        self._clock = clock
        self._lock = Lock()  # guards all that follows, and the number of free places
        self._waiting: dict[Hashable, deque[Event]] = {}
        # Seconds that each owner has had, counted from those of the owner let in last.
        self._used: dict[Hashable, float] = {}
        self._start = 0.0

    @contextmanager
    def slot(self, owner: Hashable) -> Iterator[None]:
        """Wait until this owner is next, and hold a slot until the block ends."""
        self._enter(owner)
        start = self._clock()
        try:
            yield
        finally:
            self._leave(owner, self._clock() - start)

    def _enter(self, owner: Hashable) -> None:
        with self._lock:
            self._used[owner] = max(self._used.get(owner, 0.0), self._start)
            if self._free:
                self._free -= 1
                return
            admitted = Event()
            self._waiting.setdefault(owner, deque()).append(admitted)
        admitted.wait()

    def _leave(self, owner: Hashable, seconds: float) -> None:
        with self._lock:
            self._used[owner] = self._used.get(owner, self._start) + seconds
            if not self._waiting:
                self._free += 1
                if self._free == self._places:
                    self._used.clear()
                    self._start = 0.0
                return
            following = min(self._waiting, key=lambda key: self._used[key])
            self._start = max(self._start, self._used[following])
            events = self._waiting.pop(following)
            events.popleft().set()
            if events:
                self._waiting[following] = events  # behind owners with the same time
