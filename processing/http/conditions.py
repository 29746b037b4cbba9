"""Conditional requests, and the hosts that do not answer them as they should."""

import re
import time

import httpx

from processing.http.errors import retry_after

#: How long a host that refused a condition is asked without.
WITHOUT_CONDITIONS_SECONDS = 24 * 60 * 60.0
#: Of more hosts the oldest is forgotten, at the cost of one request.
MAX_HOSTS = 10_000

#: RFC 9110, 8.8.3. Some hosts send ETags without quotes and answer 400 or 412 when they get them back.
_ETAG = re.compile(r'(?:W/)?"[!#-~]*"')


def conditions(etag: str, last_modified: str) -> dict[str, str]:
    """Return the headers of a request for another version than the one with these validators."""
    headers = {"If-Modified-Since": last_modified} if last_modified else {}
    return headers | {"If-None-Match": etag} if _ETAG.fullmatch(etag) else headers


def refuses_condition(response: httpx.Response) -> bool:
    """Return whether a conditional request got an answer that it should not: any but 304 and 2xx.

    A host that asks for fewer requests means that, and is not asked again at once.
    """
    is_busy = response.status_code == 503 and retry_after(response) is not None
    asks_to_wait = response.status_code == 429 or is_busy
    return not (response.is_success or response.status_code == 304 or asks_to_wait)


class ConditionRefusals:
    """Hosts that answered a conditional request with an error, and then the same one without it with success.

    Kept in memory: each process learns them at the cost of one request.
    """

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def add(self, host: str) -> None:
        """Ask `host` (host:port) without conditions for a day."""
        if len(self._until) >= MAX_HOSTS:
            del self._until[next(iter(self._until))]
        self._until[host] = time.monotonic() + WITHOUT_CONDITIONS_SECONDS

    def __contains__(self, host: str) -> bool:
        return self._until.get(host, 0.0) > time.monotonic()
