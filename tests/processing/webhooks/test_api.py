"""The API of webhooks, as programs call it."""

from ipaddress import ip_network
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings
from rest_framework.serializers import Serializer

from processing.webhooks.models import MAX_ENDPOINTS_PER_USER, WebhookDelivery, WebhookEndpoint
from processing.webhooks.serializers import WebhookOptionsSerializer, WebhookSubmissionSerializer
from products import lifecycle
from products.models import Request
from tests.processing.conftest import Broker
from tests.support.factories import client_of, ingest, make_csv, make_user, submit, upload

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]

URL = "https://shop.example/hook"
SHOWN = {"id", "url", "description", "kind", "events", "enabled", "disabled_reason", "created_at"}
ATTEMPT = {"at": "2026-01-01T00:00:00Z", "status": 500, "ms": 7, "answer": "", "error": "http_500"}
UNKNOWN = "6a1f7c1e-0f0b-4d52-9a53-2f1d6f0f9c11"


@pytest.fixture
def ann() -> User:
    return make_user()


@pytest.fixture
def api(ann: User) -> Client:
    return client_of(ann)


def post(client: Client, path: str, data: Any = None) -> Any:
    return client.post(f"/api/{path}", data or {}, content_type="application/json")


def register(client: Client, **data: Any) -> dict[str, Any]:
    answer = post(client, "webhooks/", {"url": URL, **data})
    assert answer.status_code == 201, answer.content
    found: dict[str, Any] = answer.json()
    return found


def errors(answer: Any) -> list[tuple[str, str | None]]:
    return [(error["code"], error["attr"]) for error in answer.json()["errors"]]


# --- Endpoints ---


def test_the_secret_is_only_in_the_response_that_creates_the_endpoint(api: Client, ann: User) -> None:
    made = register(api, description="orders")
    assert set(made) == SHOWN | {"secret"}
    assert (made["url"], made["description"]) == (URL, "orders")
    assert (made["events"], made["enabled"], made["disabled_reason"]) == (["request.completed"], True, "")
    endpoint = WebhookEndpoint.objects.get()
    assert (endpoint.owner, endpoint.secret) == (ann, made.pop("secret"))
    path = f"/api/webhooks/{made['id']}/"
    assert api.get(path).json() == made
    assert api.get("/api/webhooks/").json() == {"next": None, "previous": None, "results": [made]}


def test_an_endpoint_is_changed_disabled_enabled_and_deleted(api: Client) -> None:
    made = register(api)
    path = f"/api/webhooks/{made['id']}/"
    events = ["request.canceled", "request.completed"]
    changed = api.patch(path, {"events": events, "enabled": False}, content_type="application/json").json()
    assert (changed["events"], changed["enabled"], changed["url"]) == (events, False, URL)
    assert "secret" not in changed
    changed = api.patch(path, {"enabled": True}, content_type="application/json").json()
    assert (changed["events"], changed["enabled"], changed["disabled_reason"]) == (events, True, "")
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({}, ("required", "url")),
        ({"url": "ftp://shop.example/"}, ("invalid_url", "url")),
        ({"url": "http://ann:secret@shop.example/"}, ("invalid_url", "url")),
        ({"url": "http://shop.example/" + "x" * 2048}, ("max_length", "url")),
        ({"url": "http://10.0.0.1/hook"}, ("blocked_address", "url")),
        ({"url": "http://[::ffff:10.0.0.1]:8000/"}, ("blocked_address", "url")),
        ({"url": "https://169.254.169.254/"}, ("blocked_address", "url")),
        ({"url": "http://localhost:9000/"}, ("blocked_address", "url")),
        ({"url": URL, "events": []}, ("empty", "events")),
        ({"url": URL, "events": ["request.started"]}, ("invalid_choice", "events")),
        ({"url": URL, "events": "request.completed"}, ("not_a_list", "events")),
    ],
)
def test_an_invalid_endpoint_is_rejected(api: Client, data: dict[str, Any], error: tuple[str, str]) -> None:
    answer = post(api, "webhooks/", data)
    assert answer.status_code == 400
    assert error in errors(answer)
    assert not WebhookEndpoint.objects.exists()


@pytest.mark.parametrize("url", ["http://10.0.0.1/hook", "http://localhost/", "https://8.8.8.8/"])
def test_an_address_that_webhooks_are_sent_to_is_accepted(api: Client, url: str, settings: Settings) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("10.0.0.0/8"), ip_network("127.0.0.0/8")]
    assert post(api, "webhooks/", {"url": url}).status_code == 201


def test_an_endpoint_does_not_move_to_an_address_that_is_blocked(api: Client) -> None:
    made = register(api)
    changed = api.patch(
        f"/api/webhooks/{made['id']}/", {"url": "http://127.0.0.1/"}, content_type="application/json"
    )
    assert (changed.status_code, errors(changed)) == (400, [("blocked_address", "url")])
    assert WebhookEndpoint.objects.get().url == URL


def test_rotating_returns_the_new_secret(api: Client) -> None:
    made = register(api)
    rotated = post(api, f"webhooks/{made['id']}/rotate/").json()
    endpoint = WebhookEndpoint.objects.get()
    assert set(rotated) == SHOWN | {"secret"}
    assert endpoint.signing_secrets == [rotated["secret"], made["secret"]]


# --- Deliveries ---


def test_a_test_event_is_queued_and_listed(api: Client, broker: Broker) -> None:
    made = register(api)
    answer = post(api, f"webhooks/{made['id']}/test/")
    assert answer.status_code == 202
    delivery = answer.json()
    assert (delivery["event"], delivery["status"], delivery["attempts"]) == ("test", "pending", [])
    assert broker.endpoints() == [made["id"]]
    assert api.get(f"/api/deliveries/{delivery['id']}/").json() == delivery
    listed = api.get(f"/api/webhooks/{made['id']}/deliveries/").json()
    assert listed == {"next": None, "previous": None, "results": [delivery]}


def test_deliveries_are_listed_by_status(api: Client) -> None:
    made = register(api)
    for _ in range(2):
        post(api, f"webhooks/{made['id']}/test/")
    first = WebhookDelivery.objects.first()
    assert first
    WebhookDelivery.objects.filter(pk=first.pk).update(status="failed", next_attempt_at=None)
    path = f"/api/webhooks/{made['id']}/deliveries/"
    assert [one["id"] for one in api.get(f"{path}?status=failed").json()["results"]] == [str(first.pk)]
    assert errors(api.get(f"{path}?status=lost")) == [("invalid_choice", "status")]
    for unknown in (f"{path}?event=test", "/api/webhooks/?status=failed"):
        (error,) = errors(api.get(unknown))
        assert error[0] == "unknown_option"


def test_redelivering_makes_a_delivery_due_at_once(api: Client, broker: Broker) -> None:
    made = register(api)
    key = post(api, f"webhooks/{made['id']}/test/").json()["id"]
    failed = {"status": "failed", "next_attempt_at": None, "failures": 10}
    WebhookDelivery.objects.update(**failed, attempts=[ATTEMPT] * 3)
    broker.flush_all()
    answer = post(api, f"deliveries/{key}/redeliver/")
    assert (answer.status_code, answer.json()["id"], answer.json()["status"]) == (202, key, "pending")
    assert broker.endpoints() == [made["id"]]
    delivery = WebhookDelivery.objects.get()
    assert (delivery.failures, len(delivery.attempts)) == (0, 3)


def test_a_replay_returns_the_number_of_deliveries(api: Client) -> None:
    made = register(api)
    for _ in range(3):
        post(api, f"webhooks/{made['id']}/test/")
    WebhookDelivery.objects.update(status="failed", next_attempt_at=None)
    path = f"webhooks/{made['id']}/replay/"
    assert post(api, path, {"status": "missed"}).json() == {"deliveries": 0}
    assert post(api, path, {"status": "failed", "since": "2100-01-01T00:00:00Z"}).json() == {"deliveries": 0}
    assert post(api, path, {"status": "failed", "since": "2020-01-01T00:00:00Z"}).json() == {"deliveries": 3}
    assert WebhookDelivery.objects.due().count() == 3
    assert errors(post(api, path, {"status": "delivered"})) == [("invalid_choice", "status")]


def test_nothing_is_sent_to_a_disabled_endpoint(api: Client) -> None:
    made = register(api)
    key = post(api, f"webhooks/{made['id']}/test/").json()["id"]
    WebhookEndpoint.objects.get().disable()
    for path, data in [
        (f"webhooks/{made['id']}/test/", {}),
        (f"webhooks/{made['id']}/replay/", {"status": "missed"}),
        (f"deliveries/{key}/redeliver/", {}),
    ]:
        answer = post(api, path, data)
        assert (answer.status_code, errors(answer)) == (409, [("endpoint_disabled", None)])
    assert WebhookDelivery.objects.get().status == "missed"


# --- Access ---

ENDPOINT_CALLS = [
    *(("GET", ""), ("PATCH", ""), ("PUT", ""), ("DELETE", ""), ("GET", "deliveries/")),
    *(("POST", "rotate/"), ("POST", "test/"), ("POST", "replay/")),
]
DELIVERY_CALLS = [("GET", ""), ("POST", "redeliver/")]


@pytest.mark.parametrize(
    ("collection", "method", "part"),
    [
        *(("webhooks", *call) for call in ENDPOINT_CALLS),
        *(("deliveries", *call) for call in DELIVERY_CALLS),
    ],
)
def test_objects_of_other_users_are_as_unknown_as_missing_ones(
    api: Client, ann: User, collection: str, method: str, part: str
) -> None:
    made = register(client_of(make_user("bob")))
    delivery = WebhookDelivery.objects.create(
        endpoint=WebhookEndpoint.objects.get(), event="test", payload="{}"
    )
    before = [*WebhookEndpoint.objects.values(), *WebhookDelivery.objects.values()]
    foreign = made["id"] if collection == "webhooks" else str(delivery.pk)
    answers = [
        api.generic(method, f"/api/{collection}/{key}/{part}") for key in (foreign, UNKNOWN, "17", "nonsense")
    ]
    assert [answer.status_code for answer in answers] == [404] * 4
    assert len({answer.content for answer in answers}) == 1
    assert [*WebhookEndpoint.objects.values(), *WebhookDelivery.objects.values()] == before


def test_superusers_see_all_endpoints_and_others_their_own(api: Client) -> None:
    of_ann, of_bob = register(api), register(client_of(make_user("bob")))
    staff = client_of(make_user("sue", is_superuser=True))
    for client, expected in ((api, [of_ann]), (staff, [of_bob, of_ann])):
        found = [one["id"] for one in client.get("/api/webhooks/").json()["results"]]
        assert found == [one["id"] for one in expected]
    assert staff.get(f"/api/webhooks/{of_ann['id']}/").status_code == 200


@pytest.mark.parametrize("path", ["webhooks/", f"webhooks/{UNKNOWN}/", f"deliveries/{UNKNOWN}/"])
def test_a_login_is_required(client: Client, path: str) -> None:
    assert client.get(f"/api/{path}").status_code == 401


def test_a_user_can_register_only_so_many_endpoints(api: Client, ann: User) -> None:
    many = (WebhookEndpoint(owner=ann, url=URL) for _ in range(MAX_ENDPOINTS_PER_USER))
    WebhookEndpoint.objects.bulk_create(many)
    answer = api.post("/api/webhooks/", {"url": URL}, "application/json")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "too_many_endpoints")
    assert api.post("/webhooks/", {"url": URL, "events": ["request.completed"]}).status_code == 400
    assert WebhookEndpoint.objects.count() == MAX_ENDPOINTS_PER_USER
    register(client_of(make_user("bob")))
    assert upload(api, make_csv(), webhook_url=URL).status_code == 201
    WebhookEndpoint.objects.registered().filter(owner=ann).first().delete()  # type: ignore[union-attr]
    register(api)


# --- The URL of an upload ---


def test_an_upload_with_a_webhook_url_returns_the_secret_of_its_endpoint(api: Client, ann: User) -> None:
    answer = upload(api, make_csv(), webhook_url=URL)
    assert answer.status_code == 201
    endpoint = WebhookEndpoint.objects.get()
    assert answer.json()["webhook_secret"] == endpoint.secret
    assert (endpoint.owner, str(endpoint.request_id), endpoint.url) == (ann, answer.json()["id"], URL)
    assert api.get("/api/webhooks/").json()["results"] == []
    assert "webhook_secret" not in api.get(f"/api/requests/{answer.json()['id']}/").json()


def test_an_idempotent_upload_returns_the_same_secret(api: Client) -> None:
    answers = [
        api.post(
            "/api/requests/",
            {"file": _file(), "webhook_url": URL},
            headers={"Idempotency-Key": "monday"},
        )
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 200]
    first, second = (answer.json()["webhook_secret"] for answer in answers)
    assert first == second == WebhookEndpoint.objects.get().secret


def _file() -> Any:
    from django.core.files.uploadedfile import SimpleUploadedFile

    return SimpleUploadedFile("catalogue.csv", make_csv())


@pytest.mark.parametrize("serializer", [WebhookOptionsSerializer, WebhookSubmissionSerializer])
def test_the_schema_says_what_a_webhook_url_is(serializer: type[Serializer[Any]]) -> None:
    assert "receives a webhook" in str(serializer().fields["webhook_url"].help_text)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("mailto:ann", "invalid_url"),
        ("http://10.0.0.1/hook", "blocked_address"),
        ("http://localhost:9000/", "blocked_address"),
        ("https://169.254.169.254/", "blocked_address"),
    ],
)
def test_an_upload_whose_webhook_would_certainly_fail_is_rejected(
    api: Client, ann: User, url: str, code: str
) -> None:
    expected = (400, [(code, "webhook_url")])
    answer = upload(api, make_csv(), webhook_url=url)
    assert (answer.status_code, errors(answer)) == expected
    answer = api.post("/api/requests/preview/", {"file": _file(), "webhook_url": url})
    assert (answer.status_code, errors(answer)) == expected
    assert not Request.objects.exists()
    batch = submit(ann)
    answer = api.post(
        f"/api/requests/{batch.pk}/repeat/", {"webhook_url": url}, content_type="application/json"
    )
    assert (answer.status_code, errors(answer)) == expected
    assert Request.objects.count() == 1


def test_a_retry_creates_no_second_endpoint(ann: User) -> None:
    batch = ingest(submit(ann, webhook_url=URL))
    assert lifecycle.cancel(batch) and lifecycle.retry(batch) == 1
    assert WebhookEndpoint.objects.count() == 1


def test_deleting_a_request_deletes_its_endpoint_and_deliveries(ann: User) -> None:
    batch = submit(ann, webhook_url=URL)
    WebhookEndpoint.objects.create(owner=ann, url=URL, events=["request.canceled"])
    lifecycle.cancel(batch)
    assert WebhookDelivery.objects.count() == 2
    lifecycle.delete(batch)
    assert not Request.objects.exists()
    assert WebhookEndpoint.objects.get().request is None
    assert not WebhookDelivery.objects.exists()
