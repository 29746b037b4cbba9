"""Codec time is divided between users, whatever the number and the cost of each one's pictures."""

import asyncio
from collections.abc import Callable
from threading import Event

import pytest

from processing.work.fair_threads import FairThreads


class Clock:
    """A clock that moves as far as each turn says that it takes."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def order(first: str, *waiting: tuple[str, float]) -> str:
    """Return the owners in the order in which one thread serves them.

    All of them wait while the thread works for `first`, each for a turn of so many seconds.
    """
    clock = Clock()
    order: list[str] = []
    is_working, go_on = Event(), Event()

    def begin() -> None:
        is_working.set()
        go_on.wait()

    def work(owner: str, seconds: float) -> Callable[[], None]:
        def call() -> None:
            order.append(owner)
            clock.now += seconds

        return call

    async def main() -> None:
        threads = FairThreads(1, "test", clock)
        tasks = [asyncio.create_task(threads.run(first, begin))]
        await asyncio.to_thread(is_working.wait, 30)
        tasks += [asyncio.create_task(threads.run(owner, work(owner, seconds))) for owner, seconds in waiting]
        await asyncio.sleep(0)  # until all of them wait
        go_on.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 30)
        threads.close()

    asyncio.run(main())
    return "".join(order)


def test_owners_take_turns() -> None:
    assert order("a", *[(owner, 1) for owner in "aaaabb"]) == "ababaa"


def test_three_long_pictures_of_one_user_delay_nineteen_of_another_by_one() -> None:
    waiting = [("b", 100.0)] * 3 + [("o", 1.0)] * 19
    assert order("b", *waiting)[:20] == "b" + "o" * 19


def test_time_away_gives_no_credit() -> None:
    waiting = [("a", 10.0)] * 4 + [("b", 10.0)] * 4
    assert order("a", *waiting) == "abababab"


def test_an_error_is_raised_where_the_result_is_waited_for_and_the_thread_goes_on() -> None:
    def fail() -> None:
        raise ValueError("broken")

    async def main() -> None:
        threads = FairThreads(1, "test")
        for _ in range(3):
            with pytest.raises(ValueError, match="broken"):
                await asyncio.wait_for(threads.run("a", fail), 30)
        assert await asyncio.wait_for(threads.run("a", lambda: 1), 30) == 1
        threads.close()

    asyncio.run(main())


def test_an_error_that_a_future_does_not_take_stops_nobody() -> None:
    async def main() -> None:
        threads = FairThreads(1, "test")
        with pytest.raises(RuntimeError, match="StopIteration"):
            await asyncio.wait_for(threads.run("a", lambda: next(iter(()))), 30)
        assert await asyncio.wait_for(threads.run("a", lambda: 1), 30) == 1
        threads.close()

    asyncio.run(main())


def test_what_is_cancelled_while_it_waits_is_not_begun() -> None:
    begun: list[str] = []

    async def main() -> None:
        threads, go_on = FairThreads(1, "test"), Event()
        first = asyncio.create_task(threads.run("a", go_on.wait))
        cancelled = asyncio.create_task(threads.run("a", lambda: begun.append("cancelled")))
        last = asyncio.create_task(threads.run("a", lambda: begun.append("last")))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        go_on.set()
        await asyncio.wait_for(asyncio.gather(first, last), 30)
        threads.close()

    asyncio.run(main())
    assert begun == ["last"]


def test_what_waits_when_the_threads_are_closed_is_not_begun() -> None:
    begun: list[str] = []

    async def main() -> None:
        threads, go_on, is_working = FairThreads(1, "test"), Event(), Event()

        def work() -> None:
            is_working.set()
            go_on.wait()

        tasks = [asyncio.create_task(threads.run("a", work))]
        await asyncio.to_thread(is_working.wait, 30)
        tasks.append(asyncio.create_task(threads.run("a", lambda: begun.append("late"))))
        await asyncio.sleep(0)
        threads.close()
        go_on.set()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    asyncio.run(main())
    assert begun == []
