"""A gate for a limited number of tasks at a time that divides the time inside between owners."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager


class FairGate:
    """Lets at most `places` tasks of one loop in. Of the owners that wait, that with the least time is next.

    Time counts until nobody is inside. An owner who comes back has no credit for the time away.
    """

    def __init__(self, places: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._places = self._free = places
        self._clock = clock
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}
        # Seconds that each owner has had, counted from those of the owner let in last.
        self._used: dict[Hashable, float] = {}
        self._start = 0.0

    @asynccontextmanager
    async def turn(self, owner: Hashable) -> AsyncIterator[None]:
        """Wait for this owner's turn, and hold a place until the block ends."""
        await self._enter(owner)
        start = self._clock()
        try:
            yield
        finally:
            self._leave(owner, self._clock() - start)

    async def _enter(self, owner: Hashable) -> None:
        self._used[owner] = max(self._used.get(owner, 0.0), self._start)
        if self._free:
            self._free -= 1
            return
        admitted = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(admitted)
        try:
            await admitted
        except asyncio.CancelledError:
            if not admitted.cancelled():  # let in, and cancelled before it knew
                self._leave(owner, 0)
            raise

    def _leave(self, owner: Hashable, seconds: float) -> None:
        self._used[owner] = self._used.get(owner, self._start) + seconds
        while self._waiting:
            following = min(self._waiting, key=lambda key: self._used[key])
            waiting = self._waiting.pop(following)
            admitted = waiting.popleft()
            if waiting:
                self._waiting[following] = waiting  # behind owners with the same time
            if not admitted.done():  # that is, cancelled
                self._start = max(self._start, self._used[following])
                admitted.set_result(None)
                return
        self._free += 1
        if self._free == self._places:
            self._used.clear()
            self._start = 0.0
