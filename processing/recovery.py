"""Recovery: rows are the truth, messages are hints. Whatever was lost is found here and sent again.

Safe when many workers run it at once: claims are released under row locks that others skip, and of several
dispatches of one Request in the same epoch only one wins.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from processing.models import Worker
from processing.tasks import dispatch
from products.models import Image, Request

logger = logging.getLogger(__name__)

#: A Request that has had no messages for so long, though there is something to do, has lost them.
LOST_AFTER = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a round has done."""

    images_released: int
    requests_sent: int


def recover() -> Recovered:
    """One round: release what dead workers held, and send again what nobody works on."""
    released = Image.objects.exclude(claimed_by__in=Worker.objects.alive().values("pk")).release(crashed=True)
    Worker.objects.dead().delete()
    sent = sum(dispatch(batch) for batch in _stranded())
    if released:
        logger.warning("%d images were in hand of dead workers and are released", released)
    if sent:
        logger.info("%d requests had nobody working on them and were sent again", sent)
    return Recovered(released, sent)


def take_over() -> None:
    """Count all other workers dead and all messages lost: only for who holds the lock on DATA_DIR."""
    Worker.objects.all().delete()
    Request.objects.unsettled().update(dispatched_at=None)


def _stranded() -> QuerySet[Request]:
    """Active Requests with something to do now, nobody doing it, and no message sent lately."""
    lately = timezone.now() - LOST_AFTER
    images = Image.objects.pending().filter(request=OuterRef("pk"))
    ingest_stopped = Q(ingested_rows__lt=F("products_total")) & (
        Q(last_progress_at=None) | Q(last_progress_at__lt=lately)
    )
    lanes_gone = Exists(images.due()) & ~Exists(images.exclude(claimed_by=None))
    sweep_stopped = ~Q(sweep="")
    to_do = ingest_stopped | lanes_gone | sweep_stopped
    silent = Q(dispatched_at=None) | Q(dispatched_at__lt=lately) & to_do
    # Where messages only wait in a queue that is long, who has waited longest comes first in the new one.
    return Request.objects.unsettled().filter(silent).order_by(F("last_progress_at").asc(nulls_first=True))
