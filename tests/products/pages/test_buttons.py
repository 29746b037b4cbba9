"""Buttons of a Request."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from products import lifecycle
from products.models import Request
from tests.support.pages import PICTURE, address, body, ingested, pictures, settle, submitted

pytestmark = pytest.mark.django_db


def test_cancel_stops_an_active_request(page: Client, ann: User) -> None:
    batch = ingested(ann)
    answer = page.post(address("request-cancel", batch), follow=True)
    assert answer.redirect_chain == [(address("request", batch), 302)]
    assert "Request canceled. Completed pictures are kept." in body(answer)
    batch.refresh_from_db()
    assert (batch.status, batch.images_canceled) == (Request.Status.CANCELED, 1)
    again = page.post(address("request-cancel", batch), follow=True)
    assert "This request has already finished." in body(again)


def test_retry_tries_again_what_failed(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(3))
    settle(batch, PICTURE, "http_404", "timeout")
    answer = page.post(address("request-retry", batch), follow=True)
    assert "Retry started." in body(answer)
    batch.refresh_from_db()
    assert (batch.status, batch.run, batch.images_pending) == (Request.Status.PROCESSING, 2, 2)


def test_the_retry_button_names_what_it_does(page: Client, ann: User) -> None:
    finished, canceled, refused = (ingested(ann, *pictures(2)), ingested(ann, *pictures(2)), submitted(ann))
    settle(finished, PICTURE, "timeout")
    settle(canceled, "timeout")
    lifecycle.cancel(canceled)
    lifecycle.abort_ingest(refused, "The stored file is gone.")
    for batch, label in {finished: "Retry failed", canceled: "Resume", refused: "Retry"}.items():
        assert f'<button id="retry">{label}</button>' in body(page.get(address("request", batch)))


def test_retry_of_one_code_leaves_the_others_alone(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(3))
    settle(batch, PICTURE, "http_404", "timeout")
    page.post(address("request-retry", batch), {"code": "timeout"})
    assert list(batch.images.pending().values_list("url", flat=True)) == ["https://shop.example/3.jpg"]


def test_retry_resumes_what_was_canceled_before_any_row_was_read(page: Client, ann: User) -> None:
    batch = submitted(ann)
    lifecycle.cancel(batch)
    assert address("request-retry", batch) in body(page.get(address("request", batch)))
    assert "Retry started." in body(page.post(address("request-retry", batch), follow=True))


@pytest.mark.parametrize("code", ["", "dns", "\0", "x" * 31])
def test_where_nothing_can_be_tried_again_a_message_says_so(page: Client, ann: User, code: str) -> None:
    batch = ingested(ann)
    settle(batch, PICTURE)
    answer = page.post(address("request-retry", batch), {"code": code}, follow=True)
    assert '<li class="warning">Nothing to retry.</li>' in body(answer)


def test_delete_removes_the_request_and_says_so(page: Client, ann: User) -> None:
    batch = ingested(ann)
    answer = page.post(address("request-delete", batch), follow=True)
    assert answer.redirect_chain == [("/", 302)]
    assert "catalogue.csv deleted." in body(answer)
    assert not Request.objects.exists()


def test_cancel_asks_once_and_says_what_stays(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(2))
    shown = body(page.get(address("request", batch)))
    question, _, form = shown.partition("Cancel this request</summary>")[2].partition("<form")
    assert "Completed pictures are kept. Pictures that are still waiting are not fetched." in question
    assert form.startswith(f' method="post" action="{address("request-cancel", batch)}"')
    settle(batch, PICTURE, "timeout")
    lifecycle.retry(batch)
    shown = body(page.get(address("request", batch)))
    question = shown.partition("Cancel this run</summary>")[2].partition("<form")[0]
    assert "become what they were before this run" in question


def test_a_request_is_renamed_and_gets_a_note(page: Client, ann: User) -> None:
    batch = ingested(ann)
    path = address("request-details", batch)
    assert "Saved." in body(page.post(path, {"name": "Spring", "note": "For the fair"}, follow=True))
    shown = body(page.get(address("request", batch)))
    assert "<h1>Spring</h1>" in shown
    assert "<p>For the fair</p>" in shown
    answer = page.post(path, {"name": 201 * "x"})
    assert answer.status_code == 400
    assert "at most 200 characters" in body(answer)
    page.post(path, {})
    assert "<h1>catalogue.csv</h1>" in body(page.get(address("request", batch)))


def test_a_request_is_run_again_with_other_options(page: Client, ann: User) -> None:
    batch = submitted(ann, quality=70)
    assert address("request-repeat", batch) in body(page.get(address("request", batch)))
    assert 'value="70"' in body(page.get(address("request-repeat", batch)))
    options = {"quality": "60", "format": "webp", "max_width": "800"}
    answer = page.post(address("request-repeat", batch), options, follow=True)
    again = Request.objects.exclude(pk=batch.pk).get()
    assert answer.redirect_chain == [(address("request", again), 302)]
    assert (again.quality, again.format, again.max_width, again.run_by) == (60, "webp", 800, "repeat")
    answer = page.post(address("request-repeat", batch), options | {"quality": "96"})
    assert answer.status_code == 400
    assert "Use a whole number from 1 to 95, or auto." in body(answer)


def test_running_again_is_limited_like_an_upload(page: Client, ann: User, settings: Settings) -> None:
    settings.USER_UPLOADS_PER_MINUTE = 0
    answer = page.post(address("request-repeat", submitted(ann)), {"quality": "60", "format": "jpeg"})
    assert answer.status_code == 429
    assert "More than 0 uploads in a minute." in body(answer)
    assert Request.objects.count() == 1
