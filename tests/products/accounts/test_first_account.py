"""The first account: from the environment, or by a link that the log shows."""

import re

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from products.accounts.authentication import local_user
from products.accounts.first_account import make_first_account
from tests.support.factories import make_user

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
NEW_PASSWORD = {"new_password1": PASSWORD, "new_password2": PASSWORD}


def log_in(client: Client, name: str) -> bool:
    return client.post(reverse("login"), {"username": name, "password": PASSWORD}).status_code == 302


def test_address_and_password_of_the_environment_make_an_administrator(
    client: Client, settings: Settings
) -> None:
    settings.ADMIN_EMAIL, settings.ADMIN_PASSWORD = "ann@shop.example", PASSWORD
    local_user()  # has no password, and so is none who can log in
    assert make_first_account() is None
    assert log_in(client, "ann@shop.example")
    assert client.get("/admin/").status_code == 200
    assert User.objects.get(username="ann@shop.example").email == "ann@shop.example"


def test_where_somebody_can_log_in_the_environment_changes_nothing(settings: Settings) -> None:
    make_user("bob", password="a long password")
    settings.ADMIN_EMAIL, settings.ADMIN_PASSWORD = "ann@shop.example", PASSWORD
    assert make_first_account() is None
    assert [user.username for user in User.objects.all()] == ["bob"]


@pytest.mark.parametrize("password", ["short", "password123", "ann@shop.example"])
def test_a_weak_password_is_refused_with_its_reason(settings: Settings, password: str) -> None:
    settings.ADMIN_EMAIL, settings.ADMIN_PASSWORD = "ann@shop.example", password
    with pytest.raises(ImproperlyConfigured, match=r"ADMIN_PASSWORD is refused: .*password.*\."):
        make_first_account()
    assert not User.objects.exists()


@pytest.mark.parametrize(("email", "name"), [(None, "admin"), ("ann@shop.example", "ann@shop.example")])
def test_without_a_password_a_link_sets_it_and_logs_in_once(
    client: Client, settings: Settings, email: str | None, name: str
) -> None:
    settings.ADMIN_EMAIL = email
    first, link = make_first_account(), make_first_account()  # the second is of a later start
    assert first and link
    page = client.get(link, follow=True)
    assert name in page.content.decode()
    address, _status = page.redirect_chain[-1]
    assert link not in address  # which a Referer may carry
    weak = client.post(address, {"new_password1": "short", "new_password2": "short"})
    assert "at least 8 characters" in weak.content.decode()
    assert client.post(address, NEW_PASSWORD).headers["Location"] == reverse("home")
    assert client.get("/admin/").status_code == 200
    assert log_in(Client(), name)
    assert make_first_account() is None
    for used in (first, link):
        answer = Client().get(used)
        assert answer.status_code == 404
        assert "This link was used" in answer.content.decode()


def test_a_password_that_is_given_later_ends_the_link(client: Client, settings: Settings) -> None:
    settings.ADMIN_EMAIL = "ann@shop.example"
    link = make_first_account()
    settings.ADMIN_PASSWORD = PASSWORD
    assert make_first_account() is None
    assert link and client.get(link).status_code == 404
    assert log_in(client, "ann@shop.example")


def test_a_made_up_link_is_not_found(client: Client) -> None:
    link = make_first_account()
    assert link
    for path in (
        re.sub("[^/]+/$", "c0ffee-123/", link),
        reverse("account-setup", args=["x", "set-password"]),
    ):
        assert client.get(path).status_code == 404
        assert client.post(path, NEW_PASSWORD).status_code == 404
    assert not User.objects.get().has_usable_password()
