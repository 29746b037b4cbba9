"""The list of one's Requests."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from products.models import Request
from tests.support.factories import make_user
from tests.support.pages import (
    PICTURE,
    body,
    ingested,
    pictures,
    settle,
    submitted,
)

pytestmark = pytest.mark.django_db


def test_without_requests_the_page_says_what_to_do(page: Client) -> None:
    assert "Upload a catalogue above to see its progress and results here." in body(page.get("/"))


def aged(owner: User, count: int) -> None:
    """So many Requests, each named by how many days ago it was uploaded."""
    now = timezone.now()
    for age in range(count):
        batch = submitted(owner, name=f"{age}.csv")
        Request.objects.filter(pk=batch.pk).update(created_at=now - timedelta(days=age))


def listed(page: Client, path: str) -> list[str]:
    """The names in the list, in order."""
    return re.findall(
        r'<th scope="row"><a id="request-[^"]+" href="/requests/[^"]+">([^<]+)</a>', body(page.get(path))
    )


def test_the_latest_five_requests_stand_below_the_form_and_all_in_pages_of_25(
    page: Client, ann: User
) -> None:
    aged(ann, 27)
    names = [f"{age}.csv" for age in range(27)]
    assert listed(page, "/") == names[:5]
    assert listed(page, "/requests/") == names[:25]
    assert listed(page, "/requests/?page=2") == names[25:]
    shown = body(page.get("/requests/?page=2"))
    assert "26 to 27 of 27, newest first" in shown
    assert 'href="?page=1" rel="prev"' in shown
    for made_up in ("x", "0", "99", "%00"):
        assert page.get(f"/requests/?page={made_up}").status_code == 200


def test_requests_are_found_by_name_and_status(page: Client, ann: User) -> None:
    for name in ("Spring.csv", "spring-sale.csv", "autumn.csv"):
        submitted(ann, name=name)
    submitted(make_user("bob"), name="spring-of-bob.csv")
    Request.objects.filter(filename="Spring.csv").update(status="completed")
    assert listed(page, "/requests/?q=SPRING") == ["spring-sale.csv", "Spring.csv"]
    assert listed(page, "/requests/?q=spring&status=completed") == ["Spring.csv"]
    assert listed(page, "/requests/?status=pending") == ["autumn.csv", "spring-sale.csv"]
    assert "No requests match your search" in body(page.get("/requests/?q=winter"))
    assert len(listed(page, "/requests/?status=made-up")) == 3


def test_the_pages_of_a_search_keep_it(page: Client, ann: User) -> None:
    aged(ann, 27)
    assert 'href="?q=csv&amp;page=2" rel="next"' in body(page.get("/requests/?q=csv"))


def test_without_requests_the_list_says_what_to_do(page: Client) -> None:
    assert '<a href="/">Upload a catalogue</a> to see its progress' in body(page.get("/requests/"))


def test_a_listed_request_shows_its_counts_and_what_was_saved(page: Client, ann: User) -> None:
    settle(ingested(ann, *pictures(3)), PICTURE, "http_404")
    home = body(page.get("/"))
    assert '<td data-label="Progress" class="progress">2 of 3 done' in home
    assert '<td data-label="Failed" class="number">1</td>' in home
    assert "97.7 KB" in home
    assert '<span class="status processing">Processing</span>' in home


def test_the_list_costs_as_many_queries_for_ten_requests_as_for_one(
    page: Client, ann: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(10):
        submitted(ann)
    # The session, the user, the requests, the drafts, the week, the endpoints given up; of profiles: whether
    # there are own ones, the options used last, and the names to choose from.
    with django_assert_num_queries(9):
        page.get("/")
