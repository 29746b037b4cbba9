"""Webhook endpoints and deliveries that follow from signals of Requests and of this app's own models."""

import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

from django.db import transaction
from django.dispatch import receiver

from processing.webhooks.events import announce
from processing.webhooks.models import Event, WebhookEndpoint
from processing.webhooks.signals import deliveries_due
from processing.webhooks.tasks import call
from products.lifecycle.signals import request_finished, request_submitted
from products.models import Request


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


@receiver(request_finished)
def tell_receivers(batch: Request, **_kwargs: Any) -> None:
    """Write the deliveries of the Request's end in the transaction that ends it."""
    announce(batch)


@receiver(deliveries_due)
def send_calls(endpoint_ids: Sequence[uuid.UUID], **_kwargs: Any) -> None:
    """Send messages once the transaction is over. A broker that is down is no error."""
    # All in one: where the broker does not answer, that is waited for once.
    transaction.on_commit(partial(call, endpoint_ids), robust=True)
