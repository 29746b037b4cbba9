"""The line that an origin is behind: so many Mbit/s for all connections together, and the time it takes.

It stands before nginx as a process of its own: nginx can limit connections one by one only, and grants each
its first second in advance. What goes to the origin is delayed, but takes nothing of the line; nor do the
heads of packets.
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from scripts.bench.origin import apart
from tests.support.stack import free_port

#: Bytes that take their turn at a time.
PIECE = 16 * 1024
#: Seconds for which bytes are taken in ahead, as a router does: the line is full though a turn may come late.
QUEUE = 0.05
#: Seconds on the way, either way, as to a server in a neighbouring country.
DELAY = 0.01


@contextmanager
def line(origin: str, megabits: float) -> Iterator[str]:
    """Leads to `origin` by a line of so many Mbit/s; gives the URL at its near end."""
    port = free_port()
    with apart(__name__, port, urlsplit(origin).port, megabits):
        yield f"http://127.0.0.1:{port}"


class Way:
    """One direction of the line: so many bytes per second, one piece after another."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free_at = 0.0

    def book(self, count: int) -> float:
        """When so many bytes will be through, if they queue up now; the loop's time."""
        self._free_at = max(self._free_at, asyncio.get_running_loop().time()) + count / self._rate
        return self._free_at


async def _serve(port: int, far: int, megabits: float) -> None:
    there, back = Way(float("inf")), Way(megabits * 1e6 / 8)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection("127.0.0.1", far, limit=PIECE)
        await asyncio.gather(_pass_on(reader, requests, there), _pass_on(answers, writer, back))

    async with await asyncio.start_server(connect, "127.0.0.1", port, limit=PIECE) as server:
        print("ready", flush=True)
        await server.serve_forever()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
    """Pass on what comes, and its end. Nothing is read while the queue is full or nobody takes it."""
    loop = asyncio.get_running_loop()
    with suppress(ConnectionError):  # one side has hung up, which is an end like any other
        while piece := await reader.read(PIECE):
            through_at = way.book(len(piece))
            loop.call_at(through_at + DELAY, writer.write, piece)
            await asyncio.sleep(through_at - QUEUE - loop.time())
            await writer.drain()
    loop.call_at(way.book(1) + DELAY, writer.close)  # not at once with the last piece


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
