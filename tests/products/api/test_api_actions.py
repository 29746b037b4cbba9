"""Retry, cancel and delete over the API, and that repeating them is harmless."""

import uuid

import pytest
from django.contrib.auth.models import User
from django.test import Client

from processing.work.claim import claim
from products import lifecycle
from products.models import Image, Product, ProductImage, Request
from tests.support.factories import (
    JPEG,
    OTHER_URL,
    THIRD_URL,
    URL,
    address_of,
    image_counts,
    ingest,
    make_csv,
    settle,
    stored_catalogues,
    submit,
    three_outcomes,
)

pytestmark = pytest.mark.django_db


def test_a_retry_takes_up_what_failed_and_no_more(api: Client, ann: User) -> None:
    batch = three_outcomes(ann)
    response = api.post(address_of(batch, "retry/"))
    assert response.status_code == 200
    answer = response.json()
    assert (answer["status"], answer["run"], answer["finished_at"]) == ("processing", 2, None)
    assert answer["images"] == image_counts(total=3, pending=1, completed=1, failed=1)
    assert answer == api.get(address_of(batch)).json()
    again = batch.images.get(url=OTHER_URL)
    assert (again.status, again.error_code) == ("pending", "")
    batch.refresh_from_db()
    assert settle(batch, {OTHER_URL: JPEG}).status == Request.Status.COMPLETED_WITH_ERRORS


def test_a_second_retry_changes_nothing_while_the_first_is_under_way(api: Client, ann: User) -> None:
    batch = three_outcomes(ann)
    first = api.post(address_of(batch, "retry/")).json()
    second = api.post(address_of(batch, "retry/"))
    assert second.status_code == 409
    assert [error["code"] for error in second.json()["errors"]] == ["active"]
    assert api.get(address_of(batch)).json() == first


def test_a_retry_by_code_takes_up_what_failed_with_that_code(api: Client, ann: User) -> None:
    batch = ingest(submit(ann, make_csv((1, "Chair", f"{URL} {OTHER_URL} {THIRD_URL}"))))
    settle(batch, {URL: "timeout", OTHER_URL: "http_404", THIRD_URL: "timeout"})
    response = api.post(address_of(batch, "retry/"), {"code": "timeout"}, content_type="application/json")
    assert response.json()["images"]["pending"] == 2
    assert set(batch.images.pending().values_list("url", flat=True)) == {URL, THIRD_URL}


@pytest.mark.parametrize("code", ["http_404", "invalid_url"])
def test_a_retry_of_which_nothing_can_come_leaves_the_request_finished(
    api: Client, ann: User, code: str
) -> None:
    batch = three_outcomes(ann)
    before = api.get(address_of(batch)).json()
    response = api.post(address_of(batch, "retry/"), {"code": code})
    assert response.status_code == 200
    assert response.json() == before


@pytest.mark.parametrize("code", ["", "time\0out", ["timeout"]])
def test_a_retry_by_what_is_no_code_is_refused(api: Client, ann: User, code: object) -> None:
    batch = three_outcomes(ann)
    response = api.post(address_of(batch, "retry/"), {"code": code}, content_type="application/json")
    assert response.status_code == 400
    assert {error["attr"] for error in response.json()["errors"]} == {"code"}


def test_a_cancel_keeps_what_is_done_and_can_be_repeated(api: Client, ann: User) -> None:
    batch = settle(ingest(submit(ann, make_csv((1, "Chair", f"{URL} {OTHER_URL}")))), {URL: JPEG})
    first = api.post(address_of(batch, "cancel/"))
    assert first.status_code == 200
    answer = first.json()
    assert answer["status"] == "canceled"
    assert answer["finished_at"] is not None
    assert answer["images"] == image_counts(total=2, completed=1, canceled=1)
    second = api.post(address_of(batch, "cancel/"))
    assert (second.status_code, second.json()) == (200, answer)


def test_a_cancel_before_anything_is_ingested_can_be_taken_back_by_a_retry(api: Client, ann: User) -> None:
    batch = submit(ann)
    assert api.post(address_of(batch, "cancel/")).json()["status"] == "canceled"
    answer = api.post(address_of(batch, "retry/")).json()
    assert (answer["status"], answer["ingested"]) == ("processing", False)
    batch.refresh_from_db()
    assert ingest(batch).images_pending == 1


def test_canceled_images_are_tried_again_by_a_retry(api: Client, ann: User) -> None:
    batch = ingest(submit(ann))
    api.post(address_of(batch, "cancel/"))
    answer = api.post(address_of(batch, "retry/")).json()
    assert (answer["images"]["pending"], answer["images"]["canceled"]) == (1, 0)


def test_a_finished_request_cannot_be_canceled_any_more(api: Client, ann: User) -> None:
    batch = three_outcomes(ann)
    response = api.post(address_of(batch, "cancel/"))
    assert (response.status_code, response.json()["status"]) == (200, "completed_with_errors")


def test_a_deleted_request_is_gone_with_its_rows_and_no_other(api: Client, ann: User) -> None:
    batch, other = three_outcomes(ann), three_outcomes(ann)
    kept = stored_catalogues()
    response = api.delete(address_of(batch))
    assert (response.status_code, response.content) == (204, b"")
    assert Request.objects.get() == other
    for model, of_request in {
        Product: "request",
        Image: "request",
        ProductImage: "product__request",
    }.items():
        assert model._default_manager.count() == model._default_manager.filter(**{of_request: other}).count()
    assert other.images.count() == 3
    assert stored_catalogues() == kept, "files go with the next prune"
    assert api.delete(address_of(batch)).status_code == 404


def test_a_request_under_way_can_be_deleted(api: Client, ann: User) -> None:
    batch = ingest(submit(ann))
    worker = uuid.uuid4()
    (image,) = claim(batch, worker, 1)
    assert api.delete(address_of(batch)).status_code == 204
    outcome = lifecycle.Outcome.failed(image.id, 1, "timeout", "Too late.")
    assert lifecycle.record(batch.pk, [outcome], worker) == []
