"""Codec time is divided between users, whatever the number and the cost of each one's pictures."""

import asyncio

import pytest

from processing.work.fair_gate import FairGate


class Clock:
    """A clock that moves as far as each turn says that it takes."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def order(first: str, *waiting: tuple[str, float]) -> str:
    """Return the owners in the order in which they are let into a gate with one place.

    All of them wait while `first` is inside, each for a turn of so many seconds.
    """
    clock = Clock()
    gate = FairGate(1, clock)
    order: list[str] = []

    async def take(owner: str, seconds: float) -> None:
        async with gate.turn(owner):
            order.append(owner)
            clock.now += seconds

    async def main() -> None:
        async with gate.turn(first):
            tasks = [asyncio.create_task(take(owner, seconds)) for owner, seconds in waiting]
            await asyncio.sleep(0)  # until all of them wait
        await asyncio.wait_for(asyncio.gather(*tasks), 30)

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


def test_a_free_place_needs_no_waiting_and_as_many_are_inside_as_there_are_places() -> None:
    async def main() -> None:
        gate = FairGate(2)
        async with gate.turn("a"), gate.turn("a"):
            waiting = asyncio.create_task(gate._enter("b"))
            await asyncio.sleep(0)
            assert not waiting.done()
        await asyncio.wait_for(waiting, 30)

    asyncio.run(main())


def test_what_fails_gives_its_place_back() -> None:
    async def main() -> None:
        gate = FairGate(1)
        for _ in range(3):
            with pytest.raises(ValueError, match="broken"):
                async with gate.turn("a"):
                    raise ValueError("broken")
        assert not gate._used

    asyncio.run(main())


def test_a_task_that_is_cancelled_while_it_waits_or_as_it_is_let_in_takes_no_place() -> None:
    async def main() -> None:
        gate = FairGate(1)
        async with gate.turn("a"):
            waiting = [asyncio.create_task(gate._enter("b")) for _ in range(3)]
            await asyncio.sleep(0)
            waiting[0].cancel()
            await asyncio.sleep(0)
        waiting[1].cancel()  # let in, but not yet awake
        await asyncio.wait_for(waiting[2], 30)
        assert [task.cancelled() for task in waiting] == [True, True, False]

    asyncio.run(main())
