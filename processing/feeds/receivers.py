"""Receivers of the signals of feeds."""

from typing import Any

from django.dispatch import receiver
from django.utils import timezone

from processing.feeds.tasks import enqueue
from processing.work.tasks import can_send
from products.feeds.models import FeedRun
from products.feeds.signals import run_started


@receiver(run_started)
def fetch(run: FeedRun, **_kwargs: Any) -> None:
    """Send the message for a run that has begun."""
    if can_send():
        FeedRun.objects.filter(pk=run.pk).update(enqueued_at=timezone.now())
        enqueue([run.pk])
