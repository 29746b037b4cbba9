"""A limit on the memory that fetched pictures take while they wait for the codec."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class ByteBudget:
    """Bytes that the pictures in hand may have in all. Beyond that, one picture at a time is read on.

    So many pictures can be fetched at once without their sum of sizes as memory, none waits for ever, and a
    host that announces much and sends little takes nothing from others. First come, first served.
    """

    def __init__(self, total: int) -> None:
        self._free = total
        self._is_overdrawn = False
        self._waiting: deque[tuple[Account, int, asyncio.Future[None]]] = deque()

    @contextmanager
    def account(self) -> Iterator["Account"]:
        """Yield an account of one picture. The block's end returns its bytes."""
        account = Account(self)
        try:
            yield account
        finally:
            self._free += account.taken
            if account.may_overdraw:
                self._is_overdrawn = False
            self._serve()

    def try_take(self, account: "Account", count: int) -> bool:
        """Take bytes if they are free and nobody waits for them, or if the account may overdraw."""
        if not account.may_overdraw and (self._waiting or count > self._free):
            return False
        self._free -= count
        account.taken += count
        return True

    async def wait(self, account: "Account", count: int) -> None:
        """Wait for bytes and take them."""
        served = asyncio.get_running_loop().create_future()
        self._waiting.append((account, count, served))
        self._serve()
        await served

    def _serve(self) -> None:
        while self._waiting:
            account, count, served = self._waiting[0]
            if not served.done():  # that is, cancelled
                if count > self._free:
                    if self._is_overdrawn:
                        return
                    self._is_overdrawn = account.may_overdraw = True
                self._free -= count
                account.taken += count
                served.set_result(None)
            self._waiting.popleft()


class Account:
    """The bytes that one picture has taken out of a budget."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.taken = 0
        self.may_overdraw = False

    async def take(self, count: int, deadline: asyncio.Timeout | None = None) -> None:
        """Take bytes, or wait for them. Meanwhile the deadline does not come nearer."""
        if self._budget.try_take(self, count):
            return
        when = deadline.when() if deadline else None
        if deadline is None or when is None:
            await self._budget.wait(self, count)
            return
        loop = asyncio.get_running_loop()
        left = when - loop.time()
        deadline.reschedule(None)
        await self._budget.wait(self, count)
        deadline.reschedule(loop.time() + left)
