"""httpx over connections of our own, whose addresses are checked where they are made.

httpx's own pool looks through all of its requests and connections for each of them, and copies what arrives
several times; that costs as much as a small picture takes to compress.
"""

import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from http.cookiejar import CookieJar, DefaultCookiePolicy
from threading import BoundedSemaphore, Lock

import httpx

from processing.http.addresses import IPNetwork, check_url
from processing.http.connecting import connect, secured
from processing.http.connection import Connection
from processing.http.deadline import time_left

#: Below the 5 s after which many servers hang up, which may cross the next request on its way.
KEEPALIVE_SECONDS = 4.0

Origin = tuple[str, str, int]


def guarded_client(
    *, allowed_networks: Sequence[IPNetwork], user_agent: str, max_connections: int, timeout: float = 30.0
) -> httpx.Client:
    """A client, for any number of threads, that connects to global addresses and `allowed_networks` only.

    It keeps connections alive, and neither follows redirects nor keeps cookies nor heeds the environment
    (proxies, certificates, `.netrc`). `timeout` is in seconds and for each step; `deadline` limits the whole.
    """
    return httpx.Client(
        transport=guarded_transport(allowed_networks=allowed_networks, max_connections=max_connections),
        headers={"User-Agent": user_agent},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        timeout=timeout,
        trust_env=False,
        follow_redirects=False,
    )


def guarded_transport(*, allowed_networks: Sequence[IPNetwork], max_connections: int) -> "GuardedTransport":
    """What a guarded client sends its requests by; certificates are checked as everywhere."""
    return GuardedTransport(
        allowed_networks=allowed_networks,
        max_connections=max_connections,
        ssl_context=httpx.create_ssl_context(trust_env=False),
    )


class GuardedTransport(httpx.BaseTransport):
    """HTTP/1.1 over kept connections to global addresses and `allowed_networks`, for any number of threads.

    At most `max_connections` are in use, and as many kept for whoever asks the same origin next.
    """

    def __init__(
        self, *, allowed_networks: Sequence[IPNetwork], max_connections: int, ssl_context: ssl.SSLContext
    ) -> None:
        ssl_context.set_alpn_protocols(["http/1.1"])
        self._ssl_context = ssl_context
        self._networks = tuple(allowed_networks)
        self._most = max_connections
        self._free = BoundedSemaphore(max_connections)
        self._lock = Lock()  # guards _kept
        self._kept: list[tuple[Origin, Connection, float]] = []  # with when it was put there, in that order

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        check_url(request.url)
        timeouts = request.extensions.get("timeout", {})
        if not self._free.acquire(timeout=time_left(timeouts.get("pool"))):
            raise httpx.PoolTimeout("All connections are in use.")
        try:
            return self._answer(request, timeouts.get("connect"))
        except BaseException:
            self._free.release()
            raise

    def close(self) -> None:
        with self._lock:
            kept, self._kept = self._kept, []
        for _, connection, _ in kept:
            connection.close()

    def _answer(self, request: httpx.Request, timeout: float | None) -> httpx.Response:
        origin = _origin(request.url)
        connection = self._take(origin) or self._connected(origin, timeout)
        try:
            head, body = connection.ask(request)
        except BaseException:
            connection.close()
            raise
        return httpx.Response(
            head.status_code,
            headers=head.headers.raw_items(),
            stream=_Body(body, lambda: self._give_back(origin, connection)),
            extensions={"reason_phrase": head.reason, "http_version": b"HTTP/" + head.http_version},
        )

    def _connected(self, origin: Origin, timeout: float | None) -> Connection:
        scheme, host, port = origin
        sock = connect(host, port, self._networks, timeout)
        return Connection(secured(sock, self._ssl_context, host, timeout) if scheme == "https" else sock)

    def _take(self, origin: Origin) -> Connection | None:
        """A kept connection to the origin that still stands."""
        while connection := self._newest(origin):
            if not connection.has_input():
                return connection
            connection.close()
        return None

    def _newest(self, origin: Origin) -> Connection | None:
        with self._lock:
            self._close_old()
            for index in reversed(range(len(self._kept))):
                if self._kept[index][0] == origin:
                    return self._kept.pop(index)[1]
        return None

    def _give_back(self, origin: Origin, connection: Connection) -> None:
        self._free.release()
        if not connection.is_reusable:
            connection.close()
            return
        with self._lock:
            self._kept.append((origin, connection, time.monotonic()))
            self._close_old()

    def _close_old(self) -> None:
        """Close those that have waited too long, or behind too many others. The caller holds the lock."""
        oldest = time.monotonic() - KEEPALIVE_SECONDS
        while self._kept and (self._kept[0][2] < oldest or len(self._kept) > self._most):
            self._kept.pop(0)[1].close()


class _Body(httpx.SyncByteStream):
    def __init__(self, parts: Iterator[bytes], release: Callable[[], None]) -> None:
        self._parts = parts
        self._release: Callable[[], None] | None = release

    def __iter__(self) -> Iterator[bytes]:
        return self._parts

    def close(self) -> None:
        release, self._release = self._release, None
        if release:
            release()


def _origin(url: httpx.URL) -> Origin:
    """Scheme, host as it is looked up, port."""
    port = url.port or (443 if url.scheme == "https" else 80)
    return url.scheme, url.raw_host.decode("ascii"), port
