"""Conditional requests, and the hosts that do not answer them as they should."""

import re
import time
from typing import Any

import httpx

from processing.http.errors import retry_after

#: How long a host that refused a condition is asked without.
WITHOUT_CONDITIONS_SECONDS = 24 * 60 * 60.0
#: After so many repeated requests without a success in between, a host is asked without conditions for so
#: long: a host that fails would get two requests for each picture.
MAX_REPEATS, FAILING_SECONDS = 3, 60.0
#: Of more hosts the oldest is forgotten, at the cost of one request.
MAX_HOSTS = 10_000
#: RFC 9110, 8.8.3. Some hosts send ETags without quotes and answer 400 or 412 when they get them back.
_ETAG = re.compile(r'(?:W/)?"[!#-~]*"')


def conditions(etag: str, last_modified: str) -> dict[str, str]:
    """Return the headers of a request for another version than the one with these validators."""
    headers = {"If-Modified-Since": last_modified} if last_modified else {}
    return headers | {"If-None-Match": etag} if _ETAG.fullmatch(etag) else headers


def may_refuse_condition(response: httpx.Response) -> bool:
    """Return whether the condition of a request may be the reason for this response.

    That is any but a success, 304 and a redirect. 429, and 503 with `Retry-After`, ask for fewer requests.
    """
    status = response.status_code
    asks_to_wait = status == 429 or (status == 503 and retry_after(response) is not None)
    is_answer = response.is_success or response.has_redirect_location or status == httpx.codes.NOT_MODIFIED
    return not (is_answer or asks_to_wait)


class ConditionRefusals:
    """Hosts (host:port) that are asked without conditions, because repeated requests showed the need.

    For a day, if a conditional request got an error and the same one without conditions succeeded. For a
    minute, or until a request succeeds, if MAX_REPEATS requests were repeated and none has succeeded since.

    Kept in memory: each process learns them at the cost of a few requests.
    """

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._repeats: dict[str, tuple[int, float]] = {}  # their number, and when the latest was made

    def add(self, host: str) -> None:
        """Ask `host` without conditions for a day."""
        _make_room(self._until)
        self._until[host] = time.monotonic() + WITHOUT_CONDITIONS_SECONDS

    def count_repeat(self, host: str) -> None:
        """Count a request that is made again without conditions."""
        number, _ = self._repeats.get(host, (0, 0.0))
        _make_room(self._repeats)
        self._repeats[host] = number + 1, time.monotonic()

    def count_success(self, host: str) -> None:
        """Forget the repeated requests to a host that has a picture, or has not modified it."""
        self._repeats.pop(host, None)

    def __contains__(self, host: str) -> bool:
        now = time.monotonic()
        number, latest = self._repeats.get(host, (0, 0.0))
        is_failing = number >= MAX_REPEATS and now < latest + FAILING_SECONDS
        return is_failing or self._until.get(host, 0.0) > now


def _make_room(hosts: dict[str, Any]) -> None:
    if len(hosts) >= MAX_HOSTS:
        del hosts[next(iter(hosts))]
