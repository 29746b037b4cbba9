"""The actor that delivers webhooks. Its message carries an endpoint's id."""

import logging
import uuid
from collections.abc import Iterable

import dramatiq

from processing.webhooks.delivering import drain
from processing.webhooks.sending import shared_client
from processing.work.tasks import can_send

logger = logging.getLogger(__name__)
#: A queue alone isolates nothing: it has workers of its own, whom slow receivers may hold up.
WEBHOOKS = "webhooks"


@dramatiq.actor(queue_name=WEBHOOKS)
def deliver(endpoint_id: str) -> None:
    """Deliver to an endpoint for a slice of time, then go to the end of the queue."""
    try:
        delay = drain(uuid.UUID(endpoint_id), shared_client())
        if delay is not None:
            deliver.send_with_options(args=(endpoint_id,), delay=round(delay * 1000) or None)
    except Exception:
        logger.exception("Deliveries to %s stopped; recovery takes them up again", endpoint_id)


def call(endpoint_ids: Iterable[uuid.UUID]) -> None:
    """Send the messages that let due deliveries to these endpoints go out; if it cannot, recovery will."""
    if can_send():
        for endpoint_id in endpoint_ids:
            deliver.send(str(endpoint_id))
