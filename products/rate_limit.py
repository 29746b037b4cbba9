"""Rate limits that all web processes share, counted in the cache.

Under OPEN_ACCESS nothing is limited: whoever may connect owns the machine.
"""

import hashlib
import logging
import time

from django.conf import settings
from django.core.cache import cache
from django.http import HttpResponse
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

MINUTE = 60


class LimitReached(Exception):
    """Too much was asked for: why, as a sentence for the user, and in how many seconds to ask again."""

    def __init__(self, code: str, detail: str, seconds: int) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.seconds = seconds

    def mark(self, response: HttpResponse) -> HttpResponse:
        """Make a page the answer to what was too much: 429."""
        response.status_code = 429
        response.headers["Retry-After"] = str(self.seconds)
        return response


def count(what: str, limit: int, window: int, detail: str) -> None:
    """Count in this window of time. A counter that does not answer keeps nobody out."""
    if settings.OPEN_ACCESS:
        return
    number, passed = divmod(int(time.time()), window)
    key = hashlib.sha256(f"{number} {what}".encode()).hexdigest()
    try:
        cache.add(key, 0, 2 * window)  # longer than the window: `incr` must not meet its end
        count = cache.incr(key)
    except (RedisError, ValueError):
        logger.warning("The cache does not count; nothing is throttled", exc_info=True)
        return
    if count > limit:
        raise LimitReached("throttled", detail, window - passed)
