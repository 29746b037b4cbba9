"""Calls that repair failures, change a request's name, and run it again."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.test import Client

from products.models import Request
from tests.support.factories import (
    JPEG,
    OTHER_URL,
    THIRD_URL,
    URL,
    address_of,
    ingest,
    make_csv,
    settle,
    submit,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def batch(ann: User) -> Request:
    """A finished Request: one picture is completed, one is missing, one timed out, one URL is invalid."""
    rows = (
        (1, "Chair", f"{URL} {OTHER_URL}"),
        (2, "Table", f"{THIRD_URL} {OTHER_URL}"),
        (3, "Lamp", "lamp.jpg"),
    )
    found = ingest(submit(ann, make_csv(*rows)))
    return settle(found, {URL: JPEG, OTHER_URL: "http_404", THIRD_URL: "timeout"})


def post(api: Client, batch: Request, part: str, **body: Any) -> Any:
    return api.post(address_of(batch, part), body, content_type="application/json")


def patch(api: Client, batch: Request, part: str, **body: Any) -> Any:
    return api.patch(address_of(batch, part), body, content_type="application/json")


def image_part(batch: Request, url: str) -> str:
    return f"images/{batch.images.get(url=url).pk}/"


def error(response: Any) -> tuple[int, str, str | None]:
    (only,) = response.json()["errors"]
    return response.status_code, only["code"], only["attr"]


def pending(batch: Request) -> set[str]:
    return {image.source_url for image in batch.images.pending()}


def test_failures_are_listed_by_cause_and_host_with_their_rows(api: Client, batch: Request) -> None:
    groups = api.get(address_of(batch, "failures/")).json()["results"]
    found = {(group["code"], group["host"]): (group["count"], group["rows"]) for group in groups}
    host = batch.images.get(url=OTHER_URL).host
    assert found == {("http_404", host): (1, 2), ("timeout", host): (1, 1), ("invalid_url", ""): (1, 1)}
    assert all(group["title"] and group["advice"] for group in groups)


def test_a_retry_is_limited_by_code_host_and_ids(api: Client, batch: Request) -> None:
    ids = [str(batch.images.get(url=THIRD_URL).pk)]
    answer = post(api, batch, "retry/", images=ids).json()
    assert (answer["status"], answer["images"]["pending"], answer["run"]) == ("processing", 1, 2)
    assert pending(batch) == {THIRD_URL}
    assert error(post(api, batch, "retry/")) == (409, "active", None)
    api.post(address_of(batch, "cancel/"))
    assert post(api, batch, "retry/", host="nowhere.example").json()["run"] == 2
    host = batch.images.get(url=OTHER_URL).host.upper()
    assert post(api, batch, "retry/", host=host, code="http_404").json()["images"]["pending"] == 1


def test_a_retry_refuses_what_it_does_not_know(api: Client, batch: Request) -> None:
    assert error(post(api, batch, "retry/", hots="x")) == (400, "unknown_option", "hots")
    assert error(post(api, batch, "retry/", code="nope")) == (400, "invalid", "code")
    assert error(post(api, batch, "retry/", code="http_4")) == (400, "invalid", "code")
    completed = str(batch.images.get(url=URL).pk)
    assert error(post(api, batch, "retry/", images=[completed])) == (400, "invalid", "images")
    assert post(api, batch, "retry/", images=["x"]).status_code == 400
    batch.refresh_from_db()
    assert batch.run == 1


def test_a_failed_picture_is_fetched_from_another_url(api: Client, batch: Request) -> None:
    part = image_part(batch, OTHER_URL)
    answer = patch(api, batch, part, url="https://cdn.example/b.jpg")
    assert answer.status_code == 200
    assert (answer.json()["url"], answer.json()["fetched_from"]) == (OTHER_URL, "https://cdn.example/b.jpg")
    assert error(patch(api, batch, part, url="https://cdn.example/b.jpg")) == (409, "active", None)
    batch.refresh_from_db()
    settle(batch, {"https://cdn.example/b.jpg": JPEG})
    assert error(patch(api, batch, part, url="https://cdn.example/b.jpg")) == (409, "not_failed", None)
    body = b"".join(api.get(address_of(batch, "results.csv")).streaming_content).decode()  # type: ignore[attr-defined]
    assert OTHER_URL in body
    assert "cdn.example" not in body


def test_a_change_of_a_picture_is_checked(api: Client, batch: Request) -> None:
    part = image_part(batch, OTHER_URL)
    assert error(patch(api, batch, part, url="ftp://x.example/")) == (400, "invalid_url", "url")
    assert patch(api, batch, part).status_code == 400
    assert patch(api, batch, part, url="https://x.example/", ignored=True).status_code == 400
    assert error(patch(api, batch, part, name="x")) == (400, "unknown_option", "name")
    for unknown in ("nothing", "6a1f7c1e-0f0b-4d52-9a53-2f1d6f0f9c11"):
        assert patch(api, batch, f"images/{unknown}/", ignored=True).status_code == 404


def test_pictures_that_are_left_out_do_not_count_as_failed(api: Client, batch: Request) -> None:
    for url in (OTHER_URL, THIRD_URL, "lamp.jpg"):
        assert patch(api, batch, image_part(batch, url), ignored=True).json()["status"] == "ignored"
    answer = api.get(address_of(batch)).json()
    assert (answer["status"], answer["images"]["failed"], answer["images"]["ignored"]) == ("completed", 0, 3)
    assert len(answer["runs"]) == 1
    assert patch(api, batch, image_part(batch, OTHER_URL), ignored=False).json()["status"] == "failed"
    assert api.get(address_of(batch)).json()["status"] == "completed_with_errors"


def test_a_text_in_urls_is_replaced_after_a_dry_run(api: Client, batch: Request) -> None:
    batch.images.filter(url=OTHER_URL)
    tried = post(api, batch, "replace/", find="lamp", replace="https://cdn.example/lamp", dry_run=True).json()
    expected = {"url": "lamp.jpg", "becomes": "https://cdn.example/lamp.jpg"}
    assert tried == {"count": 1, "examples": [expected], "invalid": 0}
    assert pending(batch) == set()
    assert post(api, batch, "replace/", find="lamp", replace="https://cdn.example/lamp").json() == tried
    assert pending(batch) == {"https://cdn.example/lamp.jpg"}
    assert error(post(api, batch, "replace/", find="a", replace="b")) == (409, "active", None)
    assert error(post(api, batch, "replace/", find="", replace="b"))[::2] == (400, "find")


def test_a_corrected_file_is_applied_after_a_dry_run(api: Client, batch: Request) -> None:
    new = "https://cdn.example/b.jpg"
    rows = (1, "Chair", f"{URL} {new}"), (9, "Unknown", URL)

    def send(**options: str) -> Any:
        file = ContentFile(make_csv(*rows), "corrected.csv")
        return api.post(address_of(batch, "corrections/"), {"file": file, **options})

    expected = {"count": 1, "examples": [{"url": OTHER_URL, "becomes": new}], "invalid": 0, "unmatched": 1}
    assert send(dry_run="true").json() == expected
    assert pending(batch) == set()
    assert send().json() == expected
    assert pending(batch) == {new}
    assert error(send()) == (409, "active", None)
    assert error(api.post(address_of(batch, "corrections/"), {"file": ContentFile(b"", "x.csv")}))[0] == 409


def test_a_request_has_a_name_and_a_note(api: Client, batch: Request) -> None:
    answer = patch(api, batch, "", name="Spring", note="For the new shop").json()
    assert (answer["name"], answer["note"], answer["filename"]) == (
        "Spring",
        "For the new shop",
        batch.filename,
    )
    assert error(patch(api, batch, "", filename="x.csv")) == (400, "unknown_option", "filename")
    assert error(patch(api, batch, "", name="x" * 201)) == (400, "max_length", "name")
    page = api.get(f"/requests/{batch.pk}/").content.decode()
    assert "<h1>Spring</h1>" in page
    assert "For the new shop" in page


def test_a_request_is_repeated_with_other_options(api: Client, batch: Request) -> None:
    answer = post(api, batch, "repeat/", quality=80)
    assert answer.status_code == 201
    again = answer.json()
    assert again["id"] != str(batch.pk)
    assert (again["options"]["quality"], again["options"]["format"]) == (80, "jpeg")
    assert (again["filename"], again["runs"][0]["by"]) == (batch.filename, "repeat")
    assert ingest(Request.objects.get(pk=again["id"])).images_total == 4
    assert error(post(api, batch, "repeat/", qualty=80)) == (400, "unknown_option", "qualty")
    assert error(post(api, batch, "repeat/", quality=99)) == (400, "max_value", "quality")


def test_each_run_is_listed(api: Client, batch: Request) -> None:
    post(api, batch, "retry/", code="timeout")
    batch.refresh_from_db()
    settle(batch, {THIRD_URL: JPEG})
    runs = api.get(address_of(batch)).json()["runs"]
    assert [(run["run"], run["by"], run["completed"], run["failed"], run["canceled"]) for run in runs] == [
        (1, "upload", 1, 3, False),
        (2, "retry", 2, 2, False),
    ]
    listed = api.get("/api/requests/").json()["results"][0]
    assert listed["runs"] == runs
