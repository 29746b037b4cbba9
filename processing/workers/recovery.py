"""Recovery: release the claims of dead workers, send lost messages again, and start the feeds that are due.

All messages can be sent again from the rows, so the broker may lose its whole content.
It is safe when many workers run it at once: claims are released under row locks that others skip, and of
several dispatches of one Request in the same epoch only one succeeds.
"""

import logging
from dataclasses import dataclass

from django.db.models import Exists, F, Min, OuterRef, Q, QuerySet
from django.utils import timezone

from processing.feeds import tasks as feeds
from processing.timing import MESSAGE_LOST_AFTER
from processing.webhooks.models import WebhookEndpoint
from processing.webhooks.tasks import enqueue_lost_deliveries
from processing.work import pipeline
from processing.work.claim import release
from processing.work.models import Trial
from processing.work.tasks import dispatch
from processing.workers.models import Maintenance, Worker
from products.feeds import deliveries, runs
from products.feeds.models import FeedDelivery, FeedRun
from products.models import Image, Request

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recovered:
    """Counts of one round of recovery."""

    images_released: int
    requests_sent: int
    endpoints_sent: int


def recover() -> Recovered:
    """Run one round: release the claims of dead workers, and send messages for what has stopped or is due.

    Trials that have expired are deleted.
    """
    alive, dead = Worker.objects.alive(), Worker.objects.dead()
    claimed = Image.objects.exclude(claimed_by__in=alive.values("pk"))
    if pipeline.is_worker():
        # This process lives, even if it was stopped for so long that its last heartbeat is too old.
        claimed = claimed.exclude(claimed_by=pipeline.current().worker_id)
        dead = dead.exclude(pk=pipeline.current().worker_id)
    released = release(claimed, crashed=True)
    living = set(alive.values_list("pk", flat=True))
    if pipeline.is_worker():
        living.add(pipeline.current().worker_id)
    runs.release(living)
    deliveries.release(living)
    runs.end_deleted()
    died, _ = dead.delete()
    if died:
        # They may have been ingesting. An ingest that goes on in another worker loses a chunk at most.
        Request.objects.active().filter(ingested_rows__lt=F("products_total")).update(dispatched_at=None)
    sent = sum(dispatch(batch) for batch in _stranded())
    if released:
        logger.warning("Released %d images claimed by dead workers", released)
    if sent:
        Maintenance.count_resent(sent)
        logger.info("Sent the messages of %d requests again, because no worker was working on them", sent)
    Trial.objects.delete_expired()
    feeds.start_due()
    feeds.enqueue_waiting()
    feeds.enqueue_waiting_deliveries()
    return Recovered(released, sent, enqueue_lost_deliveries())


def take_over() -> None:
    """Treat all workers as dead and all messages as lost. No other process may use the database."""
    Worker.objects.all().delete()
    Request.objects.unsettled().update(dispatched_at=None)
    WebhookEndpoint.objects.all().release_leases()
    runs.release([])
    FeedRun.objects.fetching().update(enqueued_at=None)
    FeedDelivery.objects.update(claimed_by=None, enqueued_at=None)


def _stranded() -> QuerySet[Request]:
    """Return Requests that have work to do now, but no worker and no message in the queue.

    A message may be old and still not lost, because a full queue delays all. But the queue is first in, first
    out: if workers have received messages that were sent later, an earlier one is lost.
    """
    recently = timezone.now() - MESSAGE_LOST_AFTER
    passed = Worker.objects.alive().aggregate(until=Min("served_until"))["until"]
    images = Image.objects.pending().filter(request=OuterRef("pk"))
    ingest_stopped = Q(ingested_rows__lt=F("products_total")) & (
        Q(last_progress_at=None) | Q(last_progress_at__lt=recently)
    )
    lanes_gone = Exists(images.due()) & ~Exists(images.exclude(claimed_by=None))
    sweep_stopped = ~Q(sweep="")
    to_do = ingest_stopped | lanes_gone | sweep_stopped
    lost = Q(dispatched_at__lt=passed - MESSAGE_LOST_AFTER) & to_do if passed else Q(pk=None)
    # The longest waiting first.
    longest = F("last_progress_at").asc(nulls_first=True)
    return Request.objects.unsettled().filter(Q(dispatched_at=None) | lost).order_by(longest)
