"""The asyncio event loop of this process, in a thread of its own. It owns all network connections."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from threading import Lock, Thread
from typing import Any, TypeVar

T = TypeVar("T")

_starting = Lock()
_loop: asyncio.AbstractEventLoop | None = None


def current() -> asyncio.AbstractEventLoop:
    """Return the loop, which starts at the first call."""
    global _loop  # noqa: PLW0603 (one per process)
    with _starting:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            Thread(target=_loop.run_forever, name="loop", daemon=True).start()
        return _loop


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the loop and return its result. Call it from any other thread.

    It has a copy of this thread's context variables, and is cancelled if this thread is interrupted.
    """
    future = asyncio.run_coroutine_threadsafe(coroutine, current())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def call(function: Callable[..., T], *args: Any) -> T:
    """Call a function in the loop and return its result. Call it from any other thread."""

    async def coroutine() -> T:
        return function(*args)

    return run(coroutine())


def _forget() -> None:
    """Start a new loop at the next call: a forked process does not have its parent's threads."""
    global _loop, _starting
    _loop, _starting = None, Lock()


os.register_at_fork(after_in_child=_forget)
