"""Error codes of HTTP requests, as stored with pictures and webhook deliveries, and `Retry-After`."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import httpx

from processing.http.guard import BlockedAddress, TLSError, UnknownName, UnresolvedName

MAX_RETRY_AFTER_SECONDS = 24 * 60 * 60.0


class ErrorKind(NamedTuple):
    """`code` is one of `blocked_address dns connect tls`; if `permanent`, a retry is pointless."""

    code: str
    permanent: bool


def classify(error: httpx.HTTPError) -> ErrorKind:
    """Return the kind of an error that was raised by a guarded client or transport."""
    match error:
        case BlockedAddress():
            return ErrorKind("blocked_address", permanent=True)
        case UnknownName():
            return ErrorKind("dns", permanent=True)
        case UnresolvedName():
            return ErrorKind("dns", permanent=False)
        case TLSError():
            return ErrorKind("tls", permanent=True)
        case _:
            return ErrorKind("connect", permanent=False)


def retry_after(response: httpx.Response) -> float | None:
    """Return the seconds that `Retry-After` asks for, as a number or a date (RFC 9110, 10.2.3)."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        seconds = float(value)
    else:
        try:
            date = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        seconds = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
