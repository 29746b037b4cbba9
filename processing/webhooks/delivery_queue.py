"""Deliver: lease the next endpoint, send its due deliveries one after another, and schedule retries.

Owners and receivers have shares of the threads (`processing.webhooks.shares`). So a message means that there
is something to deliver, and that the endpoint that it names is as good as any of the same owner.
"""

import logging
import random
import time
import uuid
from collections.abc import Collection
from datetime import timedelta
from typing import Any

import httpx
from django.conf import settings
from django.core.mail import send_mail
from django.db import connection, transaction
from django.db.models import OuterRef, QuerySet, Subquery
from django.template.loader import render_to_string
from django.utils import timezone

from processing.timing import DELIVERY_SLICE_SECONDS
from processing.webhooks.delivery_attempt import DeliveryAttempt, send
from processing.webhooks.models import DeliveryStatus, WebhookDelivery, WebhookEndpoint
from processing.webhooks.shares import MAX_PER_OWNER, Candidate, InHand
from products.encryption import UnreadableSecret

logger = logging.getLogger(__name__)

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
#: A message that comes before its delivery is due, by no more than clocks of machines differ, is sent again.
MAX_EARLY_SECONDS = 1.0
#: Of the endpoints that wait, those that have waited longest are considered for the next lease.
MAX_CANDIDATES = 1000
#: Key of the advisory lock under which leases are taken one at a time on PostgreSQL.
LEASE_LOCK = 7_268_021


def drain(preferred: uuid.UUID, transport: httpx.AsyncBaseTransport) -> dict[uuid.UUID, float]:
    """Send due deliveries for a slice of time: those of `preferred`, unless another endpoint comes first.

    Return the seconds until the next slice of each endpoint that needs a message for it. There is none for an
    endpoint that another worker holds, that recovery enqueues, or whose owner or receiver has a full share:
    the slices that hold that share go on with what waits.
    """
    ends_at = time.monotonic() + DELIVERY_SLICE_SECONDS
    served: set[uuid.UUID] = set()
    # Again after each release: messages about deliveries that fell due before it found the endpoint leased.
    while endpoint := _lease(preferred):
        served.add(endpoint.pk)
        try:
            _send_due(endpoint, transport, ends_at)
        finally:
            WebhookEndpoint.objects.filter(pk=endpoint.pk).release(endpoint.lease)
        if time.monotonic() >= ends_at:
            return _next_slices(served) | {preferred: 0}
    early = {pk: wait for pk, wait in _next_slices({preferred}).items() if 0 < wait <= MAX_EARLY_SECONDS}
    return early | _next_slices(served)


def retry_delay(failures: int, retry_after: float | None) -> float | None:
    """Return the seconds from the failure with this number, from 1, to the next attempt; None after the last.

    The delay is never shorter than `retry_after`, the seconds that the receiver asked for.
    """
    if failures > len(RETRY_DELAYS_SECONDS):
        return None
    delay = RETRY_DELAYS_SECONDS[failures - 1] * random.uniform(1, 1 + MAX_JITTER)  # noqa: S311 (spreads load)
    return max(delay, retry_after or 0)


def _lease(preferred: uuid.UUID) -> WebhookEndpoint | None:
    """Lease the endpoint that comes next; None if nothing is due that is not leased and has a share left."""
    with transaction.atomic():
        if connection.vendor == "postgresql":  # SQLite has one writer at a time
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LEASE_LOCK])
        while chosen := _next_endpoint(preferred):
            # None if it was meanwhile paused, disabled or deleted: then another one follows.
            if WebhookEndpoint.objects.due().filter(pk=chosen.id).lease():
                return WebhookEndpoint.objects.get(pk=chosen.id)
    return None


def _next_endpoint(preferred: uuid.UUID) -> Candidate | None:
    """Return the endpoint to lease: `preferred` if it is due and no owner with fewer in hand waits."""
    in_hand = InHand.of(_candidates(WebhookEndpoint.objects.leased()))
    due = WebhookEndpoint.objects.due()
    mine = _candidates(due.filter(pk=preferred))
    if mine and not in_hand.owners[mine[0].owner] and in_hand.has_room(mine[0]):
        return mine[0]
    full = [owner for owner, count in in_hand.owners.items() if count >= MAX_PER_OWNER]
    waiting = due.exclude(owner__in=full).order_by(_first_due())
    return in_hand.next(mine + _candidates(waiting[:MAX_CANDIDATES]), preferred)


def _first_due() -> Subquery:
    """Return when the first pending delivery of an endpoint is due, as a term of a query of endpoints."""
    pending = WebhookDelivery.objects.pending().filter(endpoint=OuterRef("pk")).order_by("next_attempt_at")
    return Subquery(pending.values("next_attempt_at")[:1])


def _candidates(endpoints: QuerySet[WebhookEndpoint]) -> list[Candidate]:
    return [Candidate(*row) for row in endpoints.values_list("pk", "owner_id", "url")]


def _send_due(endpoint: WebhookEndpoint, transport: httpx.AsyncBaseTransport, ends_at: float) -> None:
    """Send due deliveries until `ends_at`, until the endpoint is paused or the lease is lost.

    It is lost where this process was stopped for longer than it lasts, and another has taken the endpoint.
    """
    mine = endpoint.deliveries.filter(endpoint__lease=endpoint.lease)
    deliveries = mine.select_related("endpoint").order_by("next_attempt_at")
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


def _next_slices(endpoint_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, float]:
    """Return the seconds until a delivery is due, of those endpoints where that is soon and not leased."""
    endpoints = WebhookEndpoint.objects.filter(pk__in=endpoint_ids, leased_until=None)
    moments = endpoints.annotate(due_at=_first_due()).exclude(due_at=None)
    now = timezone.now()
    waits = {
        pk: max((max(filter(None, [due_at, resume_at])) - now).total_seconds(), 0)
        for pk, due_at, resume_at in moments.values_list("pk", "due_at", "resume_at")
    }
    return {pk: wait for pk, wait in waits.items() if wait <= MAX_MESSAGE_DELAY_SECONDS}
