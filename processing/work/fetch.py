"""Fetch one picture within limits of time and size, conditionally if an earlier version is known."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from typing import cast

import httpx

from processing.http.conditions import ConditionRefusals, conditions
from processing.http.content_encoding import CodingError, Inflater, UnsupportedCoding, inflater_for
from processing.http.deadline import deadline
from processing.http.errors import classify, retry_after
from processing.http.guard import InvalidAddress
from processing.http.redirects import RequestChain

#: Longer bodies of redirects and errors are not read to their end.
MAX_DRAIN_BYTES = 64 * 1024
#: Longer values of ETag and Last-Modified are not stored for every picture.
MAX_VALIDATOR_LENGTH = 200

_HEADERS = {"Accept": "image/*,*/*;q=0.8", "Accept-Encoding": "identity"}
_TRANSIENT_STATUSES = {408, 425, 429, *range(500, 600)}


class FetchError(Exception):
    """A picture could not be fetched.

    `code` is one of `invalid_url blocked_address dns connect timeout tls http_<status> too_many_redirects
    too_large not_an_image unsupported_format`, `detail` a sentence for users. `permanent`: a retry would fail
    again.
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


def fetch(
    transport: httpx.BaseTransport,
    url: str,
    *,
    timeout: float,
    max_bytes: int,
    user_agent: str = "",
    known: Version | None = None,
    refusals: ConditionRefusals | None = None,
    private_headers: Mapping[str, str] | None = None,
) -> Fetched:
    """Fetch `url` in at most `timeout` seconds, redirects included, and `max_bytes` bytes.

    The request is conditional if it goes to the URL that answered with `known` and its host is none of
    `refusals`. `private_headers` are sent to the host of `url` alone. Raises FetchError. A guarded transport
    limits the total time; any other applies `timeout` to each step.
    """
    headers = {**_HEADERS, "User-Agent": user_agent} if user_agent else _HEADERS
    known_conditions = conditions(known.etag, known.last_modified) if known else {}
    try:
        chain = RequestChain(
            url,
            headers,
            timeout,
            known_url=known.url if known else "",
            conditions=known_conditions,
            refusals=refusals,
            private_headers=private_headers,
        )
    except InvalidAddress as error:
        raise _invalid_url(str(error)) from error
    try:
        with deadline(timeout):
            while True:
                with _answer(transport, chain, timeout) as response:
                    if chain.goes_on(response):
                        _drain(response)
                    elif known and chain.is_unmodified(response):
                        _drain(response)
                        return Fetched(b"", known)
                    else:
                        return _read(response, str(chain.url), max_bytes)
    except FetchError as error:
        error.elsewhere = chain.has_left
        raise


@contextmanager
def _answer(transport: httpx.BaseTransport, chain: RequestChain, timeout: float) -> Iterator[httpx.Response]:
    """Send the next request of a chain. Raise errors of httpx in the block as FetchError."""
    try:
        request = chain.request()
        with closing(transport.handle_request(request)) as response:
            response.request = request
            yield response
    except InvalidAddress as error:
        raise _invalid_url(str(error)) from error
    except httpx.TooManyRedirects as error:
        raise FetchError("too_many_redirects", str(error), permanent=True) from error
    except httpx.HTTPError as error:
        raise _fetch_error(error, request.url.host, timeout) from error


def _fetch_error(error: httpx.HTTPError, host: str, timeout: float) -> FetchError:
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
        case "timeout":
            detail = f"{host} took longer than {timeout:g} seconds."
        case _ if isinstance(error, httpx.ConnectError):
            detail = f"{host} could not be reached."
        case _ if isinstance(error, httpx.RemoteProtocolError):
            detail = f"{host} sent an invalid or incomplete response."
        case _:
            detail = f"{host} closed the connection before the response was complete."
    return FetchError(code, detail, permanent=permanent)


def _read(response: httpx.Response, url: str, max_bytes: int) -> Fetched:
    data = _body(response, max_bytes)
    etag, last_modified = (
        value if len(value) <= MAX_VALIDATOR_LENGTH and value.isascii() and value.isprintable() else ""
        for value in (response.headers.get("ETag", ""), response.headers.get("Last-Modified", ""))
    )
    return Fetched(data, Version(url, hashlib.sha256(data).digest(), etag, last_modified))


def _body(response: httpx.Response, max_bytes: int) -> bytes:
    host = response.request.url.host
    if not response.is_success:
        _drain(response)
        raise _status_error(response, host)
    try:
        inflater = inflater_for(response.headers.get("Content-Encoding", ""))
    except CodingError as error:
        raise _unreadable(host, error) from error
    length = response.headers.get("Content-Length", "0")
    if length.isdecimal() and float(length) > max_bytes:
        raise _too_large(host, max_bytes)
    pieces = _limited(_raw(response), host, max_bytes)
    if inflater:
        pieces = _limited(_inflated(pieces, inflater, host), host, max_bytes)
    body = BytesIO()  # a list of pieces would hold the data twice when joined
    body.writelines(pieces)
    if not body.tell():
        raise FetchError("not_an_image", f"{host} sent an empty response.", permanent=True)
    return body.getvalue()


def _limited(pieces: Iterator[bytes], host: str, max_bytes: int) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > max_bytes:
            raise _too_large(host, max_bytes)
        yield piece


def _inflated(pieces: Iterator[bytes], inflater: Inflater, host: str) -> Iterator[bytes]:
    try:
        for piece in pieces:
            yield from inflater.decode(piece)
        inflater.finish()
    except CodingError as error:
        raise _unreadable(host, error) from error


def _drain(response: httpx.Response) -> None:
    """Read a body of up to MAX_DRAIN_BYTES to its end, so that the connection can be reused."""
    size = 0
    with suppress(httpx.HTTPError):
        for chunk in _raw(response):
            size += len(chunk)
            if size > MAX_DRAIN_BYTES:
                return


def _raw(response: httpx.Response) -> Iterator[bytes]:
    # `iter_raw()` would refuse the bodies of a MockTransport, which have been read already.
    return iter(cast(httpx.SyncByteStream, response.stream))


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


def _unreadable(host: str, error: CodingError) -> FetchError:
    code = "unsupported_format" if isinstance(error, UnsupportedCoding) else "not_an_image"
    return FetchError(code, f"{host} {error}.", permanent=True)
