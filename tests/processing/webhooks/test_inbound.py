"""Reports of external workers, signed by the `standardwebhooks` package."""

import json
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from processing.webhooks.inbound import split_urls
from processing.webhooks.models import InboundMessage, WebhookDelivery, WebhookEndpoint
from processing.webhooks.signing import new_secret
from processing.work.claim import claim
from products import lifecycle
from products.models import Product, Request
from tests.support.batches import WORKER, complete, ingested, make_urls
from tests.support.parallel import together
from tests.support.receivers import signed

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]

SECRET = new_secret()
NOW = int(time.time())
DONE = ["https://cdn.example/1,w_300.jpg", "http://cdn.example/2.jpg"]
TAKEN = {"message": "Status updated successfully"}


@pytest.fixture(autouse=True)
def inbound(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages arrive at NOW, however long it takes to send them."""
    settings.INBOUND_WEBHOOK_SECRET = SECRET
    monkeypatch.setattr("processing.webhooks.api.time", SimpleNamespace(time=lambda: NOW))


def report(
    data: Any, *, message_id: str = "m1", late_by: float = 0, secret: str = SECRET, **headers: str
) -> Any:
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    given = signed(secret, body, message_id=message_id, timestamp=NOW - late_by)
    return Client().post("/api/webhook", body, content_type="application/json", headers={**given, **headers})


def about(product: Product, urls: Any = None, status: str = "Completed") -> dict[str, Any]:
    return {"request_id": str(product.pk), "status": status, "output_image_urls": urls}


def two_products() -> tuple[Request, Product, Product]:
    """Create a Product with two pictures and one with a third."""
    one, two, three = make_urls(3)
    batch = ingested([one, two], three)
    first, second = batch.products.order_by("row_number")
    return batch, first, second


def states(batch: Request) -> list[tuple[str, str]]:
    return [(image.status, image.output_url) for image in batch.images.order_by("number")]


# --- Outcomes ---


@pytest.mark.parametrize("urls", [DONE, ",".join(DONE), ", ".join(DONE)])
def test_a_completed_product_has_the_reported_urls(urls: Any) -> None:
    batch, product, _ = two_products()
    answer = report(about(product, urls))
    assert (answer.status_code, answer.json()) == (200, TAKEN)
    assert states(batch) == [*(("completed", url) for url in DONE), ("pending", "")]
    batch.refresh_from_db()
    assert (batch.images_completed, batch.images_pending, batch.bytes_output) == (2, 1, 0)


def test_the_last_report_finishes_the_request_and_publishes_its_end(ann: User) -> None:
    batch, first, second = two_products()
    WebhookEndpoint.objects.create(owner=batch.owner, url="https://shop.example/hook")
    report(about(first, DONE))
    report(about(second, None, "Failed"), message_id="m2")
    batch.refresh_from_db()
    assert (batch.status, batch.images_failed) == ("completed_with_errors", 1)
    assert batch.images.get(number=3).error_code == "crashed"
    assert WebhookDelivery.objects.get().event == "request.completed"


@pytest.fixture
def ann() -> User:
    return User.objects.create_user("ann")


def test_the_result_has_the_reported_urls(ann: User, client: Client) -> None:
    batch, first, second = two_products()
    report(about(first, DONE))
    report(about(second, ["https://cdn.example/3.jpg"]), message_id="m2")
    client.force_login(ann)
    path = f"/api/requests/{batch.pk}/"
    text = client.get(f"{path}results.csv").getvalue().decode()
    assert f'"{",".join(DONE)}",completed' in text
    images = client.get(f"{path}images/").json()["results"]
    assert [image["output_url"] for image in images] == [*DONE, "https://cdn.example/3.jpg"]
    assert client.get(f"{path}images.zip").status_code == 200
    assert "https://cdn.example/1" in client.get(f"/requests/{batch.pk}/products/").content.decode()


def test_an_empty_url_is_a_failure() -> None:
    batch, product, _ = two_products()
    assert report(about(product, ["", DONE[1]])).json() == TAKEN
    assert states(batch)[:2] == [("failed", ""), ("completed", DONE[1])]


def test_a_report_changes_no_settled_image_and_outcomes_of_a_worker_after_it_are_ignored() -> None:
    batch, product, _ = two_products()
    first, second, third = claim(batch, WORKER, 3)
    outcomes = [complete(image) for image in (first, second, third)]
    assert lifecycle.record(batch.pk, outcomes[:1], WORKER) == outcomes[:1]
    report(about(product, DONE))
    assert lifecycle.record(batch.pk, outcomes[1:], WORKER) == outcomes[2:]
    urls = [url for _, url in states(batch)]
    assert urls[1] == DONE[1] and DONE[0] not in urls
    batch.refresh_from_db()
    assert (batch.status, batch.images_completed) == ("completed", 3)


def test_a_finished_request_is_not_changed() -> None:
    batch, product, _ = two_products()
    lifecycle.cancel(batch)
    before = states(batch)
    assert report(about(product, DONE)).json() == TAKEN
    assert states(batch) == before


# --- Repetition ---


def test_a_repeated_message_has_no_effect() -> None:
    batch, product, _ = two_products()
    assert report(about(product, None, "Failed")).json() == TAKEN
    report(about(Product.objects.get(request=batch, row_number=2), None, "Failed"), message_id="m2")
    assert lifecycle.retry(batch) == 3
    assert report(about(product, None, "Failed")).json() == TAKEN
    assert {status for status, _ in states(batch)} == {"pending"}
    assert report(about(product, None, "Failed"), message_id="m3").json() == TAKEN
    assert [status for status, _ in states(batch)] == ["failed", "failed", "pending"]


def test_concurrent_copies_of_a_message_have_one_effect() -> None:
    batch, product, _ = two_products()
    answers = together([lambda: report(about(product, DONE)).status_code] * 8)
    assert answers == [200] * 8
    batch.refresh_from_db()
    assert batch.images_completed == 2
    assert InboundMessage.objects.count() == 1


def test_ids_are_deleted_when_their_messages_have_expired() -> None:
    _, product, other = two_products()
    report(about(product, DONE))
    InboundMessage.objects.update(received_at=timezone.now() - timedelta(hours=2))
    report(about(other, DONE[:1]), message_id="m2")
    assert [message.id for message in InboundMessage.objects.all()] == ["m2"]


# --- Rejection ---


def error(answer: Any) -> tuple[int, str, str]:
    (one,) = answer.json()["errors"]
    return answer.status_code, one["code"], one["detail"]


@pytest.mark.parametrize(
    "change",
    [
        *({"late_by": 301}, {"late_by": -301}, {"secret": new_secret()}),
        *({"webhook-id": "m2"}, {"webhook-signature": ""}, {"webhook-timestamp": "0"}),
    ],
)
def test_an_unsigned_or_expired_message_is_401(change: dict[str, Any]) -> None:
    batch, product, _ = two_products()
    answer = report(about(product, DONE), **change)
    assert error(answer)[:2] == (401, "invalid_signature")
    assert {status for status, _ in states(batch)} == {"pending"}
    assert not InboundMessage.objects.exists()


def test_without_a_configured_secret_the_url_is_404(settings: Settings) -> None:
    settings.INBOUND_WEBHOOK_SECRET = None
    assert error(report({}))[:2] == (404, "not_found")


@pytest.mark.parametrize(
    "change",
    [
        *({"request_id": "17"}, {"request_id": "6a1f7c1e-0f0b-4d52-9a53-2f1d6f0f9c11"}, {"request_id": None}),
        *({"status": "completed"}, {"status": None}, {"output_image_urls": DONE[:1]}),
        *({"output_image_urls": [*DONE, DONE[0]]}, {"output_image_urls": None}, {"output_image_urls": 7}),
        *({"output_image_urls": ["", ""]}, {"output_image_urls": ["ftp://cdn.example/1.jpg", DONE[1]]}),
        {"output_image_urls": ["javascript:alert(1)", DONE[1]]},
    ],
)
def test_a_report_that_matches_no_product_is_invalid(change: dict[str, Any]) -> None:
    batch, product, _ = two_products()
    assert error(report({**about(product, DONE), **change})) == (400, "invalid", "Invalid data")
    assert {status for status, _ in states(batch)} == {"pending"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"Completed"'])
def test_a_body_that_is_no_report_is_invalid(body: bytes) -> None:
    assert error(report(body)) == (400, "invalid", "Invalid data")


def test_a_rejected_report_can_be_corrected_and_sent_again() -> None:
    batch, product, _ = two_products()
    assert report(about(product, DONE[:1])).status_code == 400
    assert report(about(product, DONE)).json() == TAKEN
    assert [status for status, _ in states(batch)][:2] == ["completed", "completed"]


def test_urls_are_split_at_commas_before_another_url_or_an_empty_position() -> None:
    assert split_urls("") == split_urls("  ") == []
    assert split_urls("http://a/1,2,http://b/3") == ["http://a/1,2", "http://b/3"]
    assert split_urls("http://a,,http://b,") == ["http://a", "", "http://b", ""]
    assert split_urls(",http://b") == ["", "http://b"]
