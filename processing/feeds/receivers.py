"""Receivers of the signals of feeds."""

from typing import Any
from uuid import UUID

from django.dispatch import receiver
from django.utils import timezone

from processing.feeds.tasks import enqueue, enqueue_deliveries
from processing.work.tasks import can_send
from products.feeds.models import FeedDelivery, FeedRun
from products.feeds.signals import delivery_planned, run_started


@receiver(run_started)
def fetch(run: FeedRun, **_kwargs: Any) -> None:
    """Send the message for a run that has begun."""
    if can_send():
        FeedRun.objects.filter(pk=run.pk).update(enqueued_at=timezone.now())
        enqueue([run.pk])


@receiver(delivery_planned)
def deliver(feed_id: UUID, **_kwargs: Any) -> None:
    """Send the message for a delivery that is planned."""
    if can_send():
        FeedDelivery.objects.filter(pk=feed_id).update(enqueued_at=timezone.now())
        enqueue_deliveries([feed_id])
