"""Deliver to one endpoint: lease it, send its due deliveries one after another, and schedule retries."""

import logging
import random
import time
import uuid
from datetime import datetime, timedelta
from typing import Any

import httpx
from django.conf import settings
from django.core.mail import send_mail
from django.db.models import Min
from django.template.loader import render_to_string
from django.utils import timezone

from processing.timing import DELIVERY_LEASE_MARGIN_SECONDS
from processing.webhooks.delivery_attempt import DeliveryAttempt, send
from processing.webhooks.models import DeliveryStatus, WebhookDelivery, WebhookEndpoint
from processing.webhooks.secrets import UnreadableSecret

logger = logging.getLogger(__name__)

#: A turn ends after this time, so that no endpoint occupies a worker thread for long.
SLICE_SECONDS = 5
#: Longer delays are left to recovery, because delayed messages of a killed worker come back late.
MAX_MESSAGE_DELAY_SECONDS = 60

_MINUTE, _HOUR = 60.0, 3600.0
#: Delays from each failed attempt to the next, by Standard Webhooks 1.0: ten attempts within 76 hours.
RETRY_DELAYS_SECONDS = (
    *(5.0, 5 * _MINUTE, 30 * _MINUTE),
    *(2 * _HOUR, 5 * _HOUR, 10 * _HOUR, 14 * _HOUR, 20 * _HOUR, 24 * _HOUR),
)
#: A random share of each delay, up to this, is added to spread the retries of simultaneous failures.
MAX_JITTER = 0.2
#: An overloaded endpoint is paused for at most this time, unless its Retry-After is longer.
MAX_PAUSE_SECONDS = 60.0
#: An endpoint to which every attempt has failed for this long is disabled.
DISABLE_AFTER = timedelta(days=5)
GONE_REASON = "It responded with 410 Gone."
FAILING_REASON = "All deliveries to it have failed for five days."


def drain(endpoint_id: uuid.UUID, transport: httpx.AsyncBaseTransport) -> float | None:
    """Send the due deliveries of an endpoint for a slice of time, unless another worker holds its lease.

    Return the seconds until the next turn, or None if there is no need for one or recovery will enqueue it.
    """
    ends_at = time.monotonic() + SLICE_SECONDS
    # Again after each release: messages about deliveries that fell due before it found the endpoint leased.
    while endpoint := _lease(endpoint_id):
        try:
            _send_due(endpoint, transport, ends_at)
        finally:
            held = WebhookEndpoint.objects.filter(pk=endpoint_id, leased_until=endpoint.leased_until)
            held.update(leased_until=None)
        if time.monotonic() >= ends_at:
            return 0
    return _seconds_to_next_turn(endpoint_id)


def retry_delay(failures: int, retry_after: float | None) -> float | None:
    """Return the seconds from the failure with this number, from 1, to the next attempt; None after the last.

    The delay is never shorter than `retry_after`, the seconds that the receiver asked for.
    """
    if failures > len(RETRY_DELAYS_SECONDS):
        return None
    delay = RETRY_DELAYS_SECONDS[failures - 1] * random.uniform(1, 1 + MAX_JITTER)  # noqa: S311 (spreads load)
    return max(delay, retry_after or 0)


def _lease(endpoint_id: uuid.UUID) -> WebhookEndpoint | None:
    """Lease an endpoint that has due deliveries; None if it has none or another worker holds the lease."""
    seconds = SLICE_SECONDS + settings.WEBHOOK_TIMEOUT + DELIVERY_LEASE_MARGIN_SECONDS
    due = WebhookEndpoint.objects.due().filter(pk=endpoint_id)
    if not due.update(leased_until=timezone.now() + timedelta(seconds=seconds)):
        return None
    return WebhookEndpoint.objects.filter(pk=endpoint_id).first()


def _send_due(endpoint: WebhookEndpoint, transport: httpx.AsyncBaseTransport, ends_at: float) -> None:
    """Send due deliveries until `ends_at` or until the endpoint is paused."""
    deliveries = endpoint.deliveries.select_related("endpoint").order_by("next_attempt_at")
    while time.monotonic() < ends_at and (delivery := deliveries.due().first()):
        attempt = _attempt(delivery, transport)
        delay = None if attempt.is_gone else retry_delay(delivery.failures + 1, attempt.retry_after)
        _record(delivery, attempt, delay)
        if attempt.succeeded:
            if delivery.endpoint.failing_since:
                WebhookEndpoint.objects.filter(pk=endpoint.pk).update(failing_since=None)
            continue
        pause = 0.0
        if attempt.is_overloaded:
            pause = max(attempt.retry_after or 0, min(delay or MAX_PAUSE_SECONDS, MAX_PAUSE_SECONDS))
        _record_failure(delivery.endpoint, attempt, pause)
        if pause:
            return


def _attempt(delivery: WebhookDelivery, transport: httpx.AsyncBaseTransport) -> DeliveryAttempt:
    try:
        secrets = delivery.endpoint.signing_secrets
    except UnreadableSecret:
        logger.exception("The secret of webhook endpoint %s cannot be decrypted", delivery.endpoint_id)
        return DeliveryAttempt(timezone.now(), error="secret")
    return send(transport, delivery.endpoint.url, secrets, str(delivery.pk), delivery.body)


def _record(delivery: WebhookDelivery, attempt: DeliveryAttempt, delay: float | None) -> None:
    """Store an attempt. After a failure the next one is due in `delay` seconds; if None, the delivery failed.

    A success counts even if the delivery is no longer pending. A failure then only adds the attempt.
    """
    attempts = [*delivery.attempts, attempt.as_json()]
    row = WebhookDelivery.objects.filter(pk=delivery.pk)
    if attempt.succeeded:
        row.update(attempts=attempts, status=DeliveryStatus.DELIVERED, next_attempt_at=None)
        return
    outcome: dict[str, Any] = {"failures": delivery.failures + 1}
    if delay is None:
        outcome.update(status=DeliveryStatus.FAILED, next_attempt_at=None)
    else:
        outcome.update(next_attempt_at=timezone.now() + timedelta(seconds=delay))
    if not row.pending().update(attempts=attempts, **outcome):
        row.update(attempts=attempts)


def _record_failure(endpoint: WebhookEndpoint, attempt: DeliveryAttempt, pause: float) -> None:
    """Pause the endpoint for `pause` seconds; disable it if it is gone or has failed for too long."""
    now = timezone.now()
    row = WebhookEndpoint.objects.filter(pk=endpoint.pk)
    if endpoint.failing_since is None:
        row.filter(failing_since=None).update(failing_since=now)
    if pause:
        row.update(resume_at=now + timedelta(seconds=pause))
    has_failed_too_long = endpoint.failing_since is not None and now - endpoint.failing_since >= DISABLE_AFTER
    if not (attempt.is_gone or has_failed_too_long):
        return
    if endpoint.disable(GONE_REASON if attempt.is_gone else FAILING_REASON):
        logger.warning("Webhook endpoint %s was disabled: %s", endpoint.pk, endpoint.disabled_reason)
        _notify_owner(endpoint)


def _notify_owner(endpoint: WebhookEndpoint) -> None:
    """Send an e-mail to the owner of a disabled endpoint, if the address is known. Log errors."""
    if not endpoint.owner.email:
        return
    page = f"{settings.PUBLIC_URL}{endpoint.get_absolute_url()}"
    text = render_to_string("webhooks/endpoint_disabled.txt", {"endpoint": endpoint, "page": page})
    try:
        send_mail("Your webhook endpoint was disabled", text, None, [endpoint.owner.email])
    except OSError:  # the base class of smtplib's errors
        logger.exception("The e-mail to the owner of webhook endpoint %s could not be sent", endpoint.pk)


def _seconds_to_next_turn(endpoint_id: uuid.UUID) -> float | None:
    """Return the seconds until a delivery is due, if that is soon and no other worker holds the lease."""
    endpoint = WebhookEndpoint.objects.filter(pk=endpoint_id, leased_until=None).first()
    if endpoint is None:
        return None
    moment: datetime | None = endpoint.deliveries.pending().aggregate(next=Min("next_attempt_at"))["next"]
    if moment is None:
        return None
    wait = (max(filter(None, [moment, endpoint.resume_at])) - timezone.now()).total_seconds()
    return max(wait, 0) if wait <= MAX_MESSAGE_DELAY_SECONDS else None
