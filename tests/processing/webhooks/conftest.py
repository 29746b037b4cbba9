"""Endpoints whose receivers are real servers on loopback."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import Settings

from processing.webhooks.events import send_test_event
from processing.webhooks.models import WebhookDelivery, WebhookEndpoint
from tests.support.clients import transport
from tests.support.factories import make_user
from tests.support.origin import Answer, Origin, Route

NewEndpoint = Callable[..., WebhookEndpoint]

OK = Answer(b"thanks")


@pytest.fixture
def ann() -> User:
    return make_user(email="ann@shop.example")


@pytest.fixture
def http(settings: Settings) -> Iterator[httpx.AsyncBaseTransport]:
    """A transport as workers use it, but allowed to connect to loopback, and with a timeout of a second."""
    settings.WEBHOOK_TIMEOUT = 1
    with transport("127.0.0.0/8", max_connections=8) as guarded:
        yield guarded


@pytest.fixture
def endpoint_for(ann: User, origin: Origin) -> NewEndpoint:
    """Create an endpoint of Ann's whose receiver responds by `route`."""

    def new(route: Route, path: str = "/hook", **fields: Any) -> WebhookEndpoint:
        return WebhookEndpoint.objects.create(owner=ann, url=origin.add(path, route), **fields)

    return new


def new_test_delivery(endpoint: WebhookEndpoint) -> WebhookDelivery:
    delivery = send_test_event(endpoint)
    assert delivery
    return delivery


def reload(delivery: WebhookDelivery) -> WebhookDelivery:
    return WebhookDelivery.objects.select_related("endpoint").get(pk=delivery.pk)


def make_due(delivery: WebhookDelivery) -> WebhookDelivery:
    """Move the next attempt to now, and end the pause of its endpoint."""
    WebhookDelivery.objects.filter(pk=delivery.pk).update(next_attempt_at=timezone.now())
    WebhookEndpoint.objects.update(resume_at=None)
    return reload(delivery)
