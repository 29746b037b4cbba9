"""The actors that fetch feeds and deliver their results, the messages for them, and the schedule.

A message carries the id of a run or a feed. It may come twice or never: what it is for is claimed first, and
the schedule sends lost messages again.
"""

import logging
import uuid
from collections.abc import Sequence
from threading import BoundedSemaphore

import dramatiq
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from processing.feeds.attempt import attempt
from processing.feeds.delivery import deliver
from processing.timing import FETCH_LOST_AFTER
from processing.work import pipeline
from processing.work.tasks import can_send
from products.feeds import deliveries, runs
from products.feeds.models import Feed, FeedDelivery, FeedDeliveryQuerySet, FeedRun, FeedRunQuerySet

logger = logging.getLogger(__name__)

#: The queue has separate worker threads: a slow feed occupies one for minutes.
FEEDS = "feeds"
#: Fetches of one user at a time, so that slow feeds leave threads for those of others.
MAX_FETCHES_PER_OWNER = 2
#: Fetches of one process at a time: in a cluster its threads are also those of pictures.
MAX_FETCHES = 2
_free = BoundedSemaphore(MAX_FETCHES)


@dramatiq.actor(queue_name=FEEDS)
def fetch_feed(run_id: str) -> None:
    """Fetch the file of a run and submit it."""
    try:
        if not (pipeline.is_worker() and _free.acquire(blocking=False)):
            runs.give_up_turn(uuid.UUID(run_id))
            return
        try:
            run = runs.claim(uuid.UUID(run_id), pipeline.current().worker_id, MAX_FETCHES_PER_OWNER)
            if run:
                attempt(run)
        finally:
            _free.release()
        if run:
            enqueue_waiting()  # those that found no room
    except Exception:
        logger.exception("A message for run %s of a feed failed; it is sent again", run_id)


def enqueue(run_ids: Sequence[uuid.UUID]) -> None:
    """Send a message for each run when the transaction commits.

    It is no error if the broker is down: the schedule sends them later.
    """
    _send_on_commit(fetch_feed, run_ids)


def enqueue_waiting() -> None:
    """Send messages for runs that wait to be fetched and have no recent message."""
    enqueue(_without_message(FeedRun.objects.waiting()))


@dramatiq.actor(queue_name=FEEDS)
def deliver_result(feed_id: str) -> None:
    """Deliver the latest result of a feed."""
    key = uuid.UUID(feed_id)
    try:
        if not (pipeline.is_worker() and _free.acquire(blocking=False)):
            deliveries.give_up_turn(key)
            return
        try:
            if delivery := deliveries.claim(key, pipeline.current().worker_id):
                deliver(delivery)
        finally:
            _free.release()
        if delivery:
            enqueue_waiting_deliveries()  # a later result, and those that found no room
    except Exception:
        logger.exception("A message for the delivery of feed %s failed; it is sent again", feed_id)


def enqueue_deliveries(feed_ids: Sequence[uuid.UUID]) -> None:
    """Send a message for the delivery of each feed when the transaction commits, as `enqueue` does."""
    _send_on_commit(deliver_result, feed_ids)


def enqueue_waiting_deliveries() -> None:
    """Send messages for deliveries that wait and have no recent message."""
    enqueue_deliveries(_without_message(FeedDelivery.objects.waiting()))


def _send_on_commit(actor: dramatiq.Actor[[str], None], keys: Sequence[uuid.UUID]) -> None:
    def send() -> None:
        for key in keys:
            actor.send(str(key))

    transaction.on_commit(send, robust=True)


def _without_message(waiting: FeedRunQuerySet | FeedDeliveryQuerySet) -> list[uuid.UUID]:
    """Return the keys of waiting rows without a recent message, and note that they get one now.

    If several processes call this at the same time, each key is returned to only one of them.
    """
    if not can_send():
        return []
    now = timezone.now()
    rows = waiting.filter(Q(enqueued_at=None) | Q(enqueued_at__lte=now - FETCH_LOST_AFTER))
    found = list(rows.order_by("due_at").values_list("pk", flat=True))
    return [pk for pk in found if rows.filter(pk=pk).update(enqueued_at=now)]


def start_due() -> int:
    """Begin the runs that are due, and tell of those an hour past due. Return the number of new runs.

    If several processes call this at the same time, only one of them begins each run.
    """
    now = timezone.now()
    started = 0
    for feed in Feed.objects.filter(next_run_at__lte=now).order_by("next_run_at"):
        try:
            runs.tell_missed(feed, now)
            started += runs.start_due(feed, now) is not None
        except Exception:
            logger.exception("The run of feed %s that is due could not be started", feed.pk)
    return started
