"""httpx over aiohttp, with connections that pass the guard.

httpx is the interface of the rest of the code. aiohttp reads and writes HTTP and keeps connections, which
costs a fifth of what httpx's own transport does.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import cast

import aiohttp
import httpx
from yarl import URL

from processing.http.connection import Connection
from processing.http.guard import Guard, IPNetwork, TLSError, check_url

#: Less than the 5 s after which many servers close an idle connection.
KEEPALIVE_SECONDS = 4.0
#: Limits to the head of a response.
MAX_HEADER_BYTES, MAX_HEADERS = 16 * 1024, 256

#: For OpenSSL's X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY and …_VERIFY_LEAF_SIGNATURE, which do not tell
#: a missing certificate from an unknown authority.
_INCOMPLETE_CHAIN = dict.fromkeys(
    (20, 21),
    "the server does not send the intermediate certificate that links its own to a known authority, or no "
    "known authority issued it",
)


class GuardedTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 with a pool of at most `max_connections` to global addresses and `allowed_networks`.

    It ignores the environment (proxies, certificates, `.netrc`), and has no time limits: use
    `asyncio.timeout`. All requests must be made in the same event loop.
    """

    def __init__(
        self,
        *,
        allowed_networks: Sequence[IPNetwork],
        max_connections: int,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._ssl_context = ssl_context or httpx.create_ssl_context(trust_env=False)
        self._ssl_context.set_alpn_protocols(["http/1.1"])
        # Python 3.13 began to refuse certificates that lack extensions which browsers do not look for.
        self._ssl_context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self._max_connections = max_connections
        self._guard = Guard(allowed_networks, max_connections)
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return a response whose body has not been read. Raises the errors of httpx and of the guard."""
        check_url(request.url)
        if isinstance(request.stream, httpx.ByteStream):
            body: bytes | AsyncIterator[bytes] | None = await request.aread() or None
        else:
            body = aiter(cast(httpx.AsyncByteStream, request.stream))
        self._session = self._session or self._open()
        with _httpx_errors():
            response = await self._session.request(
                request.method,
                _target(request.url),
                data=body,
                headers=[
                    (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw
                ],
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                allow_redirects=False,
            )
        return httpx.Response(
            response.status,
            headers=httpx.Headers(list(response.raw_headers), encoding="latin-1"),
            stream=_Body(response),
            extensions={"reason_phrase": (response.reason or "").encode("latin-1", "replace")},
        )

    async def aclose(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session:
            await session.close()
        await self._guard.close()

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._max_connections,
            keepalive_timeout=KEEPALIVE_SECONDS,
            ssl=self._ssl_context,
            resolver=self._guard,
            use_dns_cache=False,
            socket_factory=self._guard.make_socket,
        )
        connector._factory = partial(  # type: ignore[assignment]
            Connection, loop=asyncio.get_running_loop()
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            auto_decompress=False,
            trust_env=False,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
        )


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors():
            while piece := await self._response.content.readany():
                yield piece

    async def aclose(self) -> None:
        """Keep the connection for the next request, or close it if the body has not been read to its end."""
        self._response.release()


def _target(url: httpx.URL) -> URL:
    """Return a URL for aiohttp, with an IPv4 address in its usual form instead of 127.1 or 0x7f000001."""
    with suppress(OSError):
        host = socket.inet_ntoa(socket.inet_aton(url.host.rstrip(".")))
        if host != url.host:
            url = url.copy_with(host=host)
    # As it is: yarl would decode escapes that may be part of a signature.
    return URL(str(url), encoded=True)


@contextmanager
def _httpx_errors() -> Iterator[None]:
    """Raise errors of aiohttp as those of httpx and of the guard."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        cause = error.certificate_error
        reason = getattr(cause, "verify_message", str(cause))
        raise TLSError(_INCOMPLETE_CHAIN.get(getattr(cause, "verify_code", 0), reason)) from error
    except aiohttp.ClientConnectorSSLError as error:
        cause = error.os_error
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
            raise TLSError(cause.reason) from error
        raise httpx.ConnectError(str(error)) from error
    except aiohttp.ClientConnectorError as error:
        raise httpx.ConnectError(str(error)) from error
    except aiohttp.ClientOSError as error:
        raise httpx.ReadError(str(error)) from error
    except aiohttp.InvalidURL as error:
        raise httpx.UnsupportedProtocol(str(error)) from error
    except aiohttp.ClientError as error:
        raise httpx.RemoteProtocolError(str(error)) from error
