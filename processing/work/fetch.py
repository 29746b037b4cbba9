"""Fetch one picture within limits of time and size, conditionally if an earlier version is known."""

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import cast

import httpx

from processing.http.errors import classify, retry_after
from processing.http.guard import InvalidAddress, check_url
from processing.work.byte_budget import Account

MAX_REDIRECTS = 5
#: Bodies of redirects and errors that are longer, or take longer, are not read to their end.
MAX_DRAIN_BYTES, DRAIN_SECONDS = 64 * 1024, 1.0
INFLATE_BYTES = 256 * 1024
#: Longer values of ETag and Last-Modified are not stored for every picture.
MAX_VALIDATOR_LENGTH = 200

_HEADERS = {"Accept": "image/*,*/*;q=0.8", "Accept-Encoding": "identity"}
_TRANSIENT_STATUSES = {408, 425, 429, *range(500, 600)}


class FetchError(Exception):
    """A picture could not be fetched.

    `code` is one of `invalid_url blocked_address dns connect timeout tls http_<status> too_many_redirects
    too_large not_an_image`, `detail` a sentence for users. `permanent`: a retry would fail again.
    `retry_after`: the seconds that the host asked to wait (429 and 503 only, at most a day).
    `elsewhere`: it happened on another host, to which the requested one had redirected.
    """

    elsewhere = False

    def __init__(self, code: str, detail: str, *, permanent: bool, retry_after: float | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.permanent = permanent
        self.retry_after = retry_after

    @property
    def asks_to_wait(self) -> bool:
        """True if the host asked for fewer requests: nothing is wrong with the picture."""
        return self.retry_after is not None or self.code == "http_429"


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a picture: the `url` that answered, after redirects, the SHA-256, and the validators.

    The validators `ETag` and `Last-Modified` are "" if there is none that can be sent in a condition.
    """

    url: str
    sha256: bytes
    etag: str = ""
    last_modified: str = ""

    @property
    def conditions(self) -> dict[str, str]:
        """Headers of a conditional request for another version (RFC 9110, 13.1)."""
        headers = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in headers.items() if value}


@dataclass(frozen=True, slots=True)
class Fetched:
    """A response. `data` is empty if the host answered 304: it still has the known version."""

    data: bytes
    version: Version


async def fetch(
    transport: httpx.AsyncBaseTransport,
    url: str,
    *,
    timeout: float,
    max_bytes: int,
    user_agent: str = "",
    known: Version | None = None,
    account: Account | None = None,
) -> Fetched:
    """Fetch `url` in at most `timeout` seconds, redirects included, and `max_bytes` bytes.

    The request is conditional if it goes to the URL that answered with `known`. The memory of
    the body is taken from `account`; time spent waiting for it does not count. Raises FetchError.
    """
    current = first = _parse(url)
    headers = {**_HEADERS, "User-Agent": user_agent} if user_agent else _HEADERS
    cookies: httpx.Cookies | None = None
    try:
        async with asyncio.timeout(timeout) as limit:
            for _ in range(MAX_REDIRECTS + 1):
                # A client would double the time spent here, on hooks and merged headers.
                asked = known if known and known.url == str(current) else None
                request = _request(current, headers | asked.conditions if asked else headers)
                if cookies:
                    cookies.set_cookie_header(request)
                async with _Answer(transport, request) as response:
                    if asked and asked.conditions and response.status_code == httpx.codes.NOT_MODIFIED:
                        await _drain(response)
                        return Fetched(b"", asked)
                    if not (response.is_redirect and response.has_redirect_location):
                        return await _read(response, str(current), max_bytes, account, limit)
                    await _drain(response)
                    cookies = cookies or httpx.Cookies()
                    cookies.extract_cookies(response)
                    current = _target(response, current)
    except (FetchError, TimeoutError) as error:
        failure = error if isinstance(error, FetchError) else _too_slow(current.host, timeout)
        failure.elsewhere = current.raw_host != first.raw_host
        raise failure from error.__cause__
    detail = f"The address was redirected more than {MAX_REDIRECTS} times."
    raise FetchError("too_many_redirects", detail, permanent=True)


def _parse(url: str) -> httpx.URL:
    url = url.strip()
    if url.startswith("//"):
        url = f"https:{url}"
    try:
        return httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise _invalid_url("The address is malformed.") from error


def _request(url: httpx.URL, headers: Mapping[str, str]) -> httpx.Request:
    try:
        check_url(url)  # for transports that are not guarded
    except InvalidAddress as error:
        raise _invalid_url(str(error)) from error
    return httpx.Request("GET", url, headers=headers)


class _Answer:
    """A response, from its head until the end of the block, with errors of httpx raised as FetchError."""

    def __init__(self, transport: httpx.AsyncBaseTransport, request: httpx.Request) -> None:
        self._transport = transport
        self._request = request

    async def __aenter__(self) -> httpx.Response:
        try:
            self._response = await self._transport.handle_async_request(self._request)
        except httpx.HTTPError as error:
            raise _fetch_error(error, self._request.url.host) from error
        self._response.request = self._request
        return self._response

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await self._response.aclose()
        if isinstance(error, httpx.HTTPError):
            raise _fetch_error(error, self._request.url.host) from error


def _target(response: httpx.Response, url: httpx.URL) -> httpx.URL:
    """Return the target of a redirect from `url`."""
    # Decoded by itself: httpx takes all headers for Latin-1 if one of them is not UTF-8.
    location = next(value for name, value in response.headers.raw if name.lower() == b"location")
    try:
        return url.join(_decoded(location))
    except (httpx.InvalidURL, ValueError) as error:
        raise _invalid_url(f"{url.host} redirected to an invalid address.") from error


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _too_slow(host: str, seconds: float) -> FetchError:
    return FetchError("timeout", f"{host} took longer than {seconds:g} seconds.", permanent=False)


def _fetch_error(error: httpx.HTTPError, host: str) -> FetchError:
    code, permanent = classify(error)
    match code:
        case "blocked_address":
            detail = (
                f"{host} is in a private network. The operator of this service can allow it with "
                "FETCH_ALLOWED_NETWORKS."
            )
        case "dns" if permanent:
            detail = f"There is no host named {host}."
        case "dns":
            detail = f"The host name {host} could not be resolved."
        case "tls":
            detail = f"No secure connection to {host} is possible: {error}."
        case _ if isinstance(error, httpx.ConnectError):
            detail = f"{host} could not be reached."
        case _ if isinstance(error, httpx.RemoteProtocolError):
            detail = f"{host} sent an invalid or incomplete response."
        case _:
            detail = f"{host} closed the connection before the response was complete."
    return FetchError(code, detail, permanent=permanent)


async def _read(
    response: httpx.Response,
    url: str,
    max_bytes: int,
    account: Account | None,
    limit: asyncio.Timeout,
) -> Fetched:
    data = await _body(response, max_bytes, account, limit)
    etag, last_modified = (
        value if len(value) <= MAX_VALIDATOR_LENGTH and value.isascii() and value.isprintable() else ""
        for value in (response.headers.get("ETag", ""), response.headers.get("Last-Modified", ""))
    )
    return Fetched(data, Version(url, hashlib.sha256(data).digest(), etag, last_modified))


async def _body(
    response: httpx.Response, max_bytes: int, account: Account | None, limit: asyncio.Timeout
) -> bytes:
    host = response.request.url.host
    if not response.is_success:
        await _drain(response)
        raise _status_error(response, host)
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    gzipped = encoding in ("gzip", "x-gzip")
    if not gzipped and encoding not in ("", "identity"):
        raise _unreadable(host)
    length = response.headers.get("Content-Length", "0")
    if length.isdecimal() and float(length) > max_bytes:
        raise _too_large(host, max_bytes)
    pieces = _raw(response)
    if gzipped:
        pieces = _gunzipped(pieces, host, max_bytes)
    body = BytesIO()  # a list of pieces would hold the data twice when joined
    async for piece in pieces:
        if body.tell() + len(piece) > max_bytes:
            raise _too_large(host, max_bytes)
        if account:
            await account.take(len(piece), limit)
        body.write(piece)
    if not body.tell():
        raise FetchError("not_an_image", f"{host} sent an empty response.", permanent=True)
    return body.getvalue()


async def _gunzipped(pieces: AsyncIterator[bytes], host: str, max_bytes: int) -> AsyncIterator[bytes]:
    """Decompress gzip of at most `max_bytes`, in pieces of bounded size."""
    inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)  # 16: with gzip's header
    size = 0
    try:
        async for piece in pieces:
            size += len(piece)
            if size > max_bytes:
                raise _too_large(host, max_bytes)
            rest = piece
            while rest and not inflater.eof:
                yield inflater.decompress(rest, INFLATE_BYTES)
                rest = inflater.unconsumed_tail
                await asyncio.sleep(0)  # others have their turn
    except zlib.error as error:
        raise _unreadable(host) from error
    if not inflater.eof:
        raise _unreadable(host)


async def _drain(response: httpx.Response) -> None:
    """Read a body of up to MAX_DRAIN_BYTES to its end, so that the connection can be reused."""
    size = 0
    with suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for chunk in _raw(response):
                size += len(chunk)
                if size > MAX_DRAIN_BYTES:
                    return


def _raw(response: httpx.Response) -> AsyncIterator[bytes]:
    # `aiter_raw()` would refuse the bodies of a MockTransport, which have been read already.
    return aiter(cast(httpx.AsyncByteStream, response.stream))


def _status_error(response: httpx.Response, host: str) -> FetchError:
    status = response.status_code
    status_line = f"{status} {httpx.codes.get_reason_phrase(status)}".strip()
    return FetchError(
        f"http_{status}",
        f"{host} answered {status_line}.",
        permanent=status not in _TRANSIENT_STATUSES,
        retry_after=retry_after(response) if status in (429, 503) else None,
    )


def _invalid_url(detail: str) -> FetchError:
    return FetchError("invalid_url", detail, permanent=True)


def _too_large(host: str, max_bytes: int) -> FetchError:
    return FetchError("too_large", f"{host} sent more than {max_bytes / 1e6:g} MB.", permanent=True)


def _unreadable(host: str) -> FetchError:
    detail = f"{host} sent the picture in an encoding that cannot be read."
    return FetchError("not_an_image", detail, permanent=True)
