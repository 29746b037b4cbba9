"""Requests that an open page makes by itself."""

import re
import uuid
from datetime import timedelta
from html import unescape
from urllib.parse import urljoin

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from products.models import Request
from tests.support.factories import ingest
from tests.support.pages import (
    HTMX,
    PICTURE,
    address,
    body,
    ingested,
    pictures,
    settle,
    submitted,
)

pytestmark = pytest.mark.django_db


def polled(shown: str) -> str:
    """The address that a page polls."""
    return unescape(re.findall(r'hx-get="([^"]*seen=[^"]*)"', shown)[0])


def test_polling_gets_the_progress_alone_and_goes_on(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(2))
    settle(batch, PICTURE)
    answer = page.get(address("request-progress", batch), headers=HTMX)
    title, _, rest = answer.content.decode().partition("\n")
    assert title == "<title>50 % · catalogue.csv – Image Extractor</title>"
    assert rest.startswith('<section id="progress"')
    assert "1 of 2 pictures done" in body(answer)
    assert 'hx-trigger="every 3s"' in body(answer)
    assert "HX-Refresh" not in answer.headers


def test_polling_a_request_that_has_just_finished_gets_the_whole_content(page: Client, ann: User) -> None:
    batch = ingested(ann)
    settle(batch, PICTURE)
    answer = page.get(address("request-progress", batch), headers=HTMX)
    assert (answer.headers["HX-Retarget"], answer.headers["HX-Reselect"]) == ("#main", "#main")
    assert "<title>Completed · catalogue.csv" in body(answer)
    assert "hx-trigger" not in body(answer)


def test_the_progress_of_a_finished_request_polls_no_more(page: Client, ann: User) -> None:
    batch = ingested(ann)
    settle(batch, PICTURE)
    answer = page.get(address("request-progress", batch))
    assert "HX-Refresh" not in answer.headers
    assert "hx-" not in body(answer)


def test_polling_gets_the_whole_content_when_the_file_has_been_read(page: Client, ann: User) -> None:
    batch = submitted(ann, *pictures(2))
    path = address("request-progress", batch)
    answer = page.get(f"{path}?reading", headers=HTMX)
    seen = polled(body(answer))
    assert seen.startswith(f"{path}?reading&seen=")
    assert 'id="outcomes"' not in body(page.get(seen, headers=HTMX))
    assert "HX-Retarget" not in answer.headers
    ingest(batch)
    answer = page.get(f"{path}?reading", headers=HTMX)
    assert answer.headers["HX-Retarget"] == "#main"
    assert "0 of 2 pictures done" in body(answer)
    assert "HX-Retarget" not in page.get(path, headers=HTMX).headers


def test_what_is_waited_for_is_named_with_its_number_and_moment(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(3))
    settle(batch, PICTURE)
    shown = body(page.get(address("request-progress", batch)))
    assert "wait for" not in shown
    batch.images.pending().filter(number=2).update(
        due_at=timezone.now() + timedelta(seconds=14), error_code="http_429", attempts=1
    )
    shown = body(page.get(address("request-progress", batch)))
    assert re.search(r'2 pictures wait for shop\.example, next try <time .*? UTC">in 1[0-4] s</time>', shown)


@pytest.mark.parametrize(("quiet", "seconds"), [(0, 3), (12, 3), (50, 5), (3600, 15)])
def test_a_page_asks_less_often_the_longer_nothing_has_moved(
    page: Client, ann: User, quiet: int, seconds: int
) -> None:
    batch = ingested(ann, *pictures(2))
    settle(batch, PICTURE)
    then = timezone.now() - timedelta(seconds=quiet)
    Request.objects.update(created_at=then, started_at=then, last_progress_at=then)
    assert f'hx-trigger="every {seconds}s"' in body(page.get(address("request-progress", batch)))


def test_a_poll_of_the_progress_gets_savings_and_failures_when_there_are_others(
    page: Client, ann: User
) -> None:
    batch = ingested(ann, *pictures(4))
    settle(batch, PICTURE, "dns")
    seen = polled(body(page.get(address("request", batch))))
    assert 'id="outcomes"' not in body(page.get(seen, headers=HTMX))
    settle(batch, "http_404")
    answer = body(page.get(seen, headers=HTMX))
    assert answer.count('<div id="outcomes" class="columns" hx-swap-oob="true">') == 1
    assert "Server not found" in answer and "Picture not found (404)" in answer
    assert "<dt>Failed</dt><dd>2</dd>" in answer
    assert polled(answer) != seen


def test_products_are_sent_again_only_when_another_picture_is_settled(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(3))
    settle(batch, PICTURE)
    path = address("request-products", batch)
    shown = body(page.get(path))
    assert 'hx-trigger="every 3s"' in shown
    seen = path + polled(shown)
    assert page.get(seen, headers=HTMX).status_code == 204
    settle(batch, "timeout")
    answer = body(page.get(seen, headers=HTMX))
    assert "It failed with timeout." in answer
    assert path + polled(answer) != seen


def test_a_page_of_products_that_are_all_settled_asks_seldom(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(30))
    settle(batch, *[PICTURE] * 25)
    products = address("request-products", batch)
    assert 'hx-trigger="every 15s"' in body(page.get(products))
    assert 'hx-trigger="every 3s"' in body(page.get(products + "?after=25"))


def test_failures_are_sent_again_only_when_there_are_more(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(3))
    path = address("request-failures", batch)
    shown = body(page.get(path))
    seen = polled(shown)
    assert "No picture has failed" in shown
    assert page.get(seen, headers=HTMX).status_code == 204
    settle(batch, "dns", "dns")
    shown = body(page.get(seen, headers=HTMX))
    assert "Server not found · 2 pictures" in shown
    assert "No picture has failed" not in shown
    assert re.search(r'id="tabs"[^>]* hx-swap-oob="true"', shown)
    assert polled(shown) != seen


def test_what_is_read_or_begins_is_news_to_a_page_too(page: Client, ann: User) -> None:
    batch = submitted(ann, *pictures(2))
    path = address("request-pictures", batch)
    shown = body(page.get(path))
    assert "No pictures yet" in shown
    seen = path + polled(shown)
    assert page.get(seen, headers=HTMX).status_code == 204
    ingest(batch)
    assert "2.jpg" in body(page.get(seen, headers=HTMX))


def test_failures_shown_in_answer_to_a_form_poll_the_page_of_failures(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(2))
    settle(batch, "dns")
    answer = page.post(address("request-replace", batch), {"find": ""})
    assert answer.status_code == 400
    assert polled(body(answer)).startswith(address("request-failures", batch))


@pytest.mark.parametrize("tab", ["pictures", "products", "failures", "changes", "runs"])
def test_tabs_are_sent_again_until_the_request_has_finished(page: Client, ann: User, tab: str) -> None:
    batch = ingested(ann, *pictures(2))
    path = address(f"request-{tab}", batch)
    seen = urljoin(path, polled(body(page.get(path))))
    assert page.get(seen, headers=HTMX).status_code == 204
    settle(batch, PICTURE, "dns")
    answer = page.get(seen, headers=HTMX)
    assert answer.status_code == 200
    assert "seen=" not in body(answer)
    assert re.search(r'id="tabs"[^>]* hx-swap-oob="true"', body(answer))
    assert re.search(r'id="menus"[^>]* hx-swap-oob="true"', body(answer))
    assert "Retry failed" in body(answer)


def test_the_page_of_a_picture_is_sent_again_without_disturbing_a_completed_one(
    page: Client, ann: User
) -> None:
    batch = ingested(ann, *pictures(3))
    settle(batch, PICTURE)
    done, waiting = (
        reverse("picture", args=[batch.pk, image.pk]) for image in batch.images.order_by("number")[:2]
    )
    assert 'hx-select="#rest"' in body(page.get(done))
    shown = body(page.get(waiting))
    assert 'hx-select="#live"' in shown
    settle(batch, "dns")
    answer = body(page.get(waiting + polled(shown), headers=HTMX))
    assert "Server not found" in answer
    assert 'Failures <span class="count bad">1</span>' in answer


def test_deliveries_are_sent_again_while_the_request_is_active(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(1))
    path = address("request-deliveries", batch)
    seen = path + polled(body(page.get(path)))
    assert page.get(seen, headers=HTMX).status_code == 204
    settle(batch, PICTURE)
    answer = body(page.get(seen, headers=HTMX))
    assert "hx-trigger" not in answer
    assert re.search(r'id="tabs"[^>]* hx-swap-oob="true"', answer)


POLLED = [
    "request",
    "request-progress",
    *(f"request-{tab}" for tab in ("pictures", "products", "failures", "changes", "runs", "deliveries")),
]


@pytest.mark.parametrize("view", POLLED)
def test_polling_what_was_deleted_or_after_logging_out_works_on_every_tab(
    page: Client, ann: User, view: str
) -> None:
    answer = page.get(reverse(view, args=[uuid.uuid4()]), headers=HTMX)
    assert (answer.headers["HX-Retarget"], answer.headers["HX-Reswap"]) == ("#main", "innerHTML")
    assert "Request deleted" in body(answer)
    batch = submitted(ann)
    page.logout()
    answer = page.get(address(view, batch), headers=HTMX)
    assert (answer.status_code, answer.headers["HX-Refresh"], answer.content) == (200, "true", b"")
    assert page.get(address(view, batch)).status_code == 302


def test_polling_what_was_deleted_says_so_without_a_reload(page: Client, ann: User) -> None:
    answer = page.get(reverse("request-progress", args=[uuid.uuid4()]), headers=HTMX)
    assert (answer.headers["HX-Retarget"], answer.headers["HX-Reswap"]) == ("#main", "innerHTML")
    assert "Request deleted" in body(answer)
    assert "hx-" not in body(answer)
    assert "HX-Refresh" not in answer.headers


def test_polling_after_logging_out_reloads_the_page(page: Client, ann: User) -> None:
    batch = submitted(ann)
    page.logout()
    answer = page.get(address("request-progress", batch), headers=HTMX)
    assert (answer.status_code, answer.headers["HX-Refresh"], answer.content) == (200, "true", b"")


def test_a_form_sent_by_htmx_after_logging_out_reloads_the_page(page: Client, ann: User) -> None:
    path = address("request-corrections", submitted(ann))
    page.logout()
    assert page.post(path, headers=HTMX).headers["HX-Refresh"] == "true"
    assert page.post(path).status_code == 302
