"""Limits on what one user may submit: uploads per minute, unfinished requests and pictures."""

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User

from products.models import Request
from products.rate_limit import MINUTE_SECONDS, LimitReached, count


def count_upload(user: User | AnonymousUser) -> None:
    """Count an upload; call this before reading the file. Raises LimitReached."""
    limit = settings.USER_UPLOADS_PER_MINUTE
    detail = f"More than {limit:,} uploads in a minute."
    count(f"upload {user.pk}", limit, MINUTE_SECONDS, detail)


def check_open_work(user: User | AnonymousUser) -> None:
    """Raise LimitReached if the user has too many unfinished Requests or Images to submit or retry another.

    Simultaneous submissions do not see each other, so a few Requests may exceed the limits.
    """
    if settings.OPEN_ACCESS:
        return
    requests, images = Request.objects.filter(owner=user.pk).open_work()
    if requests >= settings.USER_MAX_OPEN_REQUESTS:
        limit = settings.USER_MAX_OPEN_REQUESTS
        detail = f"You have {requests:,} unfinished requests; the limit is {limit:,}. Wait, or cancel some."
        raise LimitReached("too_many_open_requests", detail, MINUTE_SECONDS)
    if images >= settings.USER_MAX_OPEN_IMAGES:
        limit = settings.USER_MAX_OPEN_IMAGES
        detail = f"You have {images:,} unfinished pictures; the limit is {limit:,}. Wait, or cancel some."
        raise LimitReached("too_many_open_images", detail, MINUTE_SECONDS)
