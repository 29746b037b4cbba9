"""The asynchronous client of the service, for tests that are not asynchronous."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from ipaddress import ip_network
from typing import Any

import httpx

from processing import loop
from processing.http.transport import GuardedTransport
from processing.work import fetch as fetching
from processing.work.fetch import Fetched


@contextmanager
def transport(*networks: str, max_connections: int = 4) -> Iterator[httpx.AsyncBaseTransport]:
    """A transport of the service that may connect to these networks."""
    allowed = [ip_network(network) for network in networks]
    guarded = GuardedTransport(allowed_networks=allowed, max_connections=max_connections)
    yield guarded
    loop.run(guarded.aclose())


@contextmanager
def client(*networks: str, max_connections: int = 4) -> Iterator["Client"]:
    """A client over such a transport."""
    with transport(*networks, max_connections=max_connections) as guarded:
        yield Client(guarded)


def fetch(transport: httpx.AsyncBaseTransport, url: str, **options: Any) -> Fetched:
    """Fetch a picture in the loop of this process."""
    return loop.run(fetching.fetch(transport, url, **options))


class Client:
    """Makes one request at a time in each thread. `within` are the seconds that it may take in all."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    def get(self, url: str, within: float = 30) -> httpx.Response:
        return self._send(httpx.Request("GET", url, headers={"User-Agent": "tests/1"}), within)

    def post(self, url: str, content: bytes = b"", within: float = 30) -> httpx.Response:
        return self._send(httpx.Request("POST", url, content=content), within)

    def _send(self, request: httpx.Request, within: float) -> httpx.Response:
        async def send() -> httpx.Response:
            async with asyncio.timeout(within):
                response = await self._transport.handle_async_request(request)
                async with aclosing(response):
                    await response.aread()
                return response

        return loop.run(send())
