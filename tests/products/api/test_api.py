"""Reading by the JSON API: lists, a Request, its Products and Images."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from products import lifecycle
from products.models import Product, Request
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
    submit,
    three_outcomes,
    upload,
)

pytestmark = pytest.mark.django_db


def pages(api: Client, address: str) -> Iterator[dict[str, Any]]:
    """The answers from `address` on, as far as `next` leads."""
    while address:
        response = api.get(address)
        assert response.status_code == 200
        page = response.json()
        assert set(page) == {"next", "previous", "results"}
        yield page
        address = page["next"]


def items(api: Client, address: str) -> list[dict[str, Any]]:
    return [item for page in pages(api, address) for item in page["results"]]


# --- Lists ---


def test_the_pages_of_the_list_follow_next_to_the_end_newest_first(api: Client, ann: User) -> None:
    batches = [submit(ann) for _ in range(5)]
    found = list(pages(api, "/api/requests/?page_size=2"))
    assert [len(page["results"]) for page in found] == [2, 2, 1]
    assert [item["id"] for page in found for item in page["results"]] == [
        str(batch.pk) for batch in reversed(batches)
    ]
    assert found[0]["next"].startswith("http://testserver/api/requests/?")
    assert found[0]["previous"] is None
    back = api.get(found[1]["previous"]).json()
    assert back["results"] == found[0]["results"]


def test_a_request_that_arrives_meanwhile_moves_nothing_to_another_page(api: Client, ann: User) -> None:
    batches = [submit(ann) for _ in range(3)]
    first = api.get("/api/requests/?page_size=2").json()
    submit(ann)
    rest = items(api, first["next"])
    assert [item["id"] for item in rest] == [str(batches[0].pk)]


def test_requests_of_the_same_moment_are_each_listed_once(api: Client, ann: User) -> None:
    batches = [submit(ann) for _ in range(7)]
    Request.objects.update(created_at=timezone.now())
    found = items(api, "/api/requests/?page_size=2")
    assert sorted(item["id"] for item in found) == sorted(str(batch.pk) for batch in batches)


def test_the_list_shows_a_request_as_it_shows_itself(api: Client, ann: User) -> None:
    batch = three_outcomes(ann)
    (listed,) = items(api, "/api/requests/")
    assert listed == api.get(address_of(batch)).json()


def test_the_list_can_be_narrowed_to_a_status(api: Client, ann: User) -> None:
    failed, canceled, _pending = three_outcomes(ann), submit(ann), submit(ann)
    lifecycle.cancel(canceled)
    for status, batch in {"completed_with_errors": failed, "canceled": canceled}.items():
        assert [item["id"] for item in items(api, f"/api/requests/?status={status}")] == [str(batch.pk)]
    assert items(api, "/api/requests/?status=completed") == []


def test_the_filter_holds_on_every_page(api: Client, ann: User) -> None:
    for number in range(6):
        batch = submit(ann)
        if number % 2:
            lifecycle.cancel(batch)
    found = list(pages(api, "/api/requests/?status=canceled&page_size=2"))
    assert [[item["status"] for item in page["results"]] for page in found] == [
        ["canceled"] * 2,
        ["canceled"],
    ]


@pytest.mark.parametrize("part", ["", "products/", "images/"])
@pytest.mark.parametrize("status", ["done", "completed\0"])
def test_an_unknown_status_is_refused_in_every_list(api: Client, ann: User, part: str, status: str) -> None:
    address = address_of(submit(ann), part) if part else "/api/requests/"
    response = api.get(address, {"status": status})
    assert response.status_code == 400
    (error,) = response.json()["errors"]
    assert (error["code"], error["attr"]) == ("invalid_choice", "status")


def test_a_list_of_many_costs_no_more_queries_than_one_of_few(
    api: Client, ann: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    rows = ((number, "Chair", f"{URL}?{number} {URL}") for number in range(50))
    batch = ingest(submit(ann, make_csv(*rows)))
    api.get("/api/requests/")
    with django_assert_num_queries(6):  # session, user, Request, Products, their Images and renditions
        assert len(api.get(address_of(batch, "products/")).json()["results"]) == 50
    with django_assert_num_queries(5):
        assert len(api.get(address_of(batch, "images/")).json()["results"]) == 51


# --- A Request, its Products and Images ---


def test_a_finished_request_counts_what_became_of_its_images(api: Client, ann: User) -> None:
    answer = api.get(address_of(three_outcomes(ann))).json()
    assert answer["status"] == "completed_with_errors"
    assert answer["products"] == {"total": 3}
    assert answer["images"] == image_counts(total=3, completed=1, failed=2)
    assert answer["bytes"] == {"source": 2 * len(JPEG), "output": len(JPEG), "unchanged": 0}
    assert answer["started_at"] <= answer["last_progress_at"] <= answer["finished_at"]
    assert answer["eta_seconds"] is None


def test_a_request_under_way_says_when_it_may_be_done(api: Client, ann: User) -> None:
    batch = ingest(submit(ann, make_csv((1, "Chair", f"{URL} {OTHER_URL} {THIRD_URL}"))))
    assert api.get(address_of(batch)).json()["eta_seconds"] is None
    now = int(time.time())
    Request.objects.update(started_at=timezone.now() - timedelta(seconds=100), recent_progress=[[now, 3]])
    answer = api.get(address_of(batch)).json()
    assert (answer["per_second"], answer["eta_seconds"]) == (0.1, 30)


def test_images_tell_their_outcome_in_order_of_first_appearance(api: Client, ann: User) -> None:
    batch = three_outcomes(ann)
    completed, failed, invalid = items(api, address_of(batch, "images/?page_size=1"))
    image = batch.images.get(url=URL)
    assert completed == {
        "id": str(image.pk),
        "url": URL,
        "fetched_from": None,
        "status": "completed",
        "error": None,
        "attempts": 0,
        "output_url": f"http://testserver/media/{image.output_key}",
        "unchanged": False,
        "animated": False,
        "source": {"bytes": 2 * len(JPEG), "width": 64, "height": 48, "format": "png"},
        "output": {"bytes": len(JPEG), "width": 32, "height": 24, "format": "jpeg", "quality": None},
        "renditions": {},
    }
    assert failed == {
        "id": str(batch.images.get(url=OTHER_URL).pk),
        "url": OTHER_URL,
        "fetched_from": None,
        "status": "failed",
        "error": {"code": "timeout", "detail": "It failed with timeout."},
        "attempts": 0,
        "output_url": None,
        "unchanged": False,
        "animated": False,
        "source": None,
        "output": None,
        "renditions": {},
    }
    assert invalid["url"] == "table.jpg"
    assert invalid["error"] == {
        "code": "invalid_url",
        "detail": "The URL does not start with http:// or https://.",
    }


def test_the_address_of_an_output_leads_to_the_picture(api: Client, ann: User) -> None:
    (image, *_others) = items(api, address_of(three_outcomes(ann), "images/"))
    response: Any = api.get(image["output_url"])
    assert b"".join(response.streaming_content) == JPEG


def test_products_show_their_images_in_the_order_of_the_row(api: Client, ann: User) -> None:
    rows = (7, "Chair", f"{OTHER_URL} {URL} {OTHER_URL}"), ("", "", URL), (9, "None", "")
    batch = ingest(submit(ann, make_csv(*rows)))
    found = items(api, address_of(batch, "products/?page_size=1"))
    shown = {image["url"]: image for image in items(api, address_of(batch, "images/"))}
    first = Product.objects.get(request=batch, row_number=1)
    assert found[0] == {
        "id": str(first.pk),
        "row_number": 1,
        "serial_number": "7",
        "product_name": "Chair",
        "status": "pending",
        "images": [shown[OTHER_URL], shown[URL], shown[OTHER_URL]],
    }
    assert [(product["row_number"], product["status"]) for product in found] == [
        (1, "pending"),
        (2, "pending"),
        (3, "completed"),
    ]


def test_images_can_be_narrowed_to_a_status(api: Client, ann: User) -> None:
    batch = three_outcomes(ann)
    failed = items(api, address_of(batch, "images/?status=failed&page_size=1"))
    assert [image["url"] for image in failed] == [OTHER_URL, "table.jpg"]
    assert [image["url"] for image in items(api, address_of(batch, "images/?status=completed"))] == [URL]
    assert items(api, address_of(batch, "images/?status=pending")) == []


def test_products_can_be_narrowed_to_a_status(api: Client, ann: User) -> None:
    invalid = "c.jpg"
    shown = [[], [URL], [OTHER_URL], [THIRD_URL], [URL, OTHER_URL], [URL, THIRD_URL], [OTHER_URL, invalid]]
    rows = [(number, "Chair", "|".join(urls)) for number, urls in enumerate(shown, 1)]
    batch = settle(ingest(submit(ann, make_csv(*rows))), {URL: JPEG, OTHER_URL: "timeout"})
    check_statuses(api, batch, {"completed": [1, 2], "failed": [3, 7], "pending": [4, 6]}, mixed=[5])
    lifecycle.cancel(batch)
    check_statuses(api, batch, {"completed": [1, 2], "failed": [3, 7], "canceled": [4]}, mixed=[5, 6])


def check_statuses(api: Client, batch: Request, expected: dict[str, list[int]], mixed: list[int]) -> None:
    """The Products listed under each status are `expected`, and each says that status of itself."""
    for status in Request.Status.values:
        found = items(api, address_of(batch, f"products/?status={status}&page_size=1"))
        numbers = mixed if status == "completed_with_errors" else expected.get(status, [])
        assert [(product["row_number"], product["status"]) for product in found] == [
            (number, status) for number in numbers
        ]


def test_an_upload_over_the_api_can_be_followed_by_its_own_links(api: Client) -> None:
    urls = upload(api, make_csv()).json()["urls"]
    settle(ingest(Request.objects.get()), {URL: JPEG})
    for name in ("products", "images", "results_csv", "images_zip"):
        assert api.get(urls[name]).status_code == 200
