"""Access to the Requests of others."""

import uuid

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from products.models import Request
from tests.support.factories import make_user
from tests.support.pages import (
    address,
    body,
    submitted,
)

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("view", ["request", "request-progress"])
def test_pages_ask_visitors_to_log_in(client: Client, ann: User, view: str) -> None:
    path = address(view, submitted(ann))
    assert client.get(path).headers["Location"] == f"/login/?next={path}"
    assert client.get("/").headers["Location"] == "/login/?next=/"


@pytest.mark.parametrize("view", ["request-retry", "request-cancel", "request-delete"])
def test_visitors_can_change_nothing(client: Client, ann: User, view: str) -> None:
    batch = submitted(ann)
    assert client.post(address(view, batch)).headers["Location"].startswith("/login/")
    batch.refresh_from_db()
    assert batch.status == Request.Status.PENDING


@pytest.mark.parametrize("view", ["request", "request-progress"])
def test_a_foreign_request_is_not_found(page: Client, view: str) -> None:
    bob = make_user("bob")
    assert page.get(address(view, submitted(bob))).status_code == 404
    assert page.get(reverse(view, args=[uuid.uuid4()])).status_code == 404


@pytest.mark.parametrize("view", ["request-retry", "request-cancel", "request-delete"])
def test_a_foreign_request_cannot_be_changed(page: Client, view: str) -> None:
    batch = submitted(make_user("bob"))
    assert page.post(address(view, batch)).status_code == 404
    batch.refresh_from_db()
    assert batch.status == Request.Status.PENDING


def test_staff_see_the_requests_of_others_but_list_their_own(client: Client, ann: User) -> None:
    batch = submitted(ann, name="of-ann.csv")
    client.force_login(make_user("boss", is_staff=True))
    assert client.get(address("request", batch)).status_code == 200
    home = body(client.get("/"))
    assert "of-ann.csv" not in home
    assert reverse("admin:index") in home


@pytest.mark.parametrize("view", ["request-retry", "request-cancel", "request-delete"])
def test_changes_are_made_by_post_only_and_with_the_token(ann: User, view: str) -> None:
    batch = submitted(ann)
    client = Client(enforce_csrf_checks=True)
    client.force_login(ann)
    assert client.get(address(view, batch)).status_code == 405
    assert client.post(address(view, batch)).status_code == 403
    assert Request.objects.get().status == Request.Status.PENDING
