"""What processing does when products announces something."""

from typing import Any

from django.dispatch import receiver

from processing.tasks import dispatch
from products.models import Request
from products.signals import request_submitted


@receiver(request_submitted)
def start_work(batch: Request, **_kwargs: Any) -> None:
    """Send the first messages."""
    dispatch(batch)
