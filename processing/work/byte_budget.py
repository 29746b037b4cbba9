"""A limit on the memory that fetched pictures take while they wait for the codec."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

#: Bytes of fetched pictures that may wait for the codec; more are fetched one after another.
MAX_BYTES_IN_HAND = 128_000_000


class ByteBudget:
    """Bytes that the pictures in hand may have in all. Beyond that, one picture at a time is read on.

    So many pictures can be fetched at once without their sum of sizes as memory, none waits for ever, and a
    host that announces much and sends little takes nothing from others. First come, first served.
    """

    def __init__(self, total: int) -> None:
        self._free = total
        self._is_overdrawn = False
        self.waiting: deque[tuple[Account, int, asyncio.Future[None]]] = deque()

    @contextmanager
    def account(self, *, pauses_limit: bool = True) -> Iterator["Account"]:
        """Yield an account of one picture. The block's end returns its bytes.

        While it waits for bytes, the time limit of its fetch does not come nearer if `pauses_limit`.
        """
        account = Account(self, pauses_limit=pauses_limit)
        try:
            yield account
        finally:
            self._free += account.taken
            if account.may_overdraw:
                self._is_overdrawn = False
            self._serve()

    def give(self, account: "Account", count: int) -> bool:
        """Give bytes that are free, or any to the one account that may overdraw. Return whether it did."""
        if count > self._free and not account.may_overdraw:
            if self._is_overdrawn:
                return False
            self._is_overdrawn = account.may_overdraw = True
        self._free -= count
        account.taken += count
        return True

    def _serve(self) -> None:
        while self.waiting:
            account, count, served = self.waiting[0]
            if not served.done():  # that is, cancelled
                if not self.give(account, count):
                    return
                served.set_result(None)
            self.waiting.popleft()


class Account:
    """The bytes that one picture has taken out of a budget."""

    def __init__(self, budget: ByteBudget, *, pauses_limit: bool = True) -> None:
        self._budget = budget
        self._pauses_limit = pauses_limit
        self.taken = 0
        self.may_overdraw = False

    async def take(self, count: int, limit: asyncio.Timeout | None = None) -> None:
        """Take bytes, or wait for them."""
        if (self.may_overdraw or not self._budget.waiting) and self._budget.give(self, count):
            return
        limit = limit if self._pauses_limit else None
        loop = asyncio.get_running_loop()
        served = loop.create_future()
        self._budget.waiting.append((self, count, served))
        began_at, ends_at = loop.time(), limit.when() if limit else None
        if limit:
            limit.reschedule(None)
        await served
        if limit and ends_at is not None:
            limit.reschedule(ends_at + loop.time() - began_at)
