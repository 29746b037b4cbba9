"""Classify errors of the HTTP client by the codes that are stored with pictures and webhook deliveries."""

from typing import NamedTuple

import httpx

from processing.http.connecting import BlockedAddress, TLSError, UnknownName, UnresolvedName


class ErrorKind(NamedTuple):
    """`code` is one of `blocked_address dns connect timeout tls`; if `permanent`, a retry is pointless."""

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
        case httpx.TimeoutException():
            return ErrorKind("timeout", permanent=False)
        case _:
            return ErrorKind("connect", permanent=False)
