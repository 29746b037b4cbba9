"""Recovery: rows are the truth, messages are hints. Whatever was lost is found here and sent again.

Safe when many workers run it at once: claims are released under row locks that others skip, and of several
dispatches of one Request in the same epoch only one wins.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Exists, F, Max, OuterRef, Q, QuerySet
from django.utils import timezone

from processing.webhooks.models import WebhookEndpoint
from processing.webhooks.tasks import enqueue_lost_deliveries
from processing.work.tasks import dispatch
from processing.workers.models import Resends, Worker
from products.models import Image, Request

logger = logging.getLogger(__name__)

#: Messages that the queue has passed by so long ago, and nobody works on, are lost. More than a lane's slice.
LOST_AFTER = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a round has done."""

    images_released: int
    requests_sent: int
    endpoints_sent: int


def recover() -> Recovered:
    """One round: release what dead workers held, and send again what nobody works on."""
    released = Image.objects.exclude(claimed_by__in=Worker.objects.alive().values("pk")).release(crashed=True)
    died, _ = Worker.objects.dead().delete()
    if died:
        # Nobody knows whether they were ingesting; one that goes on elsewhere loses a chunk at most.
        Request.objects.active().filter(ingested_rows__lt=F("products_total")).update(dispatched_at=None)
    sent = sum(dispatch(batch) for batch in _stranded())
    if released:
        logger.warning("%d images were in hand of dead workers and are released", released)
    if sent:
        Resends.add(sent)
        logger.info("%d requests had nobody working on them and were sent again", sent)
    return Recovered(released, sent, enqueue_lost_deliveries())


def take_over() -> None:
    """Count all other workers dead and all messages lost: only for who has the database for itself."""
    Worker.objects.all().delete()
    Request.objects.unsettled().update(dispatched_at=None)
    WebhookEndpoint.objects.all().release_leases()


def _stranded() -> QuerySet[Request]:
    """Requests with something to do now, nobody doing it, and no message that is still on its way.

    How long a message waits says nothing when many do. But the queue is first in, first out: where workers
    have come to messages that were sent later, an earlier one is lost.
    """
    lately = timezone.now() - LOST_AFTER
    passed = Worker.objects.alive().aggregate(until=Max("served_until"))["until"]
    images = Image.objects.pending().filter(request=OuterRef("pk"))
    ingest_stopped = Q(ingested_rows__lt=F("products_total")) & (
        Q(last_progress_at=None) | Q(last_progress_at__lt=lately)
    )
    lanes_gone = Exists(images.due()) & ~Exists(images.exclude(claimed_by=None))
    sweep_stopped = ~Q(sweep="")
    to_do = ingest_stopped | lanes_gone | sweep_stopped
    lost = Q(dispatched_at__lt=passed - LOST_AFTER) & to_do if passed else Q(pk=None)
    # Who has waited longest comes first in the queue.
    longest = F("last_progress_at").asc(nulls_first=True)
    return Request.objects.unsettled().filter(Q(dispatched_at=None) | lost).order_by(longest)
