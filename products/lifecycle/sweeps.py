"""The rows of a sweep: changes that follow a cancel, a retry or a delete.

Each function changes the next `rows` of a Request and its counters, and returns the number that it has dealt
with: fewer if these were the last. The caller holds the lock of the Request's row, and saves it.
"""

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, TypedDict, cast
from uuid import UUID

from django.db.models.functions import JSONObject
from django.utils import timezone

from products.catalogue import host_of, url_problem
from products.models import Image, ImageStatus, ProductImage, Rendition, Request, bulk
from products.models.image import PREVIOUS_FIELDS, Causes, ImageQuerySet
from products.models.states import Sweep

#: Rows changed in one transaction of a sweep at most, and the time after which it ends, so that others can
#: write. Rows are changed by so many at once.
SWEEP_ROWS = 5000
SWEEP_TRANSACTION_SECONDS = 0.05
SWEEP_STEP_ROWS = 500


class RetryOptions(TypedDict, total=False):
    """The Images that a retry selects: those with one of these causes.

    With `find`, those whose URL contains this text; `replace` takes its place in the URL that is fetched.
    `after` is the number of the last Image that the sweep of such a retry has looked at.
    """

    causes: Causes
    find: str
    replace: str
    after: int


def change_rows(batch: Request) -> bool:
    """Change rows for SWEEP_TRANSACTION_SECONDS, SWEEP_ROWS at most. Return whether there may be more."""
    ends_at = time.monotonic() + SWEEP_TRANSACTION_SECONDS
    left = SWEEP_ROWS
    while left:
        rows = min(left, SWEEP_STEP_ROWS)
        if _ROWS[Sweep(batch.sweep)](batch, rows) < rows:
            return False
        left -= rows
        if time.monotonic() >= ends_at:
            break
    return True


def cancel_rows(batch: Request, rows: int) -> int:
    """Cancel pending Images, claimed ones included. Those of a retry get back their earlier outcome."""
    # Without repeating the condition on the status, for which SQLite would read all pending rows.
    pending = batch.images.pending().first_rows(rows)
    new = pending.filter(previous__isnull=True)
    canceled = new.update(status=ImageStatus.CANCELED, claimed_by=None, settled_at=timezone.now())
    kept = pending.filter(previous__isnull=False).values_list("pk", "previous")
    earlier: dict[UUID, dict[str, Any]] = {pk: previous for pk, previous in kept if previous}
    bulk.update(
        Image,
        ("id", "claimed_by", *PREVIOUS_FIELDS),
        [
            (pk, None, *(_restored(name, outcome[name]) for name in PREVIOUS_FIELDS))
            for pk, outcome in earlier.items()
        ],
    )
    failed = sum(outcome["status"] == ImageStatus.FAILED for outcome in earlier.values())
    batch.images_failed += failed
    batch.images_canceled += canceled + len(earlier) - failed
    return canceled + len(earlier)


def retry_rows(batch: Request, rows: int) -> int:
    """Make Images pending that were settled before this run."""
    options = cast(RetryOptions, batch.sweep_options)
    earlier = batch.images.filter(settled_at__lt=batch.started_at)
    if "find" in options:
        return _replace_rows(batch, earlier, options, rows)
    again = earlier.retryable(options["causes"]).first_rows(rows)
    return make_pending(batch, again)


def make_pending(batch: Request, images: ImageQuerySet) -> int:
    """Make failed and canceled Images pending, and keep their outcomes. Return their number."""
    # `crashes` stays: a picture that may have killed a worker is decoded in a child process again.
    failed = images.failed().count()
    changed = images.update(
        previous=JSONObject(**{name: name for name in PREVIOUS_FIELDS}),
        status=ImageStatus.PENDING,
        claimed_by=None,
        due_at=timezone.now(),
        attempts=0,
        error_code="",
        error_detail="",
        settled_at=None,
    )
    batch.images_failed -= failed
    batch.images_canceled -= changed - failed
    return changed


def replaceable(images: ImageQuerySet, options: RetryOptions) -> ImageQuerySet:
    """Return failed Images that a retry with `find` looks at, in order."""
    failed = images.failed().with_cause(options["causes"])
    return failed.filter(url__contains=options["find"]).order_by("number")


def replaced_url(url: str, options: RetryOptions) -> str | None:
    """Return the URL that is fetched instead of `url`, or None if it would not be a URL."""
    becomes = url.replace(options["find"], options["replace"])
    return None if url_problem(becomes) else becomes


def make_pending_elsewhere(batch: Request, images: Iterable[Image], urls: dict[UUID, str]) -> int:
    """Make those of the failed Images pending that have a URL in `urls`, to be fetched from there.

    Return their number.
    """
    now = timezone.now()
    rows = [
        (
            image.pk,
            {name: _kept(getattr(image, name)) for name in PREVIOUS_FIELDS},
            *(ImageStatus.PENDING, None, now, 0, "", "", None),
            "" if urls[image.pk] == image.url else urls[image.pk],
            host_of(urls[image.pk]),
        )
        for image in images
        if image.pk in urls
    ]
    names = ("status", "claimed_by", "due_at", "attempts", "error_code", "error_detail", "settled_at")
    bulk.update(Image, ("id", "previous", *names, "fetched_from", "host"), rows)
    batch.images_failed -= len(rows)
    return len(rows)


def _replace_rows(batch: Request, images: ImageQuerySet, options: RetryOptions, rows: int) -> int:
    found = list(replaceable(images.filter(number__gt=options.get("after", 0)), options)[:rows])
    becomes = {image.pk: replaced_url(image.url, options) for image in found}
    changed = {image.pk: url for image in found if (url := becomes[image.pk]) and url != image.url}
    make_pending_elsewhere(batch, found, changed)
    if found:
        batch.sweep_options |= {"after": found[-1].number}
    return len(found)


def delete_rows(batch: Request, rows: int) -> int:
    """Delete Images, then Products.

    By `_raw_delete`, since `delete()` would load all rows to look for dependent ones.
    """
    images = batch.images.first_rows(rows)
    ProductImage.objects.filter(image__in=images)._raw_delete(images.db)
    Rendition.objects.filter(image__in=images)._raw_delete(images.db)
    swept = images._raw_delete(images.db) or 0  # None where nothing can match
    if swept < rows:  # no Image is left, so nothing depends on the Products
        products = batch.products.first_rows(rows - swept)
        swept += products._raw_delete(products.db) or 0
    return swept


def _kept(value: Any) -> Any:
    """Return a value of a field in PREVIOUS_FIELDS as JSON has it."""
    return value.isoformat() if isinstance(value, datetime) else value


def _restored(name: str, value: Any) -> Any:
    """Return the value of a field in PREVIOUS_FIELDS."""
    return value if name != "settled_at" or value is None else bulk.parse_moment(value)


_ROWS: dict[Sweep, Callable[[Request, int], int]] = {
    Sweep.CANCEL: cancel_rows,
    Sweep.RETRY: retry_rows,
    Sweep.DELETE: delete_rows,
}
