"""The pages about webhooks, the banner on all others, and the admin."""

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from processing.webhooks.models import WebhookDelivery, WebhookEndpoint
from products.models import Request
from tests.processing.conftest import Broker
from tests.support.factories import client_of, make_user, submit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]

URL = "https://shop.example/hook"
POSTS = ["test", "rotate", "enable", "disable", "replay", "delete"]


@pytest.fixture
def ann() -> User:
    return make_user()


@pytest.fixture
def page(ann: User) -> Client:
    return client_of(ann)


@pytest.fixture
def endpoint(ann: User) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(owner=ann, url=URL)


def body(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


def post(client: Client, view: str, endpoint: WebhookEndpoint, **data: str) -> Any:
    return client.post(reverse(f"webhook-{view}", args=[endpoint.pk]), data)


def delivered(endpoint: WebhookEndpoint, **fields: Any) -> WebhookDelivery:
    attempt = {"at": "2026-01-02T03:04:05+00:00", "status": 500, "ms": 7, "answer": "<b>no</b>"}
    return WebhookDelivery.objects.create(
        endpoint=endpoint,
        event="test",
        payload='{"a": 1}',
        attempts=[{**attempt, "error": "http_500"}],
        **fields,
    )


def test_an_endpoint_is_added_and_its_secret_shown_in_that_answer_alone(page: Client, ann: User) -> None:
    form = {"url": URL, "description": "orders", "events": ["request.completed", "request.canceled"]}
    answer = page.post("/webhooks/", form)
    endpoint = WebhookEndpoint.objects.get()
    assert (endpoint.owner, endpoint.events) == (ann, form["events"])
    assert endpoint.secret in body(answer)
    assert answer.headers["Cache-Control"] == "no-store"
    for path in ("/webhooks/", endpoint.get_absolute_url()):
        shown = body(page.get(path))
        assert URL in shown and endpoint.secret not in shown
    assert ">Request finished, Request canceled</td>" in body(page.get("/webhooks/"))


def test_an_invalid_url_is_reported_beside_its_field(page: Client) -> None:
    answer = page.post("/webhooks/", {"url": "ftp://shop.example/"})
    assert answer.status_code == 400
    assert "The URL does not start with http:// or https://." in body(answer)
    assert "<title>Error: Webhooks" in body(answer)
    assert not WebhookEndpoint.objects.exists()


def test_an_endpoint_is_changed_without_touching_what_workers_write(
    page: Client, endpoint: WebhookEndpoint
) -> None:
    endpoint.disable("It responded with 410 Gone.")
    path = endpoint.get_absolute_url()
    answer = page.post(path, {"url": f"{URL}/2", "events": ["request.canceled"], "description": ""})
    assert answer.headers["Location"] == path
    endpoint.refresh_from_db()
    assert (endpoint.url, endpoint.events) == (f"{URL}/2", ["request.canceled"])
    assert (endpoint.enabled, endpoint.disabled_reason) == (False, "It responded with 410 Gone.")


def test_rotating_shows_the_new_secret(page: Client, endpoint: WebhookEndpoint) -> None:
    old = endpoint.secret
    answer = body(post(page, "rotate", endpoint))
    endpoint.refresh_from_db()
    assert endpoint.secret in answer and endpoint.secret != old and old not in answer


def test_a_test_event_is_sent_and_the_page_refreshes(
    page: Client, endpoint: WebhookEndpoint, broker: Broker
) -> None:
    post(page, "test", endpoint)
    assert broker.endpoints() == [str(endpoint.pk)]
    fragment = reverse("webhook-deliveries", args=[endpoint.pk])
    assert f'hx-get="{fragment}?page=1"' in body(page.get(endpoint.get_absolute_url()))
    WebhookDelivery.objects.update(status="delivered", next_attempt_at=None)
    assert "hx-get" not in body(page.get(fragment))


def test_a_menu_without_entries_is_not_shown(endpoint: WebhookEndpoint) -> None:
    nora = make_user("nora", is_staff=True)
    names = ["view_webhookendpoint", "change_webhookendpoint"]
    nora.user_permissions.set(Permission.objects.filter(codename__in=names))
    page = client_of(nora)
    assert ">Actions</summary>" in body(page.get(endpoint.get_absolute_url()))
    endpoint.disable("It responded with 410 Gone.")
    shown = body(page.get(endpoint.get_absolute_url()))
    assert ">Enable</button>" in shown and ">Actions</summary>" not in shown


def test_deliveries_of_a_request_are_sent_again_when_they_have_changed(
    page: Client, ann: User, endpoint: WebhookEndpoint
) -> None:
    batch = submit(ann)
    Request.objects.update(status=Request.Status.COMPLETED)
    delivered(endpoint, request=batch)
    path = reverse("request-deliveries", args=[batch.pk])
    seen = re.findall(r'hx-get="([^"]+)"', body(page.get(path)))[0]
    assert page.get(path + seen, headers={"HX-Request": "true"}).status_code == 204
    WebhookDelivery.objects.update(status="delivered", next_attempt_at=None)
    answer = body(page.get(path + seen, headers={"HX-Request": "true"}))
    assert "Delivered" in answer and "hx-get" not in answer


def test_deliveries_to_a_paused_endpoint_are_not_followed(
    page: Client, ann: User, endpoint: WebhookEndpoint
) -> None:
    delivered(endpoint)
    assert "hx-get" in body(page.get(endpoint.get_absolute_url()))
    WebhookEndpoint.objects.update(resume_at=timezone.now() + timedelta(hours=1))
    assert "hx-get" not in body(page.get(endpoint.get_absolute_url()))


def test_a_delivery_shows_its_payload_and_attempts_and_is_redelivered(
    page: Client, endpoint: WebhookEndpoint, broker: Broker
) -> None:
    delivery = delivered(endpoint, status="failed", next_attempt_at=None)
    shown = body(page.get(delivery.get_absolute_url()))
    for text in (
        "{ &quot;a&quot;: 1 }",
        "&lt;b&gt;no&lt;/b&gt;",
        "http_500",
        "2 January 2026, 03:04:05",
        "Indented here.",
    ):
        assert text in shown
    answer = page.post(reverse("delivery-redeliver", args=[delivery.pk]), follow=True)
    assert "Redelivering the event." in body(answer)
    assert broker.endpoints() == [str(endpoint.pk)]


def test_failed_or_missed_events_are_redelivered(page: Client, endpoint: WebhookEndpoint) -> None:
    for status in ("failed", "missed", "missed"):
        delivered(endpoint, status=status, next_attempt_at=None)
    assert "2 events missed while the endpoint was disabled." in body(page.get(endpoint.get_absolute_url()))
    assert post(page, "replay", endpoint, status="missed", since="").status_code == 302
    assert WebhookDelivery.objects.pending().count() == 2
    post(page, "replay", endpoint, status="failed", since="2100-01-01T00:00")
    assert WebhookDelivery.objects.pending().count() == 2
    post(page, "replay", endpoint, status="failed", since="2020-01-01T00:00")
    assert WebhookDelivery.objects.pending().count() == 3


def test_an_endpoint_is_disabled_enabled_and_deleted(page: Client, endpoint: WebhookEndpoint) -> None:
    post(page, "disable", endpoint)
    assert not WebhookEndpoint.objects.get().enabled
    for view in ("test", "replay"):
        post(page, view, endpoint, status="failed")
    assert not WebhookDelivery.objects.exists()
    post(page, "enable", endpoint)
    assert WebhookEndpoint.objects.get().enabled
    post(page, "delete", endpoint)
    assert not WebhookEndpoint.objects.exists()


# --- Access ---


def test_a_delivery_that_failed_says_when_it_is_tried_again(page: Client, endpoint: WebhookEndpoint) -> None:
    delivered(endpoint, next_attempt_at=datetime(2026, 1, 2, 3, 4, 10, tzinfo=UTC))
    for path in ("/webhooks/", endpoint.get_absolute_url()):
        shown = body(page.get(path))
        assert "Next attempt <time" in shown and ">2 January 2026, 03:04:10 UTC</time>" in shown


@pytest.mark.parametrize("view", [*POSTS, "page", "deliveries", "delivery", "redeliver"])
def test_endpoints_and_deliveries_of_other_users_are_not_found(page: Client, view: str) -> None:
    endpoint = WebhookEndpoint.objects.create(owner=make_user("bob"), url=URL)
    delivery = delivered(endpoint)
    before = [*WebhookEndpoint.objects.values(), *WebhookDelivery.objects.values()]
    name = {"page": "webhook", "delivery": "delivery", "redeliver": "delivery-redeliver"}.get(
        view, f"webhook-{view}"
    )
    send = page.post if view in {*POSTS, "redeliver"} else page.get
    pk = delivery.pk if "delivery" in name else endpoint.pk
    for key in (pk, uuid.uuid4()):
        assert send(reverse(name, args=[key])).status_code == 404
    assert [*WebhookEndpoint.objects.values(), *WebhookDelivery.objects.values()] == before


def test_visitors_are_asked_to_log_in(client: Client, endpoint: WebhookEndpoint) -> None:
    for path in ("/webhooks/", endpoint.get_absolute_url(), delivered(endpoint).get_absolute_url()):
        assert client.get(path).headers["Location"] == f"/login/?next={path}"
    for view in POSTS:
        assert post(client, view, endpoint).headers["Location"].startswith("/login/")
    assert WebhookEndpoint.objects.get().enabled


# --- The banner ---


def test_a_disabled_endpoint_is_shown_on_every_page_of_its_owner(
    page: Client, ann: User, endpoint: WebhookEndpoint
) -> None:
    batch = submit(ann)
    paths = ["/", "/webhooks/", batch.get_absolute_url(), endpoint.get_absolute_url(), "/nothing/here/"]
    reason = "All deliveries to it have failed for five days."
    banner = re.compile(rf'class="error".*{endpoint.pk}.*is disabled and receives no events. {reason}')
    assert not any(banner.search(body(page.get(path))) for path in paths)
    endpoint.disable(reason)
    assert all(banner.search(body(page.get(path))) for path in paths)
    bob = client_of(make_user("bob"))
    assert not any(banner.search(body(bob.get(path))) for path in ("/", "/webhooks/", "/nothing/here/"))
    endpoint.enable()
    endpoint.disable()  # by its owner, who knows
    assert not any(banner.search(body(page.get(path))) for path in paths)


# --- The admin ---


def test_staff_see_endpoints_without_secrets_and_enable_and_disable_them(endpoint: WebhookEndpoint) -> None:
    boss = client_of(make_user("boss", is_staff=True, is_superuser=True))
    delivery = delivered(endpoint, status="failed", next_attempt_at=None)
    for path in (
        reverse("admin:webhooks_webhookendpoint_changelist"),
        reverse("admin:webhooks_webhookendpoint_change", args=[endpoint.pk]),
        reverse("admin:webhooks_webhookdelivery_changelist"),
        reverse("admin:webhooks_webhookdelivery_change", args=[delivery.pk]),
    ):
        shown = body(boss.get(path))
        assert URL in shown
        assert endpoint.secret not in shown and endpoint.encrypted_secret not in shown

    def act(model: str, action: str, pk: uuid.UUID, **answer: str) -> None:
        path = reverse(f"admin:webhooks_{model}_changelist")
        boss.post(path, {"action": action, "_selected_action": [str(pk)], **answer})

    act("webhookdelivery", "redeliver", delivery.pk)
    assert WebhookDelivery.objects.get().status == "pending"
    act("webhookendpoint", "disable", endpoint.pk)
    assert WebhookEndpoint.objects.get().enabled, "it asks for a reason first"
    act("webhookendpoint", "disable", endpoint.pk, confirmed="yes", reason="It is a test.")
    assert WebhookEndpoint.objects.get().disabled_reason == "It is a test."
    act("webhookendpoint", "enable", endpoint.pk)
    assert WebhookEndpoint.objects.get().enabled
