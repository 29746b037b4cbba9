"""An endpoint's turn: its due deliveries go out one after another, for a slice of time."""

import logging
import time
import uuid
from datetime import datetime

import httpx
from django.db.models import Min
from django.utils import timezone

from processing.webhooks.models import SLICE_SECONDS, WebhookDelivery, WebhookEndpoint
from processing.webhooks.notices import tell_owner
from processing.webhooks.schedule import delay_after, pause_after
from processing.webhooks.secrets import SealBroken
from processing.webhooks.sending import Attempt, send

logger = logging.getLogger(__name__)

#: Delayed messages of a worker that is killed come back late, so longer waits are left to recovery.
LONGEST_WAIT_SECONDS = 60
GONE = "It answered 410 Gone."
FAILING = "Nothing has got through to it for five days."


def drain(endpoint_id: uuid.UUID, client: httpx.Client) -> float | None:
    """Deliver what is due to an endpoint, unless somebody else is at it.

    Returns the seconds after which to come again; None where that is not needed, or recovery's to see to.
    """
    ends_at = time.monotonic() + SLICE_SECONDS
    # Again and again: what falls due just before the release has sent its message already.
    while endpoint := WebhookDelivery.objects.take_endpoint(endpoint_id):
        try:
            _deliver_due(endpoint, client, ends_at)
        finally:
            endpoint.release()
        if time.monotonic() >= ends_at:
            return 0
    return _next_turn(endpoint_id)


def _deliver_due(endpoint: WebhookEndpoint, client: httpx.Client, ends_at: float) -> None:
    due = endpoint.deliveries.select_related("endpoint").order_by("next_attempt_at")
    while time.monotonic() < ends_at and (delivery := due.due().first()):
        attempt = _attempt(delivery, client)
        delay = None if attempt.is_gone else delay_after(delivery.failures + 1, attempt.retry_after)
        delivery.record(attempt, delay)
        if attempt.succeeded:
            delivery.endpoint.note_success()
        elif _failed(delivery.endpoint, attempt, delay):
            return


def _attempt(delivery: WebhookDelivery, client: httpx.Client) -> Attempt:
    try:
        secrets = delivery.endpoint.secrets
    except SealBroken:
        logger.exception("The secret of webhook endpoint %s cannot be read", delivery.endpoint_id)
        return Attempt(timezone.now(), 0, error="secret")
    return send(client, delivery.endpoint.url, secrets, str(delivery.pk), delivery.body)


def _failed(endpoint: WebhookEndpoint, attempt: Attempt, delay: float | None) -> bool:
    """Draw the consequences for the endpoint; whether it is to be left alone."""
    pause = pause_after(delay, attempt.retry_after) if attempt.is_in_trouble else 0
    is_given_up = endpoint.note_failure(pause)
    if (attempt.is_gone or is_given_up) and endpoint.disable(GONE if attempt.is_gone else FAILING):
        tell_owner(endpoint)
    return bool(pause)


def _next_turn(endpoint_id: uuid.UUID) -> float | None:
    """Seconds until something falls due, if that is soon and nobody has the endpoint in hand."""
    endpoint = WebhookEndpoint.objects.filter(pk=endpoint_id, leased_until=None).first()
    if endpoint is None:
        return None
    moment: datetime | None = endpoint.deliveries.pending().aggregate(next=Min("next_attempt_at"))["next"]
    if moment is None:
        return None
    wait = (max(filter(None, [moment, endpoint.resume_at])) - timezone.now()).total_seconds()
    return max(wait, 0) if wait <= LONGEST_WAIT_SECONDS else None
