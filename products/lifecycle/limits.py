"""Limits on what one user may submit: uploads per minute, unfinished requests and pictures."""

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User

from products.models import Request
from products.rate_limit import MINUTE, LimitReached, count


def count_upload(user: User | AnonymousUser) -> None:
    """Count an upload, before the file is looked at. Raises LimitReached."""
    limit = settings.USER_UPLOADS_PER_MINUTE
    detail = f"More than {limit:,} uploads in a minute."
    count(f"upload {user.pk}", limit, MINUTE, detail)


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
