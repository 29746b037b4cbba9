"""Fetch one picture within limits of time and size, conditionally if an earlier version is known."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from typing import cast

import httpx
from django.conf import settings

from processing import loop, tracing
from processing.http.conditions import ConditionRefusals, conditions
from processing.http.content_encoding import CodingError, UnsupportedCoding, inflater_for
from processing.http.errors import classify, retry_after
from processing.http.guard import InvalidAddress
from processing.http.redirects import RequestChain
from processing.http.transport import GuardedTransport
from processing.work.byte_budget import Account
from products.sample import sample_number, sample_picture

#: Bodies of redirects and errors that are longer, or take longer, are not read to their end.
MAX_DRAIN_BYTES, DRAIN_SECONDS = 64 * 1024, 1.0
#: Longer values of ETag and Last-Modified are not stored for every picture.
MAX_VALIDATOR_LENGTH = 200

#: The `Accept` header of requests for pictures.
ACCEPT_PICTURES = "image/*,*/*;q=0.8"
_TRANSIENT_STATUSES = {408, 425, 429, *range(500, 600)}


class FetchError(Exception):
    """A picture could not be fetched.

    `code` is one of `invalid_url blocked_address dns connect timeout tls http_<status> too_many_redirects
    too_large not_an_image unsupported_format`, of an uploaded picture also `corrupt_image storage`, `detail`
    a sentence for users. `permanent`: a retry would fail again.
    `retry_after`: the seconds that the host asked to wait (429 and 503 only, at most a day), or after which
    the storage is tried again.
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
        """True if the host asked for fewer requests, or the storage failed: the picture is not the cause."""
        return self.retry_after is not None or self.code == "http_429"


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a picture: the `url` that answered, after redirects, the SHA-256, and the validators.

    The validators `ETag` and `Last-Modified` are "" if there is none, or one that is not kept.
    """

    url: str
    sha256: bytes
    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A response. `data` is empty if the host answered 304: it still has the known version."""

    data: bytes
    version: Version


class PictureTransport(GuardedTransport):
    """The guarded transport for pictures. Those of the sample are answered without a connection."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        number = sample_number(str(request.url))
        if number is None:
            return await super().handle_async_request(request)
        return httpx.Response(200, content=await asyncio.to_thread(sample_picture, number))


async def fetch(
    transport: httpx.AsyncBaseTransport,
    url: str,
    *,
    timeout: float,
    max_bytes: int,
    accept: str = ACCEPT_PICTURES,
    user_agent: str = "",
    known: Version | None = None,
    refusals: ConditionRefusals | None = None,
    private_headers: Mapping[str, str] | None = None,
    account: Account | None = None,
) -> Fetched:
    """Fetch `url` in at most `timeout` seconds, redirects included, and `max_bytes` bytes.

    The request is conditional if it goes to the URL that answered with `known` and its host is none of
    `refusals`. `private_headers` are sent to the host of `url` alone. The memory of the body is taken from
    `account`. Raises FetchError.
    """
    headers = {"Accept": accept, "Accept-Encoding": "identity"}
    try:
        chain = RequestChain(
            url,
            {**headers, "User-Agent": user_agent} if user_agent else headers,
            known_url=known.url if known else "",
            conditions=conditions(known.etag, known.last_modified) if known else {},
            refusals=refusals,
            private_headers=private_headers,
        )
    except InvalidAddress as error:
        raise _invalid_url(str(error)) from error
    try:
        async with asyncio.timeout(timeout) as limit:
            while True:
                async with _answer(transport, chain) as response:
                    if chain.goes_on(response):
                        await _drain(response)
                    elif known and chain.is_unmodified(response):
                        await _drain(response)
                        return Fetched(b"", known)
                    else:
                        data = await _body(response, max_bytes, account, limit)
                        return Fetched(data, _version(response, data))
    except FetchError as error:
        error.elsewhere = chain.has_left
        raise
    except TimeoutError as error:
        detail = f"{chain.url.host} took longer than {timeout:g} seconds."
        failure = FetchError("timeout", detail, permanent=False)
        failure.elsewhere = chain.has_left
        raise failure from error


def fetch_alone(
    url: str,
    *,
    timeout: float,
    max_bytes: int,
    accept: str = ACCEPT_PICTURES,
    known: Version | None = None,
    private_headers: Mapping[str, str] | None = None,
    account: Account | None = None,
) -> Fetched:
    """Fetch `url` as `fetch` does, over a connection of its own. Call it outside of the event loop."""

    async def fetch_in_loop() -> Fetched:
        guarded = PictureTransport(allowed_networks=settings.FETCH_ALLOWED_NETWORKS, max_connections=1)
        async with tracing.traced(guarded) as transport:
            return await fetch(
                transport,
                url,
                timeout=timeout,
                max_bytes=max_bytes,
                accept=accept,
                user_agent=settings.FETCH_USER_AGENT,
                known=known,
                private_headers=private_headers,
                account=account,
            )

    return loop.run(fetch_in_loop())


@asynccontextmanager
async def _answer(transport: httpx.AsyncBaseTransport, chain: RequestChain) -> AsyncIterator[httpx.Response]:
    """Send the next request of a chain. Raise errors of httpx in the block as FetchError."""
    try:
        request = chain.request()
        async with aclosing(await transport.handle_async_request(request)) as response:
            response.request = request
            yield response
    except InvalidAddress as error:
        raise _invalid_url(str(error)) from error
    except httpx.TooManyRedirects as error:
        raise FetchError("too_many_redirects", str(error), permanent=True) from error
    except httpx.HTTPError as error:
        raise fetch_error(error, request.url.host) from error


def fetch_error(error: httpx.HTTPError, host: str, allowed_by: str = "FETCH_ALLOWED_NETWORKS") -> FetchError:
    """Return an error of httpx as a FetchError. `allowed_by` is the setting that allows private addresses."""
    code, permanent = classify(error)
    match code:
        case "blocked_address":
            operator = f"The operator of this service can allow it with {allowed_by}."
            detail = f"{host} is in a private network. {operator}"
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


def _version(response: httpx.Response, data: bytes) -> Version:
    etag, last_modified = (
        value if len(value) <= MAX_VALIDATOR_LENGTH and value.isascii() and value.isprintable() else ""
        for value in (response.headers.get("ETag", ""), response.headers.get("Last-Modified", ""))
    )
    return Version(str(response.request.url), hashlib.sha256(data).digest(), etag, last_modified)


async def _body(
    response: httpx.Response, max_bytes: int, account: Account | None, limit: asyncio.Timeout
) -> bytes:
    host = response.request.url.host
    if not response.is_success:
        await _drain(response)
        raise status_error(response, host)
    length = response.headers.get("Content-Length", "0")
    received, body = 0, BytesIO()  # a list of pieces would hold the data twice when joined
    try:
        inflater = inflater_for(response.headers.get("Content-Encoding", ""))
        if length.isdecimal() and float(length) > max_bytes:
            raise _too_large(host, max_bytes)
        async for data in _raw(response):
            received += len(data)
            if received > max_bytes:
                raise _too_large(host, max_bytes)
            for piece in inflater.decode(data) if inflater else (data,):
                if body.tell() + len(piece) > max_bytes:
                    raise _too_large(host, max_bytes)
                if account:
                    await account.take(len(piece), limit)
                body.write(piece)
                if inflater:
                    await asyncio.sleep(0)  # others have their turn
        if inflater:
            inflater.finish()
    except CodingError as error:
        code = "unsupported_format" if isinstance(error, UnsupportedCoding) else "not_an_image"
        raise FetchError(code, f"{host} {error}.", permanent=True) from error
    if not body.tell():
        raise FetchError("not_an_image", f"{host} sent an empty response.", permanent=True)
    return body.getvalue()


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


def status_error(response: httpx.Response, host: str) -> FetchError:
    """Return the error of a response that is no success."""
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
