"""The tabs of a Request's page, and the addresses of the page that had them all in one."""

import time

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from products import lifecycle
from products.models import Request
from products.models.request import PACE_SECONDS, PACE_STEP_SECONDS
from tests.support.factories import client_of, make_user
from tests.support.feeds import make_feed
from tests.support.feeds import submitted as run_of
from tests.support.pages import PICTURE, address, body, ingested, pictures, settle, submitted

pytestmark = pytest.mark.django_db

TABS = ("request", *(f"request-{name}" for name in ("pictures", "failures", "changes", "runs", "deliveries")))


@pytest.mark.parametrize("tab", [*TABS, "request-products"])
def test_every_tab_has_an_address_of_its_own_that_others_do_not_see(
    page: Client, ann: User, tab: str
) -> None:
    batch = ingested(ann, *pictures(2))
    settle(batch, PICTURE, "dns")
    shown = body(page.get(address(tab, batch)))
    assert shown.count('aria-current="page"') == (2 if tab in {"request-pictures", "request-products"} else 1)
    for other in TABS:
        assert f'href="{address(other, batch)}"' in shown
    assert client_of(make_user("bob")).get(address(tab, batch)).status_code == 404


@pytest.mark.parametrize(
    ("query", "tab"),
    [
        ("q=chair&status=failed", "request-products"),
        ("code=dns&host=shop.example", "request-products"),
        ("row=7", "request-products"),
        ("run=2&against_run=1", "request-changes"),
    ],
)
def test_query_strings_of_the_page_that_had_all_in_one_lead_to_their_tab(
    page: Client, ann: User, query: str, tab: str
) -> None:
    batch = submitted(ann)
    answer = page.get(f"{address('request', batch)}?{query}")
    assert (answer.status_code, answer.headers["Location"]) == (302, f"{address(tab, batch)}?{query}")


def test_the_overview_shows_savings_by_format_and_the_causes_of_failures(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(4))
    settle(batch, PICTURE, PICTURE, "dns", "http_404")
    shown = body(page.get(address("request", batch)))
    formats = shown.partition('id="formats"')[2].partition("</section>")[0]
    assert '<th scope="row">PNG</th> <td class="number">2</td>' in formats
    assert "390.6 KB" in formats and "195.3 KB" in formats
    assert f'href="{address("request-failures", batch)}#cause-dns">Server not found</a>' in shown


def test_an_active_request_shows_its_pace_as_bars(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(2))
    assert 'aria-label="Pictures per second in the last 30 seconds"' in body(
        page.get(address("request", batch))
    )
    assert "Pictures per second, now 0</p>" in body(page.get(address("request", batch)))
    step = int(time.time()) // PACE_STEP_SECONDS * PACE_STEP_SECONDS
    steps = range(-100, PACE_SECONDS // PACE_STEP_SECONDS)  # also those to come, however slow the machine is
    recent = [[step - number * PACE_STEP_SECONDS, 6] for number in steps]
    Request.objects.update(recent_progress=recent)
    assert "Pictures per second, now 2</p>" in body(page.get(address("request", batch)))
    settle(batch, PICTURE, PICTURE)
    assert "Pictures per second in" not in body(page.get(address("request", batch)))


def test_the_gallery_of_parts_is_there_with_debug_only(page: Client, settings: object) -> None:
    assert page.get(reverse("design")).status_code == 404
    settings.DEBUG = True  # type: ignore[attr-defined]
    assert "Completed with errors" in body(page.get(reverse("design")))


def test_the_tab_of_changes_says_how_many_pictures_changed(page: Client, ann: User) -> None:
    earlier = ingested(ann, *pictures(3))
    settle(earlier, PICTURE, PICTURE, PICTURE)
    later = ingested(ann, *pictures(2))
    settle(later, PICTURE, "http_404")
    shown = body(page.get(address("request", later)))
    assert 'Changes <span class="count">2</span></a>' in shown  # one fails now, one is gone
    assert "Changes</a>" in body(page.get(address("request", earlier)))


def test_the_last_two_runs_are_compared_where_there_is_no_earlier_request(page: Client, ann: User) -> None:
    batch = ingested(ann, *pictures(2))
    settle(batch, PICTURE, "timeout")
    lifecycle.retry(batch)
    batch.refresh_from_db()
    settle(batch, PICTURE)
    shown = body(page.get(address("request-changes", batch)))
    assert "Run 2 compared with run 1." in shown
    assert "Nothing to compare with" not in shown


def test_a_request_of_a_feed_names_it(page: Client, ann: User) -> None:
    feed = make_feed(ann)
    _run, batch = run_of(feed)
    link = f'Fetched by the feed <a href="{feed.get_absolute_url()}">Spring</a>'
    for tab in ("request", "request-pictures", "request-failures", "request-runs"):
        assert link in body(page.get(address(tab, batch)))
