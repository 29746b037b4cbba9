"""Finish, cancel, retry and delete a Request, and the sweeps that change its other rows afterwards."""

import time
from collections.abc import Callable
from datetime import timedelta

from django.db import transaction
from django.db.models import Count, Max
from django.utils import timezone

from products.lifecycle.signals import request_finished, request_submitted, sweep_started
from products.models import ImageStatus, ProductImage, Request, RequestStatus
from products.models.states import Sweep

#: Rows changed in one transaction of a sweep at most, and the time after which it ends, so that others can
#: write. Rows are changed by so many at once.
SWEEP_ROWS = 5000
SWEEP_TRANSACTION_SECONDS = 0.05
SWEEP_STEP_ROWS = 500


def settle(batch: Request) -> None:
    """Save `batch`, and finish its run if no work is left. The caller holds the row's lock."""
    is_done = batch.ingested and not batch.images_pending and not batch.sweep
    if batch.status == RequestStatus.PROCESSING and is_done:
        batch.status, batch.finished_at = _final_status(batch), timezone.now()
        batch.save()
        request_finished.send(Request, batch=batch)
    else:
        batch.save()


def stop(batch: Request, status: RequestStatus) -> None:
    """Finish with `status` and cancel pending Images. The caller holds the row's lock."""
    batch.status, batch.finished_at = status, timezone.now()
    _begin_sweep(batch, Sweep.CANCEL)
    request_finished.send(Request, batch=batch)


def cancel(batch: Request) -> bool:
    """Stop the work and keep its results so far. Returns False if the Request has finished already."""
    with transaction.atomic():
        locked = Request.objects.locked().active().filter(pk=batch.pk).first()
        if locked is None:
            return False
        stop(locked, RequestStatus.CANCELED)
        return True


def retry(batch: Request, code: str | None = None, host: str | None = None) -> int:
    """Make failed and canceled Images pending again, in a new run. Return their number.

    `code` limits the retry to Images that failed with this error code, and `host` to those of one host. An
    Image whose URL is invalid stays failed. Returns 0 when the Request has not finished or nothing matches.
    """
    with transaction.atomic():
        locked = Request.objects.locked().present().finished().filter(pk=batch.pk).first()
        if locked is None:
            return 0
        # Images that the sweep of a cancel has not reached are still pending, and stay so.
        unswept = 0 if code else locked.images_pending
        found = locked.images.retryable(code, host).aggregate(count=Count("pk"), latest=Max("settled_at"))
        again: int = found["count"] + unswept
        if not again and (code or locked.ingested):
            return 0
        locked.status, locked.error = RequestStatus.PROCESSING, ""
        locked.run += 1
        # The sweep resets Images settled before this, so it is later than all of them, even if clocks differ.
        latest = found["latest"] or locked.created_at
        locked.started_at = max(timezone.now(), latest + timedelta(microseconds=1))
        locked.finished_at = None
        locked.sweep_code, locked.sweep_host = code or "", host or ""
        locked.images_before_run = locked.images_settled - found["count"]
        _begin_sweep(locked, Sweep.RETRY)
        return again


def delete(batch: Request, *, only_finished: bool = False) -> bool:
    """Delete the Request with its rows. Its stored files are deleted by the next prune.

    Returns False if it is being deleted already, or if it is active and `only_finished` is set.
    """
    with transaction.atomic():
        locked = Request.objects.locked().present().filter(pk=batch.pk).first()
        if locked is None or (only_finished and locked.is_active):
            return False
        if locked.is_active:
            locked.status, locked.finished_at = RequestStatus.CANCELED, timezone.now()
        locked.idempotency_key = None
        _begin_sweep(locked, Sweep.DELETE)
        return True


def sweep(batch: Request) -> bool:
    """Change the next rows, in a transaction of SWEEP_TRANSACTION_SECONDS. Return whether there are more."""
    with transaction.atomic():
        locked = Request.objects.locked().filter(pk=batch.pk).first()
        return locked is not None and _sweep_rows(locked)


def _final_status(batch: Request) -> RequestStatus:
    if batch.images_total and not batch.images_completed:
        return RequestStatus.FAILED
    if batch.images_failed or batch.images_canceled:
        return RequestStatus.COMPLETED_WITH_ERRORS
    return RequestStatus.COMPLETED


def _begin_sweep(batch: Request, kind: Sweep) -> None:
    """Void the messages sent so far and sweep the first rows. The caller holds the row's lock."""
    batch.sweep = kind
    batch.epoch += 1
    batch.save()
    has_more = _sweep_rows(batch)
    if kind == Sweep.RETRY:
        request_submitted.send(Request, batch=batch)
    elif has_more:
        sweep_started.send(Request, batch=batch)


def _sweep_rows(batch: Request) -> bool:
    """Sweep some rows. Return whether there may be more. The caller holds the lock."""
    if not batch.sweep:
        return False
    if _has_more_rows(batch):
        batch.dispatched_at = timezone.now()  # the sweep is moving: recovery need not resend its message
        batch.save()
        return True
    if batch.sweep == Sweep.DELETE:
        batch.delete()
    else:
        batch.sweep = ""
        settle(batch)
    return False


def _has_more_rows(batch: Request) -> bool:
    """Change rows for SWEEP_TRANSACTION_SECONDS, SWEEP_ROWS at most. Return whether there may be more."""
    ends_at = time.monotonic() + SWEEP_TRANSACTION_SECONDS
    left = SWEEP_ROWS
    while left:
        rows = min(left, SWEEP_STEP_ROWS)
        if _SWEEPS[Sweep(batch.sweep)](batch, rows) < rows:
            return False
        left -= rows
        if time.monotonic() >= ends_at:
            break
    return True


def _sweep_canceled(batch: Request, rows: int) -> int:
    """Cancel pending Images, claimed ones included. Return the number of rows changed, `rows` at most."""
    # Without repeating the condition on the status, for which SQLite would read all pending rows.
    pending = batch.images.pending().first_rows(rows)
    swept = pending.update(status=ImageStatus.CANCELED, claimed_by=None, settled_at=timezone.now())
    batch.images_canceled += swept
    return swept


def _sweep_retried(batch: Request, rows: int) -> int:
    """Make Images pending that were settled before this run. Return the number of rows changed."""
    earlier = batch.images.filter(settled_at__lt=batch.started_at)
    again = earlier.retryable(batch.sweep_code, batch.sweep_host).first_rows(rows)
    failed = again.failed().count()
    # `crashes` stays: a picture that may have killed a worker is decoded in a child process again.
    swept = again.update(
        status=ImageStatus.PENDING,
        claimed_by=None,
        due_at=timezone.now(),
        attempts=0,
        error_code="",
        error_detail="",
        settled_at=None,
    )
    batch.images_failed -= failed
    batch.images_canceled -= swept - failed
    return swept


def _sweep_deleted(batch: Request, rows: int) -> int:
    """Delete Images, then Products. Return the number of rows deleted.

    By `_raw_delete`, since `delete()` would load all rows to look for dependent ones.
    """
    images = batch.images.first_rows(rows)
    ProductImage.objects.filter(image__in=images)._raw_delete(images.db)
    swept = images._raw_delete(images.db) or 0  # None where nothing can match
    if swept < rows:  # no Image is left, so nothing depends on the Products
        products = batch.products.first_rows(rows - swept)
        swept += products._raw_delete(products.db) or 0
    return swept


_SWEEPS: dict[Sweep, Callable[[Request, int], int]] = {
    Sweep.CANCEL: _sweep_canceled,
    Sweep.RETRY: _sweep_retried,
    Sweep.DELETE: _sweep_deleted,
}
