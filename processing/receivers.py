"""What processing does when products announces something."""

from typing import Any

from django.conf import settings
from django.dispatch import receiver

from processing import embedded
from processing.tasks import dispatch
from products.models import Request
from products.signals import request_submitted


@receiver(request_submitted)
def start_work(batch: Request, **_kwargs: Any) -> None:
    """Send the first messages. Embedded, only where the worker is: in another process it finds the rows."""
    if not settings.EMBEDDED or embedded.is_running():
        dispatch(batch)
