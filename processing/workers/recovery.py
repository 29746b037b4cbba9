"""Recovery: releases claims of dead workers and sends lost messages again.

The rows say what is to be done, messages only speed it up: the broker's whole content may be lost.
Safe when many workers run it at once: claims are released under row locks that others skip, and of several
dispatches of one Request in the same epoch only one succeeds.
"""

import logging
from dataclasses import dataclass

from django.db.models import Exists, F, Max, OuterRef, Q, QuerySet
from django.utils import timezone

from processing.timing import MESSAGE_LOST_AFTER
from processing.webhooks.models import WebhookEndpoint
from processing.webhooks.tasks import enqueue_lost_deliveries
from processing.work.claim import release
from processing.work.tasks import dispatch
from processing.workers.models import Maintenance, Worker
from products.models import Image, Request

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recovered:
    """Counts of one round."""

    images_released: int
    requests_sent: int
    endpoints_sent: int


def recover() -> Recovered:
    """Run one round: release the claims of dead workers, and resend messages for work that has stopped."""
    released = release(
        Image.objects.exclude(claimed_by__in=Worker.objects.alive().values("pk")), crashed=True
    )
    died, _ = Worker.objects.dead().delete()
    if died:
        # They may have been ingesting. An ingest that goes on in another worker loses a chunk at most.
        Request.objects.active().filter(ingested_rows__lt=F("products_total")).update(dispatched_at=None)
    sent = sum(dispatch(batch) for batch in _stranded())
    if released:
        logger.warning("Released %d images claimed by dead workers", released)
    if sent:
        Maintenance.count_resent(sent)
        logger.info("Sent messages again for %d requests that no worker was working on", sent)
    return Recovered(released, sent, enqueue_lost_deliveries())


def take_over() -> None:
    """Treat all other workers as dead and all messages as lost. Only for the sole user of a database."""
    Worker.objects.all().delete()
    Request.objects.unsettled().update(dispatched_at=None)
    WebhookEndpoint.objects.all().release_leases()


def _stranded() -> QuerySet[Request]:
    """Return Requests with work to do now that no worker does, and no message still in the queue.

    The age of a message does not tell whether it is lost, since a full queue delays all. But the queue is
    first in, first out: if workers have received messages that were sent later, an earlier one is lost.
    """
    recently = timezone.now() - MESSAGE_LOST_AFTER
    passed = Worker.objects.alive().aggregate(until=Max("served_until"))["until"]
    images = Image.objects.pending().filter(request=OuterRef("pk"))
    ingest_stopped = Q(ingested_rows__lt=F("products_total")) & (
        Q(last_progress_at=None) | Q(last_progress_at__lt=recently)
    )
    lanes_gone = Exists(images.due()) & ~Exists(images.exclude(claimed_by=None))
    sweep_stopped = ~Q(sweep="")
    to_do = ingest_stopped | lanes_gone | sweep_stopped
    lost = Q(dispatched_at__lt=passed - MESSAGE_LOST_AFTER) & to_do if passed else Q(pk=None)
    # Those that have waited longest are sent first.
    longest = F("last_progress_at").asc(nulls_first=True)
    return Request.objects.unsettled().filter(Q(dispatched_at=None) | lost).order_by(longest)
