"""Fetched pictures have a budget of bytes, and the last one always comes to its end."""

import asyncio

from processing.work.byte_budget import ByteBudget


def test_beyond_the_budget_one_picture_at_a_time_is_read_on() -> None:
    async def main() -> None:
        budget = ByteBudget(100)
        order: list[str] = []

        async def read(name: str, go_on: asyncio.Event) -> None:
            async with budget.account() as take:
                await take(50)
                order.append(f"{name} begun")
                await go_on.wait()
                await take(500)
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
            async with budget.account() as take:
                await take(400)
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
