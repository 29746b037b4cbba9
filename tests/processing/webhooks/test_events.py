"""Events: when they are published and to whom, and redelivery."""

import datetime as dt
from datetime import timedelta

import httpx
import pytest
from django.utils import timezone
from pytest_django import Settings

from processing.webhooks.delivery_queue import drain
from processing.webhooks.events import redeliver, redeliver_all, send_test_event
from processing.webhooks.models import Event, WebhookDelivery, WebhookEndpoint
from products import lifecycle
from products.models import Request
from tests.processing.webhooks.conftest import OK, NewEndpoint, new_test_delivery, reload
from tests.support.batches import ingested, make_urls, settle, submitted
from tests.support.factories import make_user
from tests.support.origin import Origin
from tests.support.receivers import messages

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]


# --- Publishing ---


def test_the_end_of_a_request_is_published_once_with_the_request_as_the_api_shows_it(
    origin: Origin, http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint, settings: Settings
) -> None:
    endpoint = endpoint_for(OK)
    batch = settle(ingested(*make_urls(3)), failed={2: "timeout"})
    drain(endpoint.pk, http)
    (message,) = messages(origin, "/hook", endpoint.secret)
    assert message["type"] == "request.completed"
    data = message["data"]
    assert (data["id"], data["status"], data["run"]) == (str(batch.pk), "completed_with_errors", 1)
    assert data["images"]["completed"] == 2 and data["images"]["failed"] == 1
    assert data["urls"]["results_csv"] == f"{settings.PUBLIC_URL}/api/requests/{batch.pk}/results.csv"
    assert batch.finished_at
    assert dt.datetime.fromisoformat(message["timestamp"]) == batch.finished_at
    assert len(origin.received[0].body) < 20_000


def test_each_run_is_an_event_and_a_cancel_goes_to_its_subscribers_only(
    origin: Origin, http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint
) -> None:
    completed, both = endpoint_for(OK, "/one"), endpoint_for(OK, "/two", events=[*Event.values[:2]])
    batch = settle(ingested(*make_urls(2)), failed={1: "timeout"})
    assert lifecycle.retry(batch) == 1
    batch.refresh_from_db()
    assert lifecycle.cancel(batch)
    for endpoint in (completed, both):
        drain(endpoint.pk, http)
    received = [(m["type"], m["data"]["run"]) for m in messages(origin, "/one", completed.secret)]
    assert received == [("request.completed", 1)]
    received = [(m["type"], m["data"]["run"]) for m in messages(origin, "/two", both.secret)]
    assert received == [("request.completed", 1), ("request.canceled", 2)]


def test_endpoints_of_other_users_receive_nothing(endpoint_for: NewEndpoint, origin: Origin) -> None:
    stranger = endpoint_for(OK)
    WebhookEndpoint.objects.update(owner=make_user("bob"))
    settle(ingested(*make_urls(1)))
    assert not stranger.deliveries.exists()


def test_the_webhook_url_of_an_upload_receives_that_request_only(
    origin: Origin, http: httpx.AsyncBaseTransport
) -> None:
    batch = submitted(*make_urls(1), webhook_url=origin.add("/once", OK))
    other = submitted(*make_urls(2))
    for one in (batch, other):
        lifecycle.cancel(one)
    endpoint = WebhookEndpoint.objects.get()
    drain(endpoint.pk, http)
    (message,) = messages(origin, "/once", endpoint.secret)
    assert (message["type"], message["data"]["id"]) == ("request.canceled", str(batch.pk))


def test_the_payload_is_small_even_with_the_longest_file_name(endpoint_for: NewEndpoint) -> None:
    endpoint_for(OK)
    batch = submitted(*make_urls(1))
    Request.objects.filter(pk=batch.pk).update(filename="“\u2028\U0001f600" * 85)
    assert lifecycle.cancel(Request.objects.get()) and not WebhookDelivery.objects.exists()
    WebhookEndpoint.objects.update(events=[Event.CANCELED])
    batch = submitted(*make_urls(1), name="“\u2028\U0001f600" * 80 + ".csv")
    lifecycle.cancel(batch)
    assert 0 < len(WebhookDelivery.objects.get().body) < 20_000


def test_a_rollback_leaves_no_delivery(endpoint_for: NewEndpoint) -> None:
    from django.db import transaction

    endpoint_for(OK, events=[Event.CANCELED])
    batch = submitted(*make_urls(1))
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        lifecycle.cancel(batch)
        assert WebhookDelivery.objects.count() == 1
        _ = 1 / 0
    assert not WebhookDelivery.objects.exists()


# --- Redelivery ---


def test_a_redelivery_has_the_same_id_and_body(
    origin: Origin, http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(OK)
    delivery = new_test_delivery(endpoint)
    drain(endpoint.pk, http)
    assert redeliver(reload(delivery))
    drain(endpoint.pk, http)
    first, second = messages(origin, "/hook", endpoint.secret)
    assert first == second
    assert len(reload(delivery).attempts) == 2


def test_failed_deliveries_since_a_time_and_missed_ones_are_redelivered(
    origin: Origin, http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(OK)
    old, failed, missed = (new_test_delivery(endpoint) for _ in range(3))
    settled = {"next_attempt_at": None}
    day_ago = timezone.now() - timedelta(days=1)
    of = WebhookDelivery.objects.filter
    of(pk=old.pk).update(status="failed", created_at=day_ago - timedelta(hours=1), **settled)
    of(pk=failed.pk).update(status="failed", created_at=day_ago + timedelta(hours=1), **settled)
    of(pk=missed.pk).update(status="missed", **settled)
    assert drain(endpoint.pk, http) == {} and origin.received == []
    assert redeliver_all(endpoint.deliveries.with_status("failed", day_ago)) == 1
    drain(endpoint.pk, http)
    assert [m["id"] for m in messages(origin, "/hook", endpoint.secret)] == [str(failed.pk)]
    assert redeliver_all(endpoint.deliveries.with_status("missed")) == 1
    drain(endpoint.pk, http)
    assert [m["id"] for m in messages(origin, "/hook", endpoint.secret)] == [str(failed.pk), str(missed.pk)]


def test_events_are_kept_as_missed_while_an_endpoint_is_disabled(
    origin: Origin, http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(OK)
    waiting = new_test_delivery(endpoint)
    assert endpoint.disable() and not endpoint.disable()
    settle(ingested(*make_urls(1)))
    assert [*endpoint.deliveries.values_list("status", flat=True)] == ["missed", "missed"]
    assert send_test_event(endpoint) is None and not redeliver(reload(waiting))
    assert drain(endpoint.pk, http) == {}
    endpoint.enable()
    assert drain(endpoint.pk, http) == {} and origin.received == []
    assert redeliver_all(endpoint.deliveries.with_status("missed")) == 2
    drain(endpoint.pk, http)
    assert {m["type"] for m in messages(origin, "/hook", endpoint.secret)} == {"test", "request.completed"}
