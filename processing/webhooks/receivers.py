"""Receivers of the signals of Requests."""

from typing import Any

from django.dispatch import receiver

from processing.webhooks.events import publish, publish_feed
from processing.webhooks.models import Event, WebhookEndpoint
from products.feeds.models import Feed
from products.feeds.signals import alerted
from products.lifecycle.signals import request_finished, request_submitted
from products.models import Request, Run


@receiver(request_submitted)
def create_endpoint(batch: Request, **_kwargs: Any) -> None:
    """Create the endpoint that an upload names by `webhook_url`. Retries send the signal in later runs."""
    if batch.webhook_url and batch.run == 1:
        WebhookEndpoint.objects.create(
            owner=batch.owner,
            request=batch,
            url=batch.webhook_url,
            events=[Event.COMPLETED, Event.CANCELED],
            description=f"Only for {batch.filename[:180]}",
        )


@receiver(request_finished)
def publish_end(batch: Request, run: Run, **_kwargs: Any) -> None:
    """Publish the end of a run in the transaction that ends it."""
    publish(batch, run)


@receiver(alerted)
def publish_alert(feed: Feed, event: str, **_kwargs: Any) -> None:
    """Publish an event of a feed in the transaction that makes it true."""
    publish_feed(feed, event)
