"""Limits on logins and uploads, counted in the cache that all web processes share.

Under OPEN_ACCESS nothing is limited, because everyone who can connect is the user `local`.
"""

import hashlib
import logging
import time

from django.conf import settings
from django.core.cache import cache
from django.http import HttpResponse
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

MINUTE_SECONDS = 60


class LimitReached(Exception):
    """A limit was exceeded. `detail` is a sentence for the user, `seconds` the time until a retry."""

    def __init__(self, code: str, detail: str, seconds: int) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.seconds = seconds

    def mark(self, response: HttpResponse) -> HttpResponse:
        """Turn a response into a 429 with `Retry-After`."""
        response.status_code = 429
        response.headers["Retry-After"] = str(self.seconds)
        return response


def count(name: str, limit: int, window_seconds: int, detail: str) -> None:
    """Count an action by its name. Raises LimitReached with `detail` above `limit` in a window of time.

    While the cache does not answer, nothing is limited.
    """
    if settings.OPEN_ACCESS:
        return
    window, passed_seconds = divmod(int(time.time()), window_seconds)
    key = hashlib.sha256(f"{window} {name}".encode()).hexdigest()
    try:
        cache.add(key, 0, 2 * window_seconds)  # longer than the window, so that `incr` finds the key
        count = cache.incr(key)
    except (RedisError, ValueError):
        logger.warning("The cache does not answer; logins and uploads are not limited", exc_info=True)
        return
    if count > limit:
        raise LimitReached("throttled", detail, window_seconds - passed_seconds)
