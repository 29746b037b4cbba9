"""Requests that an open page makes by itself."""

import re
import uuid
from datetime import timedelta

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


def test_polling_gets_the_progress_alone_and_goes_on(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(2))
    settle(batch, PICTURE)
    answer = page.get(address("request-progress", batch), headers=HTMX)
    title, _, rest = answer.content.decode().partition("\n")
    assert title == "<title>50 % · catalogue.csv – Image Extractor</title>"
    assert rest.startswith('<section id="progress"')
    assert "1 of 2 pictures done" in body(answer)
    assert 'hx-trigger="every 1s"' in body(answer)
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
    assert f'hx-get="{path}?reading"' in body(answer)
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


@pytest.mark.parametrize(("quiet", "seconds"), [(0, 1), (12, 1), (50, 5), (3600, 15)])
def test_a_page_asks_less_often_the_longer_nothing_has_moved(
    page: Client, ann: User, quiet: int, seconds: int
) -> None:
    batch = ingested(ann, *pictures(2))
    settle(batch, PICTURE)
    then = timezone.now() - timedelta(seconds=quiet)
    Request.objects.update(created_at=then, started_at=then, last_progress_at=then)
    assert f'hx-trigger="every {seconds}s"' in body(page.get(address("request-progress", batch)))


def test_products_are_sent_again_only_when_another_picture_is_settled(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(3))
    settle(batch, PICTURE)
    path = address("request-products", batch)
    assert f'hx-get="{path}?seen=1" hx-trigger="every 3s"' in body(page.get(path))
    assert page.get(f"{path}?seen=1").status_code == 204
    settle(batch, "timeout")
    answer = body(page.get(f"{path}?seen=1"))
    assert "It failed with timeout." in answer
    assert f'hx-get="{path}?seen=2"' in answer


def test_a_page_of_products_that_are_all_settled_asks_for_nothing(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(30))
    settle(batch, *[PICTURE] * 25)
    products = address("request-products", batch)
    polls = f'hx-get="{products}?'
    assert polls not in body(page.get(products))
    assert polls in body(page.get(products + "?after=25"))


def test_failures_are_sent_again_only_when_there_are_more(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(3))
    path = address("request-failures", batch)
    shown = body(page.get(path))
    assert 'hx-get="?seen=0"' in shown
    assert "No picture has failed" in shown
    assert page.get(f"{path}?seen=0", headers=HTMX).status_code == 204
    settle(batch, "dns", "dns")
    shown = body(page.get(f"{path}?seen=0", headers=HTMX))
    assert "Server not found · 2 pictures" in shown
    assert "No picture has failed" not in shown
    assert re.search(r'id="tabs"[^>]* hx-swap-oob="true"', shown)
    assert 'hx-get="?seen=2"' in shown


@pytest.mark.parametrize("tab", ["request", "request-pictures", "request-runs", "request-failures"])
def test_tabs_are_sent_again_until_the_request_has_finished(page: Client, ann: User, tab: str) -> None:
    batch = ingested(ann, *pictures(2))
    path = address(tab, batch)
    assert 'hx-get="?seen=0" hx-trigger' in body(page.get(path))
    assert page.get(f"{path}?seen=0", headers=HTMX).status_code == 204
    settle(batch, PICTURE, "dns")
    answer = page.get(f"{path}?seen=0", headers=HTMX)
    assert answer.status_code == 200
    assert "seen=" not in body(answer)
    assert re.search(r'id="menus"[^>]* hx-swap-oob="true"', body(answer))
    assert "Retry failed" in body(answer)


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
