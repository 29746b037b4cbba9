"""Every transition of a feed's run.

    start ──▶ fetching ──submitted──▶ processing ──finish──▶ the status of the Request | held
                 └──── fail, skip ──▶ failed | unchanged                 held ──confirm──▶ that status

A transition is a transaction. It returns False or None when the run is not, or no longer, in a status that
allows it: losing a race is not an error.
"""

import uuid
from collections.abc import Collection
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from products.feeds import deliveries
from products.feeds.models import Feed, FeedRun, FeedRunQuerySet, FeedRunStatus
from products.feeds.signals import alerted, run_started
from products.models import Request, RequestStatus
from products.models.states import Sweep

FAILED, HELD, MISSED = "feed.failed", "feed.held", "feed.missed"
MISSED_AFTER = timedelta(hours=1)
#: Share of failed pictures above which a run with more than twice as many as usual is held, and the number of
#: good runs before it whose mean is usual.
MAX_FAILED_SHARE = 0.05
USUAL_RUNS = 5
#: A worker that dies this often while it fetches a feed may die of it.
MAX_CRASHES = 3
MAX_ERROR = 500
CRASHED = f"The service stopped {MAX_CRASHES} times while it fetched the file."
NO_PICTURE = "None of the pictures could be completed."


def start(feed: Feed) -> FeedRun | None:
    """Begin a run now, whatever the schedule. None if one is under way."""
    with transaction.atomic():
        locked = Feed.objects.select_for_update(no_key=True).get(pk=feed.pk)
        return _begin(locked, scheduled=False)


def start_due(feed: Feed, now: datetime) -> FeedRun | None:
    """Begin the run that was due at the `next_run_at` that `feed` has, and plan the one after `now`.

    Of several callers one succeeds. However many times have passed since, they are one run.
    """
    with transaction.atomic():
        due = Feed.objects.filter(pk=feed.pk, next_run_at=feed.next_run_at)
        locked = due.select_for_update(no_key=True).first()
        if locked is None or not (run := _begin(locked, scheduled=True)):
            return None
        locked.next_run_at = locked.next_after(now)
        locked.save(update_fields=["next_run_at"])
        return run


def _begin(locked: Feed, *, scheduled: bool) -> FeedRun | None:
    """Insert a run unless one is under way. The caller holds the feed's lock."""
    if locked.runs.active().exists():
        return None
    run = FeedRun.objects.create(feed=locked, scheduled=scheduled)
    Feed.objects.filter(pk=locked.pk).update(last_run=run)
    run_started.send(FeedRun, run=run)
    return run


def tell_missed(feed: Feed, now: datetime) -> bool:
    """Tell, once, that a run is an hour past due and has not begun. Returns False if there is none such."""
    overdue = Feed.objects.filter(pk=feed.pk, next_run_at__lte=now - MISSED_AFTER)
    with transaction.atomic():
        told = overdue.exclude(missed_at=F("next_run_at"), missed_at__isnull=False)
        if not told.update(missed_at=F("next_run_at")):
            return False
        _alert(feed.pk, MISSED)
        return True


def claim(run_id: uuid.UUID, worker_id: uuid.UUID, max_per_owner: int) -> FeedRun | None:
    """Claim the fetch of a run for a worker.

    None if it is claimed, not due or over, or if as many fetches of its owner are claimed as allowed.
    """
    run = FeedRun.objects.waiting().filter(pk=run_id).select_related("feed__owner", "feed__profile").first()
    if run is None:
        return None
    others = FeedRun.objects.fetching().filter(feed__owner=run.feed.owner_id).exclude(claimed_by=None)
    if others.count() >= max_per_owner:
        give_up_turn(run_id)
        return None
    if not FeedRun.objects.waiting().filter(pk=run_id).update(claimed_by=worker_id):
        return None
    run.claimed_by = worker_id
    return run


def give_up_turn(run_id: uuid.UUID) -> None:
    """Note that no message is under way for a run that waits for a worker."""
    FeedRun.objects.waiting().filter(pk=run_id).update(enqueued_at=None)


def give_back(worker_id: uuid.UUID) -> None:
    """Give back all runs that a worker has claimed, because it stops."""
    FeedRun.objects.fetching().filter(claimed_by=worker_id).update(claimed_by=None, enqueued_at=None)


def _claimed(run: FeedRun) -> FeedRunQuerySet:
    """Return the query of the run while it is still fetched by the worker that has claimed it."""
    return FeedRun.objects.fetching().filter(pk=run.pk, claimed_by=run.claimed_by)


def postpone(run: FeedRun, seconds: float, error: str, *, counts: bool) -> bool:
    """Give a claimed run back, to be fetched again in so many seconds. An attempt is counted if `counts`."""
    due_at = timezone.now() + timedelta(seconds=seconds)
    attempts = run.attempts + counts
    changed = _claimed(run).update(
        claimed_by=None, enqueued_at=None, due_at=due_at, attempts=attempts, error=error[:MAX_ERROR]
    )
    return changed == 1


def submitted(run: FeedRun, batch: Request) -> bool:
    """Hand the run over to its Request, in the transaction that creates it."""
    changed = _claimed(run).update(
        status=FeedRunStatus.PROCESSING, request=batch, claimed_by=None, error="", options=run.options
    )
    return changed == 1


def skip(run: FeedRun) -> bool:
    """End a claimed run whose file is the same as before."""
    changed = _claimed(run).update(
        status=FeedRunStatus.UNCHANGED, finished_at=timezone.now(), claimed_by=None, error=""
    )
    return changed == 1


def fail(run: FeedRun, error: str) -> bool:
    """End a claimed run whose file could not be fetched or read, and tell its owner."""
    with transaction.atomic():
        changed = _claimed(run).update(
            status=FeedRunStatus.FAILED,
            finished_at=timezone.now(),
            claimed_by=None,
            error=error[:MAX_ERROR],
        )
        if changed:
            _alert(run.feed_id, FAILED)
        return changed == 1


def release(alive: Collection[uuid.UUID]) -> None:
    """Give back the runs that workers other than these have claimed: they have died.

    A run of which several workers have died has failed.
    """
    for run in FeedRun.objects.fetching().exclude(claimed_by=None).exclude(claimed_by__in=alive):
        if run.crashes + 1 >= MAX_CRASHES:
            fail(run, CRASHED)
        else:
            _claimed(run).update(claimed_by=None, enqueued_at=None, crashes=F("crashes") + 1)


def end_deleted() -> None:
    """End the runs whose Request was deleted before it had finished, which no signal tells."""
    gone = Q(request=None) | Q(request__sweep=Sweep.DELETE)
    FeedRun.objects.filter(gone, status=FeedRunStatus.PROCESSING).update(
        status=FeedRunStatus.CANCELED, finished_at=timezone.now()
    )


def finish(batch: Request) -> None:
    """End the run whose Request has finished, in the transaction that ends that.

    A later run of the Request, such as a retry, changes the status of a run that is over, unless it is held.
    A result that was not published before is held like that of a first run.
    """
    run = FeedRun.objects.filter(request=batch).select_related("feed").first()
    if run is None:
        return
    before = run.status
    run.finished_at = batch.finished_at
    run.products, run.images = batch.products_total, batch.images_total
    run.images_failed, run.bytes_output = batch.images_failed, batch.bytes_output
    if before != FeedRunStatus.HELD:
        run.error = "" if before in FeedRun.GOOD else _reason_to_hold(run, batch)
        run.status = FeedRunStatus.HELD if run.error else FeedRunStatus(batch.status)
        if batch.status == RequestStatus.FAILED:
            run.error = batch.error or NO_PICTURE
    run.save()
    if run.status in FeedRun.GOOD:
        deliveries.plan(run.feed_id)
    if before != FeedRunStatus.HELD and run.status == FeedRunStatus.HELD:
        _alert(run.feed_id, HELD)
    elif before == FeedRunStatus.PROCESSING and run.status == FeedRunStatus.FAILED:
        _alert(run.feed_id, FAILED)


def _reason_to_hold(run: FeedRun, batch: Request) -> str:
    """Return a sentence if the result differs from the last good ones as a broken export does, else ""."""
    if batch.status not in FeedRun.GOOD:
        return ""
    earlier = list(run.feed.runs.good()[:USUAL_RUNS])
    if not earlier or earlier[0].started_at > run.started_at:
        return ""
    last = earlier[0]
    if 2 * batch.products_total <= last.products:
        return f"The file has {batch.products_total:,} rows; the last one had {last.products:,}."
    has_many = batch.images_failed > MAX_FAILED_SHARE * batch.images_total
    mean = sum(one.images_failed for one in earlier) / len(earlier)
    runs = f"the last {len(earlier)} runs on average"
    for usual, when in ((last.images_failed, "the last run"), (mean, runs)):
        if has_many and batch.images_failed > 2 * usual:
            return f"{batch.images_failed:,} pictures failed; {round(usual, 1):,.10g} did in {when}."
    return ""


def confirm(feed: Feed) -> bool:
    """Let the last run go on if it is held: its result becomes the latest one. False if it is not held."""
    with transaction.atomic():
        locked = Feed.objects.select_for_update(no_key=True).get(pk=feed.pk)
        held = locked.runs.filter(pk=locked.last_run_id or uuid.UUID(int=0), status=FeedRunStatus.HELD)
        run = held.select_related("request").first()
        if run is None or run.request is None or run.request.is_active:
            return False
        deliveries.plan(feed.pk)
        return held.update(status=run.request.status, error="") == 1


def _alert(feed_id: uuid.UUID, event: str) -> None:
    feed = Feed.objects.with_last_run().select_related("owner").get(pk=feed_id)
    alerted.send(Feed, feed=feed, event=event)
