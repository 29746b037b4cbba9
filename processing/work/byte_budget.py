"""A limit on the memory that fetched pictures take while they wait for the codec."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


class ByteBudget:
    """Bytes that the pictures in hand may have in all. Beyond that, one picture at a time is read on.

    So many pictures can be fetched at once without their sum of sizes as memory, none waits for ever, and a
    host that announces much and sends little takes nothing from others.
    """

    def __init__(self, total: int) -> None:
        self._free = total
        self._overdraft = asyncio.Lock()

    @asynccontextmanager
    async def account(self) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
        """Yield a function that takes bytes, and waits where there are none. The block's end returns them."""
        taken, may_overdraw = 0, False

        async def take(count: int) -> None:
            nonlocal taken, may_overdraw
            if self._free < count and not may_overdraw:
                may_overdraw = await self._overdraft.acquire()
            self._free -= count
            taken += count

        try:
            yield take
        finally:
            self._free += taken
            if may_overdraw:
                self._overdraft.release()
