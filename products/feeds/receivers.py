"""Receivers of the signals of Requests."""

from typing import Any

from django.dispatch import receiver

from products.feeds import runs
from products.lifecycle.signals import request_finished
from products.models import Request


@receiver(request_finished)
def finish_run(batch: Request, **_kwargs: Any) -> None:
    """End the run of a feed with its Request."""
    runs.finish(batch)
