"""How much one user may ask for: uploads and logins in a time, requests and pictures that wait for workers.

Under OPEN_ACCESS there are no limits: whoever may connect owns the machine.
"""

import hashlib
import logging
import time

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from redis.exceptions import RedisError

from products.models import Request

logger = logging.getLogger(__name__)

MINUTE = 60
LOGIN_WINDOW = 10 * MINUTE
#: Logins in LOGIN_WINDOW: of one name from one address, and of one name, or from one address, in all. The
#: second is high enough that a stranger cannot lock a user out by the way, and too low to guess by.
LOGINS = 10
LOGINS_IN_ALL = 100


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


def count_login(request: HttpRequest, name: str) -> None:
    """Count an attempt to log in, before the password is looked at. Raises LimitReached."""
    name, address = name.casefold(), client_address(request)
    detail = "Too many attempts to log in. Please wait some minutes."
    _count(f"login {name} {address}", LOGINS, LOGIN_WINDOW, detail)
    _count(f"login name {name}", LOGINS_IN_ALL, LOGIN_WINDOW, detail)
    _count(f"login address {address}", LOGINS_IN_ALL, LOGIN_WINDOW, detail)


def count_upload(user: User | AnonymousUser) -> None:
    """Count an upload, before the file is looked at. Raises LimitReached."""
    limit = settings.USER_UPLOADS_PER_MINUTE
    detail = f"More than {limit:,} uploads in a minute."
    _count(f"upload {user.pk}", limit, MINUTE, detail)


def check_open_work(user: User | AnonymousUser) -> None:
    """May the user give workers more to do? Raises LimitReached.

    What is given at the same moment does not see each other: the limits may be passed by a few Requests.
    """
    if settings.OPEN_ACCESS:
        return
    requests, images = Request.objects.filter(owner=user.pk).open_work()
    if requests >= settings.USER_MAX_OPEN_REQUESTS:
        limit = settings.USER_MAX_OPEN_REQUESTS
        detail = (
            f"You have {requests:,} unfinished requests; {limit:,} are the most. Wait for some, or cancel."
        )
        raise LimitReached("too_many_open_requests", detail, MINUTE)
    if images >= settings.USER_MAX_OPEN_IMAGES:
        limit = settings.USER_MAX_OPEN_IMAGES
        detail = f"You have {images:,} unfinished pictures; {limit:,} are the most. Wait for some, or cancel."
        raise LimitReached("too_many_open_images", detail, MINUTE)


def client_address(request: HttpRequest) -> str:
    """Who connects: behind the proxy that HTTPS takes, whom that has seen, which nobody can make up."""
    forwarded = request.headers.get("X-Forwarded-For") if settings.SECURE_PROXY_SSL_HEADER else None
    return (forwarded or request.META.get("REMOTE_ADDR", "")).rpartition(",")[2].strip()


def _count(what: str, limit: int, window: int, detail: str) -> None:
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
