"""Fetched pictures have a budget of bytes, and each comes to its end, in the order in which they wait."""

import asyncio

from processing.work.byte_budget import ByteBudget


def test_beyond_the_budget_one_picture_at_a_time_is_read_on() -> None:
    async def main() -> None:
        budget = ByteBudget(100)
        order: list[str] = []

        async def read(name: str, go_on: asyncio.Event) -> None:
            with budget.account() as account:
                await account.take(50)
                order.append(f"{name} begun")
                await go_on.wait()
                await account.take(500)
                order.append(f"{name} read")

        events = {name: asyncio.Event() for name in "ab"}
        tasks = [asyncio.create_task(read(name, event)) for name, event in events.items()]
        await asyncio.sleep(0)
        for event in events.values():
            event.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 30)
        assert order == ["a begun", "b begun", "a read", "b read"]
        assert budget._free == 100

    asyncio.run(main())


def test_what_is_cancelled_gives_its_bytes_back() -> None:
    async def main() -> None:
        budget = ByteBudget(100)
        begun = asyncio.Event()

        async def read() -> None:
            with budget.account() as account:
                await account.take(400)
                begun.set()
                await asyncio.sleep(60)

        first, second = asyncio.create_task(read()), asyncio.create_task(read())
        await begun.wait()
        begun.clear()
        first.cancel()
        await asyncio.wait_for(begun.wait(), 30)
        second.cancel()
        await asyncio.wait([first, second])
        assert budget._free == 100

    asyncio.run(main())


def test_bytes_are_given_to_those_who_wait_first() -> None:
    async def main() -> None:
        budget = ByteBudget(100)
        order: list[str] = []

        async def read(name: str, count: int) -> None:
            with budget.account() as account:
                await account.take(count)
                order.append(name)

        with budget.account() as first, budget.account() as overdrawing:
            await first.take(90)
            await overdrawing.take(100)
            tasks = [
                asyncio.create_task(read(name, count)) for name, count in {"large": 80, "small": 1}.items()
            ]
            await asyncio.sleep(0)
            late = asyncio.create_task(read("late", 1))
            await asyncio.sleep(0)
            assert order == []
        await asyncio.wait_for(asyncio.gather(*tasks, late), 30)
        assert order == ["large", "small", "late"]
        assert budget._free == 100

    asyncio.run(main())


def test_who_is_cancelled_while_waiting_takes_nothing() -> None:
    async def main() -> None:
        budget = ByteBudget(100)

        async def read() -> None:
            with budget.account() as account:
                await account.take(80)

        with budget.account() as first, budget.account() as overdrawing:
            await first.take(90)
            await overdrawing.take(100)
            cancelled, waiting = asyncio.create_task(read()), asyncio.create_task(read())
            await asyncio.sleep(0)
            cancelled.cancel()
        await asyncio.wait_for(waiting, 30)
        assert cancelled.cancelled()
        assert budget._free == 100

    asyncio.run(main())


def test_the_deadline_does_not_come_nearer_while_bytes_are_waited_for() -> None:
    async def main() -> None:
        budget, loop = ByteBudget(100), asyncio.get_running_loop()

        async def read() -> None:
            async with asyncio.timeout(1000) as deadline:
                before = deadline.when()
                with budget.account() as account:
                    await account.take(80, deadline)
                    after = deadline.when()
            assert before is not None
            assert after is not None
            assert after - before >= 0.05

        with budget.account() as first, budget.account() as overdrawing:
            await first.take(90)
            await overdrawing.take(100)
            waiting = asyncio.create_task(read())
            while not budget.waiting:
                await asyncio.sleep(0)
            until = loop.time() + 0.06
            while loop.time() < until:
                await asyncio.sleep(0.01)
        await asyncio.wait_for(waiting, 30)

    asyncio.run(main())
