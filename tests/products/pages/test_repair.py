"""The page on which failures are repaired, without scripts."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from products.models import Request
from tests.support.factories import (
    JPEG,
    OTHER_URL,
    THIRD_URL,
    URL,
    client_of,
    ingest,
    make_csv,
    make_user,
    settle,
    submit,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def batch(ann: User) -> Request:
    """A finished Request with two failures of different causes."""
    found = ingest(submit(ann, make_csv((1, "Chair", f"{URL} {OTHER_URL}"), (2, "Table", THIRD_URL))))
    return settle(found, {URL: JPEG, OTHER_URL: "http_404", THIRD_URL: "timeout"})


@pytest.fixture
def page(ann: User) -> Client:
    return client_of(ann)


def path(batch: Request, name: str = "failures", *ids: Any) -> str:
    return reverse(f"request-{name}", args=[batch.pk, *ids])


def groups(batch: Request) -> dict[str, str]:
    """Return the names of the groups in the form, by error code."""
    return {image.error_code: f"{image.error_code} {image.host}" for image in batch.images.failed()}


def shown(response: Any, status: int = 200) -> str:
    assert response.status_code == status
    text: str = response.content.decode()
    return text


def pending(batch: Request) -> set[str]:
    return {image.source_url for image in batch.images.pending()}


def test_the_page_shows_groups_and_the_pictures_of_one(page: Client, batch: Request) -> None:
    text = shown(page.get(path(batch)))
    assert "Picture not found (404)" in text
    assert OTHER_URL not in text
    host = batch.images.get(url=OTHER_URL).host
    text = shown(page.get(path(batch), {"code": "http_404", "host": host}))
    assert OTHER_URL in text
    assert THIRD_URL not in text
    assert "1 Chair" in text
    assert f'href="{path(batch)}"' in shown(page.get(batch.get_absolute_url()))


def test_groups_that_are_ticked_are_retried(page: Client, batch: Request) -> None:
    names = groups(batch)
    text = shown(page.post(path(batch), {"action": "retry", "group": [names["timeout"]]}, follow=True))
    assert "Fetching 1 picture." in text
    assert pending(batch) == {THIRD_URL}
    assert "Wait until the request has finished" in shown(page.get(path(batch)))
    text = shown(page.post(path(batch), {"action": "retry", "group": [names["http_404"]]}, follow=True))
    assert "still being processed" in text


def test_of_very_many_failures_the_rows_are_not_counted(
    page: Client, batch: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 'data-label="Rows">1</td>' in shown(page.get(path(batch)))
    monkeypatch.setattr("products.pages.failures.MAX_COUNTED_FAILURES", 1)
    text = shown(page.get(path(batch)))
    assert 'data-label="Pictures">1</td>' in text
    assert "Rows</th>" not in text.partition('id="groups"')[2] and 'data-label="Rows"' not in text


def test_groups_that_have_no_room_are_on_the_next_page_and_are_retried_there(
    page: Client, batch: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("products.pages.failures.SHOWN_GROUPS", 1)
    names = groups(batch)
    first, second = (shown(page.get(path(batch), {"page": number})) for number in (1, 2))
    assert names["http_404"] in first
    assert names["timeout"] not in first
    assert 'href="?page=2"' in first
    assert names["timeout"] in second
    shown(page.post(path(batch), {"action": "retry", "group": [names["timeout"]]}, follow=True))
    assert pending(batch) == {THIRD_URL}


def test_groups_and_pictures_are_left_out(page: Client, batch: Request) -> None:
    text = shown(
        page.post(path(batch), {"action": "ignore", "group": [groups(batch)["timeout"]]}, follow=True)
    )
    assert "Left out 1 picture." in text
    image = batch.images.get(url=OTHER_URL)
    shown(page.post(path(batch), {"action": "ignore", "image": [str(image.pk)]}, follow=True))
    batch.refresh_from_db()
    assert (batch.status, batch.images_ignored) == (Request.Status.COMPLETED, 2)
    assert "No picture has failed" in shown(page.get(path(batch)))


@pytest.mark.parametrize("data", [{}, {"group": "nope x"}, {"image": ["x"]}, {"action": "nope"}], ids=str)
def test_nothing_that_is_not_on_the_page_is_repaired(
    page: Client, batch: Request, data: dict[str, Any]
) -> None:
    text = shown(page.post(path(batch), {"action": "retry"} | data), status=400)
    assert "Nothing was selected" in text
    assert pending(batch) == set()


def test_one_picture_is_fetched_from_another_url(page: Client, batch: Request) -> None:
    address = path(batch, "fetch-from", batch.images.get(url=OTHER_URL).pk)
    assert "does not start with http" in shown(page.post(address, {"url": "b.jpg"}), status=400)
    shown(page.post(address, {"url": "https://cdn.example/b.jpg"}, follow=True))
    assert pending(batch) == {"https://cdn.example/b.jpg"}


def test_a_text_in_urls_is_replaced_after_a_preview(page: Client, batch: Request) -> None:
    name = OTHER_URL.rpartition("/")[2]
    data = {"find": name, "replacement": "new.jpg"}
    text = shown(page.post(path(batch, "replace"), data | {"preview": "1"}))
    assert "1 picture would be fetched from another URL" in text
    assert OTHER_URL.replace(name, "new.jpg") in text
    assert pending(batch) == set()
    shown(page.post(path(batch, "replace"), data, follow=True))
    assert pending(batch) == {OTHER_URL.replace(name, "new.jpg")}


def test_a_corrected_file_is_applied_after_a_preview(page: Client, batch: Request) -> None:
    def send(**data: str) -> Any:
        file = ContentFile(make_csv((1, "Chair", f"{URL} https://cdn.example/b.jpg")), "corrected.csv")
        return page.post(path(batch, "corrections"), {"file": file, **data}, follow=True)

    assert "https://cdn.example/b.jpg" in shown(send(preview="1"))
    assert pending(batch) == set()
    assert "Fetching 1 picture." in shown(send())
    assert pending(batch) == {"https://cdn.example/b.jpg"}


def test_a_file_that_cannot_be_read_is_refused_with_its_reason(page: Client, batch: Request) -> None:
    text = shown(page.post(path(batch, "corrections"), {"file": ContentFile(b"\0\1", "x.csv")}), status=400)
    assert "errorlist" in text
    assert "errorlist" in shown(page.post(path(batch, "replace"), {"find": ""}), status=400)


def test_a_file_that_is_too_large_is_refused_on_a_page_of_its_own(
    page: Client, batch: Request, settings: Settings
) -> None:
    settings.UPLOAD_MAX_BYTES = 10
    data = {"file": ContentFile(bytes(20), "x.csv"), "preview": "1"}
    answer = page.post(path(batch, "corrections"), data, headers={"HX-Request": "true"})
    assert "File too large" in shown(answer, status=400)
    names = ("HX-Retarget", "HX-Reselect", "HX-Reswap")
    assert [answer.headers[name] for name in names] == ["#main", "#main", "outerHTML"]


def test_repairs_are_limited_like_uploads(page: Client, batch: Request, settings: Settings) -> None:
    settings.USER_UPLOADS_PER_MINUTE = 0
    file = ContentFile(make_csv((1, "Chair", f"{URL} https://cdn.example/b.jpg")), "corrected.csv")
    answer = page.post(path(batch, "corrections"), {"file": file})
    assert "More than 0 uploads in a minute." in shown(answer, status=429)
    settings.USER_MAX_OPEN_REQUESTS = 0
    answer = page.post(path(batch), {"action": "retry", "group": [groups(batch)["timeout"]]})
    assert answer.status_code == 429
    assert pending(batch) == set()


def test_others_neither_see_nor_repair(batch: Request) -> None:
    bob, nora = client_of(make_user("bob")), client_of(make_user("nora", is_staff=True))
    assert bob.get(path(batch)).status_code == 404
    assert bob.post(path(batch), {"action": "retry"}).status_code == 404
    assert "<button" not in shown(nora.get(path(batch))).partition("<main")[2].partition("</main>")[0]
    assert nora.post(path(batch), {"action": "retry"}).status_code == 403
