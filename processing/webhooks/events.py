"""Events: publish them, send tests, redeliver.

Deliveries are written in the transaction that makes their event true (an outbox); messages follow on commit.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from rest_framework.renderers import JSONRenderer

from processing.webhooks.chat import BODIES, message_of
from processing.webhooks.models import DeliveryStatus, Event, Kind, WebhookDelivery, WebhookEndpoint
from processing.webhooks.tasks import enqueue_deliveries
from products.api.serializers import RequestSerializer
from products.feeds.models import Feed
from products.feeds.serializers import FeedDataSerializer
from products.models import Request, Run


def publish(batch: Request, run: Run) -> None:
    """Write a delivery of the end of a Request's latest run for each subscribed endpoint, once.

    Call it in the transaction that ends the run. A delivery to a disabled endpoint is written as missed.
    """
    event = Event.CANCELED if run.canceled else Event.COMPLETED
    data = RequestSerializer(batch).data
    moment = batch.finished_at or timezone.now()
    endpoints = WebhookEndpoint.objects.subscribed_to(batch, event)
    _write_deliveries(endpoints, event, moment, data, batch.get_absolute_url(), request=batch, run=batch.run)


def publish_feed(feed: Feed, event: str) -> None:
    """Write a delivery of an event of a feed for each subscribed endpoint.

    Call it in the transaction that makes the event true.
    """
    data = FeedDataSerializer(feed).data
    endpoints = WebhookEndpoint.objects.subscribed_to_feeds(feed.owner_id, event)
    _write_deliveries(endpoints, event, timezone.now(), data, feed.get_absolute_url())


def _write_deliveries(
    endpoints: Sequence[WebhookEndpoint],
    event: str,
    moment: datetime,
    data: Mapping[str, Any],
    page: str,
    **fields: Any,
) -> None:
    rows = [
        WebhookDelivery(
            endpoint=endpoint, event=event, payload=_body(endpoint, event, moment, data, page), **fields
        )
        for endpoint in endpoints
    ]
    for row in rows:
        if not row.endpoint.enabled:
            row.status, row.next_attempt_at = DeliveryStatus.MISSED, None
    WebhookDelivery.objects.bulk_create(rows, ignore_conflicts=True)
    enqueue_deliveries([endpoint.pk for endpoint in endpoints if endpoint.enabled])


def republish(batch: Request) -> int:
    """Redeliver the event of a Request's end, with the same id, and return the number of deliveries.

    Endpoints that have subscribed since receive it for the first time. 0 while the Request is active.
    """
    with transaction.atomic():
        ended = Request.objects.locked().filter(pk=batch.pk, status__in=Request.FINISHED).first()
        if ended is None:
            return 0
        publish(ended, ended.runs.get(number=ended.run))
        return redeliver_all(ended.webhook_deliveries.filter(run=ended.run))


def send_test_event(endpoint: WebhookEndpoint) -> WebhookDelivery | None:
    """Send a test event to an endpoint; None if it is disabled."""
    data = {"endpoint_id": endpoint.pk, "message": "This is a test event."}
    with transaction.atomic():
        if not WebhookEndpoint.objects.filter(pk=endpoint.pk).lock_enabled().first():
            return None
        body = _body(endpoint, Event.TEST, timezone.now(), data, endpoint.get_absolute_url())
        delivery = WebhookDelivery.objects.create(endpoint=endpoint, event=Event.TEST, payload=body)
        _deliver_now([endpoint.pk])
        return delivery


def redeliver(delivery: WebhookDelivery) -> bool:
    """Send a delivery now, with its id and a new retry schedule. False if its endpoint is disabled."""
    count = redeliver_all(WebhookDelivery.objects.filter(pk=delivery.pk))
    delivery.refresh_from_db()
    return count == 1


def redeliver_all(deliveries: QuerySet[WebhookDelivery]) -> int:
    """Send the deliveries to enabled endpoints now, each with a new retry schedule. Return their number."""
    with transaction.atomic():
        named = WebhookEndpoint.objects.filter(pk__in=set(deliveries.values_list("endpoint", flat=True)))
        endpoint_ids = [endpoint.pk for endpoint in named.lock_enabled()]
        count = deliveries.filter(endpoint__in=endpoint_ids).update(
            status=DeliveryStatus.PENDING, next_attempt_at=timezone.now(), failures=0
        )
        _deliver_now(endpoint_ids)
        return count


def _body(endpoint: WebhookEndpoint, event: str, moment: datetime, data: Mapping[str, Any], page: str) -> str:
    """Return the body of a message in the form that the endpoint takes."""
    if endpoint.kind == Kind.STANDARD:
        return payload(event, moment, data)
    message = message_of(event, data, f"{settings.PUBLIC_URL}{page}")
    return json.dumps(BODIES[endpoint.kind](message), ensure_ascii=False)


def payload(event: str, moment: datetime, data: Mapping[str, Any]) -> str:
    """Return the body of a message about an event that happened at `moment`."""
    body: bytes = JSONRenderer().render({"type": event, "timestamp": moment, "data": data})
    return body.decode()


def _deliver_now(endpoint_ids: Sequence[uuid.UUID]) -> None:
    """Enqueue endpoints, even those that are paused."""
    WebhookEndpoint.objects.filter(pk__in=endpoint_ids).update(resume_at=None)
    enqueue_deliveries(endpoint_ids)
