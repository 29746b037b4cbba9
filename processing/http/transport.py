"""An httpx transport whose connections pass the guard, with a connection pool.

httpx's own pool searches all its requests and connections for each request and copies bodies several times,
which costs as much as compressing a small picture.
"""

import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from http.cookiejar import CookieJar, DefaultCookiePolicy
from threading import BoundedSemaphore, Lock

import httpx

from processing.http.connection import Connection
from processing.http.deadline import time_left
from processing.http.guard import IPNetwork, check_url, connect, start_tls

#: Less than the 5 s after which many servers close an idle connection.
KEEPALIVE_SECONDS = 4.0

Origin = tuple[str, str, int]  # scheme, host as it is resolved, port


def guarded_client(
    *, allowed_networks: Sequence[IPNetwork], user_agent: str, max_connections: int, timeout: float = 30.0
) -> httpx.Client:
    """Return a thread-safe client that connects to global addresses and `allowed_networks` only.

    It keeps connections alive. It follows no redirects, keeps no cookies, and ignores the environment
    (proxies, certificates, `.netrc`). `timeout` limits each step, in seconds; `deadline` limits the whole.
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
    """Return a transport that connects to global addresses and `allowed_networks` only."""
    return GuardedTransport(
        allowed_networks=allowed_networks,
        max_connections=max_connections,
        ssl_context=httpx.create_ssl_context(trust_env=False),
    )


class GuardedTransport(httpx.BaseTransport):
    """HTTP/1.1 with a pool of connections to global addresses and `allowed_networks`. Thread-safe.

    At most `max_connections` are in use, and as many are kept idle for the next requests to their origins.
    """

    def __init__(
        self, *, allowed_networks: Sequence[IPNetwork], max_connections: int, ssl_context: ssl.SSLContext
    ) -> None:
        ssl_context.set_alpn_protocols(["http/1.1"])
        self._ssl_context = ssl_context
        self._networks = tuple(allowed_networks)
        self._max_idle = max_connections
        self._free = BoundedSemaphore(max_connections)
        self._lock = Lock()  # guards _idle
        self._idle: list[tuple[Origin, Connection, float]] = []  # and since when it is idle, oldest first

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
            idle, self._idle = self._idle, []
        for _, connection, _ in idle:
            connection.close()

    def _answer(self, request: httpx.Request, timeout: float | None) -> httpx.Response:
        url = request.url
        host, port = url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80)
        origin = url.scheme, host, port
        connection = self._reuse(origin)
        if connection is None:
            sock = connect(host, port, self._networks, timeout)
            is_tls = url.scheme == "https"
            connection = Connection(start_tls(sock, self._ssl_context, host, timeout) if is_tls else sock)
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

    def _reuse(self, origin: Origin) -> Connection | None:
        """Return the latest used idle connection to the origin that is still open, if there is one."""
        while True:
            with self._lock:
                self._close_old()
                latest_first = reversed(range(len(self._idle)))
                index = next((index for index in latest_first if self._idle[index][0] == origin), None)
                if index is None:
                    return None
                connection = self._idle.pop(index)[1]
            if not connection.has_input():
                return connection
            connection.close()

    def _give_back(self, origin: Origin, connection: Connection) -> None:
        self._free.release()
        if not connection.is_reusable:
            connection.close()
            return
        with self._lock:
            self._idle.append((origin, connection, time.monotonic()))
            self._close_old()

    def _close_old(self) -> None:
        """Close connections that have been idle for too long, or are too many. The caller holds the lock."""
        oldest = time.monotonic() - KEEPALIVE_SECONDS
        while self._idle and (self._idle[0][2] < oldest or len(self._idle) > self._max_idle):
            self._idle.pop(0)[1].close()


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
