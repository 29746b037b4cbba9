"""Receivers of the signals of Requests: send messages, log runs."""

import logging
from typing import Any

from django.dispatch import receiver

from processing import logs
from processing.work.tasks import dispatch
from products.lifecycle.signals import request_finished, request_submitted, sweep_started
from products.models import Request

logger = logging.getLogger(__name__)


@receiver([request_submitted, sweep_started])
def send_messages(batch: Request, **_kwargs: Any) -> None:
    """Send the messages for a Request that needs work."""
    dispatch(batch)


@receiver([request_submitted, request_finished])
def log_status(batch: Request, **_kwargs: Any) -> None:
    """Log the start and the end of each run."""
    with logs.about(request_id=batch.pk):
        logger.info(
            "Run %d is %s: %d products, %d of %d images completed, %d failed",
            *(batch.run, batch.status, batch.products_total),
            *(batch.images_completed, batch.images_total, batch.images_failed),
        )
