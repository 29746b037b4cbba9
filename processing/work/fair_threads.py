"""Threads that divide their time between owners."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable
from contextvars import Context, copy_context
from threading import Condition, Thread
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

#: How often the loop takes results over. If each woke it, the codec would wait for the interpreter meanwhile.
COLLECT_SECONDS = 0.002


class _Call(NamedTuple):
    owner: Hashable
    function: Callable[[], Any]
    context: Context
    result: asyncio.Future[Any]


class FairThreads:
    """Threads that call functions. Of the owners that wait, the one that has had the least time is next.

    Time counts until nobody waits or works. An owner who comes back has no credit for the time away. Use it
    in one event loop. Threads take the next function without waiting for the loop.
    """

    def __init__(self, count: int, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._unfinished = 0
        self._finished: deque[tuple[_Call, Any, BaseException | None]] = deque()
        self._changed = Condition()  # guards all that follows
        self._closed = False
        self._waiting: dict[Hashable, deque[_Call]] = {}
        self._busy = 0
        # Seconds that each owner has had, counted from those of the owner served last.
        self._used: dict[Hashable, float] = {}
        self._start = 0.0
        for number in range(count):
            Thread(target=self._work, name=f"{name}_{number}", daemon=True).start()

    async def run(self, owner: Hashable, function: Callable[[], T]) -> T:
        """Call a function when its owner is next, and return its result."""
        loop = asyncio.get_running_loop()
        call = _Call(owner, function, copy_context(), loop.create_future())
        with self._changed:
            self._used[owner] = max(self._used.get(owner, 0.0), self._start)
            self._waiting.setdefault(owner, deque()).append(call)
            self._changed.notify()
        self._unfinished += 1
        if self._unfinished == 1:
            loop.call_later(COLLECT_SECONDS, self._collect, loop)
        result: T = await call.result
        return result

    def close(self) -> None:
        """Begin nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _collect(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hand results to those who wait for them, in the event loop."""
        while self._finished:
            call, result, error = self._finished.popleft()
            self._unfinished -= 1
            if call.result.done():  # that is, cancelled
                continue
            if error:
                call.result.set_exception(error)
            else:
                call.result.set_result(result)
        if self._unfinished and not self._closed:
            loop.call_later(COLLECT_SECONDS, self._collect, loop)

    def _work(self) -> None:
        while call := self._next():
            start, result, error = self._clock(), None, None
            try:
                if not call.result.cancelled():
                    result = call.context.run(call.function)
            except BaseException as raised:  # of which the caller is told
                error = raised
            if isinstance(error, StopIteration):  # which a future does not take
                error = RuntimeError(repr(error))
            self._finished.append((call, result, error))
            with self._changed:
                self._used[call.owner] = self._used.get(call.owner, self._start) + self._clock() - start
                self._busy -= 1
            del call, result, error  # which may hold a picture while this thread waits

    def _next(self) -> _Call | None:
        with self._changed:
            if not self._busy and not self._waiting:
                self._used.clear()
                self._start = 0.0
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            owner = min(self._waiting, key=lambda owner: self._used[owner])
            self._start = max(self._start, self._used[owner])
            calls = self._waiting.pop(owner)
            call = calls.popleft()
            if calls:
                self._waiting[owner] = calls  # behind owners with the same time
            self._busy += 1
            return call
