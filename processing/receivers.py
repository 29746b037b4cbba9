"""What processing does when products or its own models announce something."""

import logging
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

from django.db import transaction
from django.dispatch import receiver

from processing import logs
from processing.models import Event, WebhookEndpoint
from processing.signals import deliveries_due
from processing.tasks import call, dispatch
from processing.webhooks.events import announce
from products.models import Request
from products.signals import request_finished, request_submitted

logger = logging.getLogger(__name__)


@receiver(request_submitted)
def start_work(batch: Request, **_kwargs: Any) -> None:
    """Send the first messages."""
    dispatch(batch)


@receiver(request_submitted)
def add_endpoint(batch: Request, **_kwargs: Any) -> None:
    """Make the endpoint that the upload has named, with a secret of its own; at the upload only."""
    if batch.webhook_url and batch.run == 1 and batch.is_active:
        WebhookEndpoint.objects.create(
            owner=batch.owner,
            request=batch,
            url=batch.webhook_url,
            events=[Event.COMPLETED, Event.CANCELED],
            description=f"For {batch.filename[:180]} alone",
        )


@receiver(request_submitted)
@receiver(request_finished)
def note(batch: Request, **_kwargs: Any) -> None:
    """A line in the log for each turn of a Request."""
    with logs.about(request_id=batch.pk):
        logger.info(
            "Run %d is %s: %d products, %d of %d images completed, %d failed",
            *(batch.run, batch.status, batch.products_total),
            *(batch.images_completed, batch.images_total, batch.images_failed),
        )


@receiver(request_finished)
def tell_receivers(batch: Request, **_kwargs: Any) -> None:
    """Write the deliveries of the Request's end in the transaction that ends it."""
    announce(batch)


@receiver(deliveries_due)
def send_calls(endpoint_ids: Sequence[uuid.UUID], **_kwargs: Any) -> None:
    """Send messages once the transaction is over. A broker that is down is no error."""
    # All in one: where the broker does not answer, that is waited for once.
    transaction.on_commit(partial(call, endpoint_ids), robust=True)
