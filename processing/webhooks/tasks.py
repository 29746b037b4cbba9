"""The actor that delivers webhooks, and the functions that enqueue its messages, which carry endpoint ids."""

import logging
import math
import uuid
from collections.abc import Sequence

import dramatiq
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from processing import loop
from processing.timing import DELIVERY_LOST_AFTER
from processing.webhooks.delivery_attempt import shared_transport
from processing.webhooks.delivery_queue import drain
from processing.webhooks.models import WebhookEndpoint
from processing.work.tasks import can_send

logger = logging.getLogger(__name__)

#: The queue has separate worker threads: in shared ones, slow receivers would delay pictures.
WEBHOOKS = "webhooks"


@dramatiq.actor(queue_name=WEBHOOKS)
def deliver(endpoint_id: str) -> None:
    """Send due deliveries of this endpoint for a slice of time, or of another one that `drain` puts first.

    Enqueue a message for each endpoint that needs a further slice.
    """
    try:
        for following, delay in drain(uuid.UUID(endpoint_id), loop.call(shared_transport)).items():
            # Rounded up: a message that comes before its delivery is due finds nothing to do.
            delay_ms = math.ceil(delay * 1000) + 1 if delay else None
            deliver.send_with_options(args=(str(following),), delay=delay_ms)
    except Exception:
        logger.exception("Deliveries to %s stopped; recovery enqueues them again", endpoint_id)


def enqueue_deliveries(endpoint_ids: Sequence[uuid.UUID]) -> None:
    """Enqueue a slice for each endpoint when the transaction commits.

    It is no error if the broker is down or this process cannot send: recovery enqueues them later.
    """

    def send() -> None:
        if can_send():
            for endpoint_id in endpoint_ids:
                deliver.send(str(endpoint_id))

    # One callback for all, so that a broker that does not respond is waited for once.
    transaction.on_commit(send, robust=True)


def enqueue_lost_deliveries() -> int:
    """Enqueue endpoints that have due deliveries and no recent message. Return their number.

    They are due for late retries, which have no messages, or their message was lost by a killed worker or
    broker. If several processes call this at the same time, only one of them enqueues each endpoint.
    """
    if not can_send():
        return 0
    now = timezone.now()
    recent = now - DELIVERY_LOST_AFTER
    lost = WebhookEndpoint.objects.due().filter(Q(enqueued_at=None) | Q(enqueued_at__lte=recent))
    found = list(lost.values_list("pk", flat=True))
    claimed = [pk for pk in found if lost.filter(pk=pk).update(enqueued_at=now)]
    enqueue_deliveries(claimed)
    return len(claimed)
