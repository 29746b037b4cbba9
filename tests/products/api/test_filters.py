"""Filters of the API's lists."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client

from products.models import Image, Request
from tests.support.factories import JPEG, address_of, ingest, make_csv, make_user, settle, submit

pytestmark = pytest.mark.django_db

REQUESTS = "/api/requests/"
GOOD = "https://one.example/Chairs/good.jpg"
MISSING = "https://one.example/missing.jpg"
GONE = "https://two.example:8443/missing.jpg"
SLOW = "https://two.example:8443/slow.jpg"
OPEN = "https://one.example/open.jpg"


@pytest.fixture
def batch(ann: User) -> Request:
    """A Request with a completed, three failed and a pending image."""
    rows = (
        ("A-1", "Oak chair", GOOD),
        ("A-2", "Oak table", f"{GOOD} {MISSING}"),
        ("B-3", "Lamp", GONE),
        ("B-4", "Lamp, large", f"{SLOW} {MISSING}"),
        ("B-5", "Vase", OPEN),
    )
    outcomes: dict[str, bytes | str] = {GOOD: JPEG, MISSING: "http_404", GONE: "http_404", SLOW: "timeout"}
    return settle(ingest(submit(ann, make_csv(*rows))), outcomes)


def listed(api: Client, path: str, **query: str) -> list[dict[str, Any]]:
    answer = api.get(path, query)
    assert answer.status_code == 200, answer.content
    return list(answer.json()["results"])


def images(api: Client, batch: Request, **query: str) -> list[str]:
    return [image["url"] for image in listed(api, address_of(batch, "images/"), **query)]


def products(api: Client, batch: Request, **query: str) -> list[str]:
    return [product["serial_number"] for product in listed(api, address_of(batch, "products/"), **query)]


def error_of(answer: Any) -> tuple[str, str]:
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    return error["code"], error["attr"]


# --- Requests ---


def test_requests_are_found_by_their_file_name(api: Client, ann: User) -> None:
    for name in ("spring.csv", "Spring 2026.csv", "autumn.csv"):
        submit(ann, name=name)

    def names(**query: str) -> list[str]:
        return [request["filename"] for request in listed(api, REQUESTS, **query)]

    assert names(q="SPRING") == ["Spring 2026.csv", "spring.csv"]
    assert names(q="%") == names(q="winter") == []
    assert names(filename="spring.csv") == ["spring.csv"]
    assert names(filename="spring") == names(filename="SPRING.csv") == []
    assert names(q="spring", filename="autumn.csv") == []
    assert len(names(q="", filename="", status="")) == 3


def test_requests_are_found_by_the_time_of_their_upload(api: Client, ann: User) -> None:
    first, second, third = (submit(ann) for _ in range(3))
    noon = datetime.fromisoformat("2026-03-01T12:00:00+00:00")
    for day, batch in enumerate((first, second, third)):
        Request.objects.filter(pk=batch.pk).update(created_at=noon + timedelta(days=day))

    def ids(**query: str) -> list[str]:
        return [request["id"] for request in listed(api, REQUESTS, **query)]

    assert ids(created_after="2026-03-02T12:00:00Z") == [str(third.pk), str(second.pk)]
    assert ids(created_before="2026-03-02T12:00:00Z") == [str(first.pk)]
    assert ids(created_after="2026-03-02T13:30:00+01:00") == [str(third.pk)]
    assert ids(created_after="2026-03-01T19:00:00-18:13") == [str(third.pk)]  # more than PostgreSQL takes
    window = {"created_after": "2026-03-01T00:00:00", "created_before": "2026-03-02T00:00:00"}
    assert ids(**window) == [str(first.pk)]


@pytest.mark.parametrize("name", ["created_after", "created_before"])
@pytest.mark.parametrize(
    "value", ["yesterday", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
)
def test_a_time_that_is_none_is_refused(api: Client, name: str, value: str) -> None:
    assert error_of(api.get(REQUESTS, {name: value})) == ("invalid", name)


def test_filters_show_nobody_else_s_requests(api: Client, ann: User) -> None:
    submit(make_user("bob"), name="bob.csv")
    assert listed(api, REQUESTS, q="bob") == listed(api, REQUESTS, filename="bob.csv") == []


def test_filters_are_for_lists_only(api: Client, batch: Request) -> None:
    assert api.get(address_of(batch), {"status": "completed", "nothing": "1"}).json()["id"] == str(batch.pk)


# --- Images ---


def test_images_are_found_by_part_of_their_url(api: Client, batch: Request) -> None:
    assert images(api, batch, q="chairs/") == [GOOD]
    assert images(api, batch, q="missing") == [MISSING, GONE]
    assert images(api, batch, q="_") == []


def test_images_are_found_by_the_code_they_failed_with(api: Client, batch: Request) -> None:
    Image.objects.filter(url=OPEN).update(error_code="timeout")  # of an attempt that will be repeated
    assert images(api, batch, code="http_404") == [MISSING, GONE]
    assert images(api, batch, code="timeout") == [SLOW]
    assert images(api, batch, code="dns") == []


def test_images_are_found_by_their_host(api: Client, batch: Request) -> None:
    assert images(api, batch, host="one.example") == [GOOD, MISSING, OPEN]
    assert images(api, batch, host="TWO.example:8443") == [GONE, SLOW]
    assert images(api, batch, host="two.example") == []


def test_filters_of_images_add_up_on_every_page(api: Client, batch: Request) -> None:
    assert images(api, batch, status="failed", host="one.example") == [MISSING]
    assert images(api, batch, code="http_404", host="two.example:8443", q="missing") == [GONE]
    path = address_of(batch, "images/")
    first = api.get(path, {"code": "http_404", "page_size": "1"}).json()
    second = api.get(first["next"]).json()
    assert [page["results"][0]["url"] for page in (first, second)] == [MISSING, GONE]
    assert second["next"] is None


# --- Products ---


def test_products_are_found_by_serial_number_name_or_the_url_of_an_image(api: Client, batch: Request) -> None:
    assert products(api, batch, q="a-") == ["A-1", "A-2"]
    assert products(api, batch, q="LAMP") == ["B-3", "B-4"]
    assert products(api, batch, q=GOOD) == ["A-1", "A-2"]
    assert products(api, batch, q=GOOD[:-1]) == []


def test_products_are_found_by_the_code_an_image_failed_with(api: Client, batch: Request) -> None:
    assert products(api, batch, code="http_404") == ["A-2", "B-3", "B-4"]
    assert products(api, batch, code="dns") == []


def test_products_are_found_by_the_host_of_an_image(api: Client, batch: Request) -> None:
    assert products(api, batch, host="one.example") == ["A-1", "A-2", "B-4", "B-5"]
    assert products(api, batch, host="Two.example:8443") == ["B-3", "B-4"]


def test_code_and_host_of_products_are_about_the_same_image(api: Client, batch: Request) -> None:
    # B-4 has an image that failed with http_404 and another one at this host.
    assert products(api, batch, code="http_404", host="TWO.example:8443") == ["B-3"]


def test_filters_of_products_add_up(api: Client, batch: Request) -> None:
    assert products(api, batch, status="failed", q="lamp", code="timeout") == ["B-4"]
    assert products(api, batch, status="completed", q="oak") == ["A-1"]


# --- What is refused ---


@pytest.mark.parametrize("part", ["", "products/", "images/"])
def test_an_unknown_filter_of_a_request_s_lists_is_refused(api: Client, ann: User, part: str) -> None:
    path = address_of(submit(ann), part) if part else REQUESTS
    answer = api.get(path, {"statuses": "failed", "colour": "red", "page_size": "2"})
    assert answer.status_code == 400
    errors = answer.json()["errors"]
    assert [(error["code"], error["attr"]) for error in errors] == [
        ("unknown_option", "colour"),
        ("unknown_option", "statuses"),
    ]
    assert "status" in errors[0]["detail"]


@pytest.mark.parametrize(
    ("part", "name"), [("", "host"), ("products/", "filename"), ("images/", "created_after")]
)
def test_a_filter_of_another_list_is_unknown(api: Client, ann: User, part: str, name: str) -> None:
    path = address_of(submit(ann), part) if part else REQUESTS
    assert error_of(api.get(path, {name: "x"})) == ("unknown_option", name)


def test_unknown_filters_do_not_tell_which_requests_exist(api: Client) -> None:
    assert api.get(f"{REQUESTS}{uuid4()}/images/", {"nothing": "1"}).status_code == 404


@pytest.mark.parametrize("name", ["q", "code", "host"])
@pytest.mark.parametrize("part", ["products/", "images/"])
def test_a_text_that_no_database_holds_is_refused(api: Client, ann: User, part: str, name: str) -> None:
    answer = api.get(address_of(submit(ann), part), {name: "a\0b"})
    assert error_of(answer) == ("null_characters_not_allowed", name)


# --- The schema ---


def test_the_schema_describes_every_filter(api: Client) -> None:
    paths = api.get("/api/schema/", headers={"Accept": "application/json"}).json()["paths"]
    filters = {
        path.removeprefix(REQUESTS): {
            parameter["name"]
            for parameter in paths[path]["get"]["parameters"]
            if parameter["in"] == "query" and parameter["description"]
        }
        for path in (REQUESTS, f"{REQUESTS}{{id}}/products/", f"{REQUESTS}{{id}}/images/")
    }
    paging = {"cursor", "page_size"}
    assert filters == {
        "": {"status", "q", "filename", "created_after", "created_before", "profile", "feed"} | paging,
        "{id}/products/": {"status", "q", "code", "host"} | paging,
        "{id}/images/": {"status", "q", "code", "host"} | paging,
    }
