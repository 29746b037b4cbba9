"""What processing does when products or its own models announce something."""

import logging
from typing import Any

from django.dispatch import receiver

from processing import logs
from processing.work.tasks import dispatch
from products.lifecycle.signals import request_finished, request_submitted
from products.models import Request

logger = logging.getLogger(__name__)


@receiver(request_submitted)
def start_work(batch: Request, **_kwargs: Any) -> None:
    """Send the first messages."""
    dispatch(batch)


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
