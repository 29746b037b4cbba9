"""HTTP connections whose addresses are checked where they are made.

Checking a URL before its request can be outwitted: by a redirect, or by a name that resolves to something
else the second time. So this transport resolves names itself and connects to the very address it has judged.
"""

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore
import httpx

from processing.addresses import IPAddress, IPNetwork, check_url, is_permitted

KEEPALIVE_SECONDS = 5.0
WRITE_BYTES = 16 * 1024

_ends_at: ContextVar[float | None] = ContextVar("ends_at", default=None)


class BlockedAddress(httpx.ConnectError):
    """The host has no address but such as must not be connected to."""


class UnresolvedName(httpx.ConnectError):
    """The host's name could not be looked up; it may work later."""


class UnknownName(UnresolvedName):
    """The host's name does not exist."""


class TLSError(httpx.ConnectError):
    """The host's certificate or its TLS is not acceptable; the message says why."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Give everything that this thread does over guarded connections inside the block `seconds` in all.

    Then it raises `httpx.TimeoutException`, however steadily bytes drip in. Only a name lookup cannot be
    interrupted: it ends by the resolver's own time limit, and counts.
    """
    token = _ends_at.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends_at.reset(token)


def guarded_client(
    *, allowed_networks: Sequence[IPNetwork], user_agent: str, max_connections: int, timeout: float = 30.0
) -> httpx.Client:
    """A client, for any number of threads, that connects to global addresses and `allowed_networks` only.

    It keeps connections alive, and neither follows redirects nor keeps cookies nor heeds the environment
    (proxies, certificates, `.netrc`). `timeout` is in seconds and for each step; `deadline` limits the whole.
    """
    return httpx.Client(
        transport=GuardedTransport(
            allowed_networks=allowed_networks,
            max_connections=max_connections,
            ssl_context=httpx.create_ssl_context(trust_env=False),
        ),
        headers={"User-Agent": user_agent},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        timeout=timeout,
        trust_env=False,
        follow_redirects=False,
    )


class GuardedTransport(httpx.BaseTransport):
    """HTTP/1.1 over pooled connections that `GuardedBackend` makes."""

    def __init__(
        self, *, allowed_networks: Sequence[IPNetwork], max_connections: int, ssl_context: ssl.SSLContext
    ) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl_context,
            max_connections=max_connections,
            keepalive_expiry=KEEPALIVE_SECONDS,
            network_backend=GuardedBackend(allowed_networks),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        check_url(request.url)
        timeouts = request.extensions.get("timeout", {})
        timeouts = {**timeouts, "pool": _time_left(timeouts.get("pool"))}
        core_request = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions={**request.extensions, "timeout": timeouts},
        )
        with _httpx_errors():
            response = self._pool.handle_request(core_request)
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_ResponseStream(response),
            extensions=response.extensions,
        )

    def close(self) -> None:
        self._pool.close()


class GuardedBackend(httpcore.NetworkBackend):
    """Resolves names and connects, but only to addresses that are global or in one of `allowed_networks`."""

    def __init__(self, allowed_networks: Sequence[IPNetwork]) -> None:
        self._allowed_networks = tuple(allowed_networks)
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first permitted address of `host` that answers; they share the time equally.

        Raises `BlockedAddress`, `UnresolvedName`, `UnknownName`, or why the last address did not answer.
        """
        addresses = [found for found in _resolve(host, port) if is_permitted(found, self._allowed_networks)]
        left = _time_left(timeout)
        for number, address in enumerate(addresses, 1):
            share = left and left / len(addresses)
            try:
                stream = self._sockets.connect_tcp(str(address), port, share, local_address, socket_options)
                return _DeadlineStream(stream)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if number == len(addresses):
                    raise
        raise BlockedAddress(f"{host} has no public address")


def _resolve(host: str, port: int) -> list[IPAddress]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label is empty or longer than 63 bytes
        raise UnknownName(str(error)) from error
    except socket.gaierror as error:
        known = error.errno not in (socket.EAI_NONAME, socket.EAI_NODATA)
        raise (UnresolvedName if known else UnknownName)(str(error)) from error
    return [ipaddress.ip_address(address[0]) for *_, address in found]


class _DeadlineStream(httpcore.NetworkStream):
    """A network stream on which no operation outlasts the thread's `deadline`."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _time_left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # In pieces: the stream below grants the timeout anew whenever the other side takes a few bytes.
        for start in range(0, len(buffer), WRITE_BYTES):
            self._stream.write(buffer[start : start + WRITE_BYTES], _time_left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            return _DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, _time_left(timeout)))
        except httpcore.ConnectError as error:
            cause = error.__cause__
            if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
                raise TLSError(getattr(cause, "verify_message", cause.reason)) from error
            raise
        except httpx.TimeoutException:
            self.close()
            raise

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


def _time_left(timeout: float | None) -> float | None:
    """`timeout`, or what is left until the thread's deadline if that is less."""
    ends_at = _ends_at.get()
    if ends_at is None:
        return timeout
    left = ends_at - time.monotonic()
    if left <= 0:
        raise httpx.TimeoutException("the deadline has passed")
    return left if timeout is None else min(timeout, left)


class _ResponseStream(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        with _httpx_errors():
            yield from self._response.iter_stream()

    def close(self) -> None:
        if self._has_surplus():
            self._response.extensions["network_stream"].close()
        self._response.close()

    def _has_surplus(self) -> bool:
        """Whether more has arrived than the answer: httpcore would take it for the connection's next one."""
        body: Any = self._response.stream
        return bool(body._stream._connection._h11_state.trailing_data[0])  # told nowhere in public


_HTTPX_ERRORS: dict[type[Exception], type[httpx.TransportError]] = {
    httpcore.ConnectTimeout: httpx.ConnectTimeout,
    httpcore.ReadTimeout: httpx.ReadTimeout,
    httpcore.WriteTimeout: httpx.WriteTimeout,
    httpcore.PoolTimeout: httpx.PoolTimeout,
    httpcore.ConnectError: httpx.ConnectError,
    httpcore.ReadError: httpx.ReadError,
    httpcore.WriteError: httpx.WriteError,
    httpcore.LocalProtocolError: httpx.LocalProtocolError,
    httpcore.RemoteProtocolError: httpx.RemoteProtocolError,
    httpcore.UnsupportedProtocol: httpx.UnsupportedProtocol,
}


@contextmanager
def _httpx_errors() -> Iterator[None]:
    try:
        yield
    except tuple(_HTTPX_ERRORS) as error:
        raise _HTTPX_ERRORS[type(error)](str(error)) from error
