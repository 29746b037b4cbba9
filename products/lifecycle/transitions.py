"""Start, finish, cancel and delete a Request, and the sweeps that change its other rows afterwards."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Max, Q
from django.utils import timezone

from products.lifecycle import sweeps
from products.lifecycle.signals import request_finished, request_submitted, sweep_started
from products.models import ImageStatus, Request, RequestStatus, Run, RunOrigin
from products.models.states import Sweep


def settle(batch: Request) -> None:
    """Save `batch`, and finish its run if no work is left. The caller holds the row's lock."""
    is_done = batch.ingested and not batch.images_pending and not batch.sweep
    if batch.status == RequestStatus.PROCESSING and is_done:
        batch.status, batch.finished_at = final_status(batch), _end_of_run(batch)
        batch.save()
        _finish_run(batch)
    else:
        batch.save()


def stop(batch: Request, status: RequestStatus, *, canceled: bool) -> None:
    """End the run with `status`, and cancel pending Images. The caller holds the row's lock."""
    batch.status, batch.finished_at = status, _end_of_run(batch)
    _begin_sweep(batch, Sweep.CANCEL)
    _finish_run(batch, canceled=canceled)


def _end_of_run(batch: Request) -> datetime:
    """Return the present time, or when the run was started if the clock has been set back to before that."""
    return max(timezone.now(), batch.started_at or batch.created_at)


def cancel(batch: Request) -> bool:
    """Stop the work and keep its results so far. Returns False if the Request has finished already.

    A first run ends as canceled. Of a later run, what it has completed stays; the Images that wait get back
    the outcome that they had before it.
    """
    with transaction.atomic():
        locked = Request.objects.locked().active().filter(pk=batch.pk).first()
        if locked is None:
            return False
        stop(locked, _status_after_cancel(locked), canceled=True)
        return True


def delete(batch: Request, *, only_finished: bool = False) -> bool:
    """Delete the Request with its rows. Its stored files are deleted by the next prune.

    Returns False if it is being deleted already, or if it is active and `only_finished` is set.
    """
    with transaction.atomic():
        locked = Request.objects.locked().present().filter(pk=batch.pk).first()
        if locked is None or (only_finished and locked.is_active):
            return False
        if locked.is_active:
            locked.status, locked.finished_at = RequestStatus.CANCELED, _end_of_run(locked)
        locked.idempotency_key = None
        _begin_sweep(locked, Sweep.DELETE)
        return True


def start_run(batch: Request, by: RunOrigin, options: sweeps.RetryOptions) -> None:
    """Start a run of a finished Request, in which the Images that `options` select are tried again.

    The caller holds the row's lock.
    """
    prepare_run(batch, by)
    batch.sweep_options = dict(options)
    _begin_sweep(batch, Sweep.RETRY)


def prepare_run(batch: Request, by: RunOrigin) -> None:
    """Set the fields of a finished Request to those of a new run. The caller holds the row's lock."""
    # The sweep of a retry changes Images settled before this, so it is later than all of them, even if
    # clocks differ.
    latest = batch.images.aggregate(latest=Max("settled_at"))["latest"] or batch.created_at
    batch.started_at = max(timezone.now(), latest + timedelta(microseconds=1))
    batch.status, batch.error, batch.finished_at = RequestStatus.PROCESSING, "", None
    batch.run += 1
    batch.run_by = by
    batch.recent_progress = []


def send_run(batch: Request) -> None:
    """Save a Request whose Images are pending again, and start work. The caller holds the lock."""
    batch.epoch += 1
    batch.save()
    request_submitted.send(Request, batch=batch)


def sweep(batch: Request) -> bool:
    """Change the next rows, in a short transaction. Return whether there are more."""
    with transaction.atomic():
        locked = Request.objects.locked().filter(pk=batch.pk).first()
        return locked is not None and _sweep_rows(locked)


def final_status(batch: Request) -> RequestStatus:
    """Return the status of a Request in which no Image is pending."""
    if batch.images_total > batch.images_ignored and not batch.images_completed:
        return RequestStatus.FAILED
    if batch.images_failed or batch.images_canceled:
        return RequestStatus.COMPLETED_WITH_ERRORS
    return RequestStatus.COMPLETED


def _status_after_cancel(batch: Request) -> RequestStatus:
    """Return the status of an active Request once its pending Images are canceled or as before the run."""
    pending = batch.images.pending()
    is_canceled = Q(previous__isnull=True) | Q(previous__status=ImageStatus.CANCELED)
    if batch.run == 1 or batch.images_canceled or not batch.ingested or pending.filter(is_canceled).exists():
        return RequestStatus.CANCELED
    return RequestStatus.COMPLETED_WITH_ERRORS if batch.images_completed else RequestStatus.FAILED


def _finish_run(batch: Request, *, canceled: bool = False) -> None:
    """Keep the run that has ended, and tell the receivers. The caller has saved the Request."""
    run = Run.of(batch, canceled=canceled)
    run.save()
    request_finished.send(Request, batch=batch, run=run)


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
    if sweeps.change_rows(batch):
        batch.dispatched_at = timezone.now()  # the sweep is moving: recovery need not resend its message
        batch.save()
        return True
    if batch.sweep == Sweep.DELETE:
        batch.delete()
    else:
        batch.sweep = ""
        settle(batch)
        if not batch.is_active:  # the end of a cancel: the run has the counts of its end
            batch.runs.filter(number=batch.run).update(failed=batch.images_failed)
    return False
