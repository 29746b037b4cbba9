"""What receivers are told: the bodies of messages, and who gets them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone
from rest_framework.renderers import JSONRenderer

from processing.webhooks.models import Event, WebhookDelivery, WebhookEndpoint
from products.api.serializers import RequestSerializer
from products.models import Request, RequestStatus


def announce(batch: Request) -> None:
    """Write the deliveries of a Request's end, in the transaction that ends it."""
    event = Event.CANCELED if batch.status == RequestStatus.CANCELED else Event.COMPLETED
    moment = batch.finished_at or timezone.now()
    WebhookDelivery.objects.write(event, payload(event, moment, RequestSerializer(batch).data), batch)


def announce_again(batch: Request) -> int:
    """Let the message of a Request's end go out again, with its id, to every enabled endpoint; how many.

    Also to such as were not there at the end, for the first time. None while the Request is at work.
    """
    with transaction.atomic():
        ended = Request.objects.locked().filter(pk=batch.pk, status__in=Request.FINISHED).first()
        if ended is None:
            return 0
        announce(ended)
        return ended.webhook_deliveries.filter(run=ended.run).redeliver()


def ping(endpoint: WebhookEndpoint) -> WebhookDelivery | None:
    """Send a test to an endpoint; None where it is disabled."""
    data = {"endpoint_id": endpoint.pk, "message": "A test. Nothing has happened."}
    with transaction.atomic():
        if not WebhookEndpoint.objects.filter(pk=endpoint.pk).enabled_and_locked().first():
            return None
        body = payload(Event.TEST, timezone.now(), data)
        delivery = WebhookDelivery.objects.create(endpoint=endpoint, event=Event.TEST, payload=body)
        endpoint.call_now()
        return delivery


def payload(event: str, moment: datetime, data: Mapping[str, Any]) -> str:
    """The body of a message about something that happened at `moment`."""
    body: bytes = JSONRenderer().render({"type": event, "timestamp": moment, "data": data})
    return body.decode()
