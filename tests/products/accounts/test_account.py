"""Logging in and out, and the pages of a user's own: the password, the API tokens."""

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from products.accounts.login_limit import MAX_LOGINS
from products.accounts.models import ApiToken
from products.accounts.pages import MAX_TOKENS
from tests.support.factories import client_of, make_user, submit

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Answer

pytestmark = pytest.mark.django_db

PASSWORD = "a long password"


@pytest.fixture
def ann() -> User:
    return make_user(password=PASSWORD)


@pytest.fixture
def page(ann: User) -> Client:
    """A client that Ann is logged in with."""
    return client_of(ann)


def body(answer: "Answer") -> str:
    return " ".join(answer.content.decode().split())


# --- Login and logout ---


def test_under_open_access_there_is_no_login_and_no_logout(client: Client, settings: Settings) -> None:
    settings.OPEN_ACCESS = True
    home = client.get("/")
    assert home.status_code == 200
    assert reverse("logout") not in body(home)
    assert reverse("login") not in body(home)


def test_who_has_logged_in_can_log_out(page: Client) -> None:
    assert reverse("logout") in body(page.get("/"))
    page.post(reverse("logout"))
    assert page.get("/").status_code == 302


def test_the_login_page_leads_back_to_where_one_wanted_to_go(client: Client, ann: User) -> None:
    path = submit(ann).get_absolute_url()
    login = client.get(f"/login/?next={path}")
    assert f'<input type="hidden" name="next" value="{path}">' in body(login)
    answer = client.post("/login/", {"username": "ann", "password": PASSWORD, "next": path})
    assert answer.headers["Location"] == path


def test_the_login_page_leads_on_who_is_logged_in(page: Client) -> None:
    assert page.get("/login/").headers["Location"] == "/"
    assert "this account cannot open that page" in body(page.get("/login/?next=/admin/"))


def test_the_login_page_says_that_the_password_is_wrong(client: Client, ann: User) -> None:
    answer = body(client.post("/login/", {"username": "ann", "password": "another"}))
    assert "<title>Error: Log in – Image Extractor</title>" in answer
    assert "Please enter a correct username and password." in answer


def test_the_session_is_kept_from_scripts_and_other_sites(client: Client, ann: User) -> None:
    client.post("/login/", {"username": "ann", "password": PASSWORD})
    session = client.cookies["sessionid"]
    assert (session["httponly"], session["samesite"]) == (True, "Lax")


# --- The password ---

NEW_PASSWORD = "another long password"


def change_password(client: Client, old: str = PASSWORD, new: str = NEW_PASSWORD, **others: str) -> "Answer":
    answers = {"old_password": old, "new_password1": new, "new_password2": new, **others}
    return client.post("/account/password/", answers)


def test_a_password_is_changed_by_the_old_one(page: Client, ann: User) -> None:
    assert 'href="/account/password/"' in body(page.get("/account/"))
    elsewhere = client_of(ann)
    assert change_password(page).headers["Location"] == "/account/"
    assert "Password changed." in body(page.get("/account/"))
    assert elsewhere.get("/account/").headers["Location"].startswith("/login/")
    ann.refresh_from_db()
    assert ann.check_password(NEW_PASSWORD)


@pytest.mark.parametrize(
    ("old", "new"), [("wrong", NEW_PASSWORD), (PASSWORD, "short"), (PASSWORD, "12345678")]
)
def test_a_password_stays_for_a_wrong_old_one_or_a_weak_new_one(
    page: Client, ann: User, old: str, new: str
) -> None:
    answer = body(change_password(page, old, new))
    assert "<title>Error: Change password – Image Extractor</title>" in answer
    assert 'class="errorlist"' in answer
    ann.refresh_from_db()
    assert ann.check_password(PASSWORD)


def test_an_old_password_is_guessed_no_more_often_than_at_the_login(page: Client, ann: User) -> None:
    assert [change_password(page, "wrong").status_code for _ in range(MAX_LOGINS)] == [200] * MAX_LOGINS
    answer = change_password(page)
    assert answer.status_code == 429
    assert "Too many login attempts" in body(answer)
    ann.refresh_from_db()
    assert ann.check_password(PASSWORD)


def test_who_has_no_password_has_none_to_change(client: Client, settings: Settings) -> None:
    settings.OPEN_ACCESS = True
    assert "/account/password/" not in body(client.get("/account/"))
    assert client.get("/account/password/").status_code == 404


def test_staff_change_theirs_on_the_same_page(client: Client) -> None:
    boss = client_of(make_user("boss", password=PASSWORD, is_staff=True))
    answer = boss.get(reverse("admin:password_change"))
    assert answer.headers["Location"] == "/account/password/"


def test_tokens_are_listed_with_the_password_and_revoked_in_the_same_step_if_asked(
    page: Client, ann: User
) -> None:
    assert "revoke" not in body(page.get("/account/password/"))
    for name in ("nightly job", "import"):
        ApiToken.objects.issue(ann, name)
    ApiToken.objects.issue(make_user("bob"), "of Bob")
    shown = body(page.get("/account/password/"))
    assert "Also revoke my 2 API tokens" in shown
    assert " checked" not in shown
    assert "nightly job" in shown and "of Bob" not in shown
    change_password(page, "wrong", revoke_tokens="on")
    assert ApiToken.objects.count() == 3
    change_password(page)
    assert ApiToken.objects.count() == 3
    change_password(page, NEW_PASSWORD, PASSWORD, revoke_tokens="on")
    assert "Your API tokens have been revoked." in body(page.get("/account/"))
    assert [token.name for token in ApiToken.objects.all()] == ["of Bob"]


# --- Tokens ---


def new_key(answer: "Answer") -> str:
    (key,) = re.findall(r">(ie_[\w-]{43})<", body(answer))
    return str(key)


def test_a_token_is_shown_by_the_answer_that_makes_it_and_never_again(page: Client, ann: User) -> None:
    answer = page.post("/account/tokens/", {"name": "nightly job"})
    key = new_key(answer)
    assert answer.headers["Cache-Control"] == "no-store"
    assert '<a href="/account/" aria-current="true">Account</a>' in body(answer)
    listed = body(page.get("/account/"))
    assert "nightly job" in listed
    assert key[:7] in listed
    assert key[8:] not in listed
    assert key not in str(page.cookies)
    assert Client(headers={"Authorization": f"Token {key}"}).get("/api/requests/").status_code == 200


def test_the_list_says_when_a_token_was_used_last(page: Client, ann: User) -> None:
    ApiToken.objects.issue(ann)
    assert 'data-label="Last used">Never<' in body(page.get("/account/"))
    ApiToken.objects.update(last_used_at=timezone.now() - timedelta(hours=3))
    assert "3\xa0hours ago" in page.get("/account/").content.decode()


def test_a_revoked_token_is_refused_from_then_on(page: Client, ann: User) -> None:
    program = Client(headers={"Authorization": f"Token {ApiToken.objects.issue(ann)}"})
    assert program.get("/api/requests/").status_code == 200
    answer = page.post(f"/account/tokens/{ApiToken.objects.get().pk}/revoke/", follow=True)
    assert " revoked." in body(answer)
    assert program.get("/api/requests/").status_code == 401


def test_nobody_elses_tokens_are_listed_or_revoked_even_by_staff(ann: User) -> None:
    ApiToken.objects.issue(ann, "of Ann")
    token = ApiToken.objects.get()
    for other in (make_user("bob"), make_user("sue", is_staff=True)):
        client = client_of(other)
        assert "of Ann" not in body(client.get("/account/"))
        assert client.post(f"/account/tokens/{token.pk}/revoke/").status_code == 404
    assert ApiToken.objects.get() == token


def test_tokens_are_made_and_revoked_with_the_forms_own_token_alone(ann: User) -> None:
    ApiToken.objects.issue(ann)
    client = client_of(ann, enforce_csrf_checks=True)
    for path in ("/account/tokens/", f"/account/tokens/{ApiToken.objects.get().pk}/revoke/"):
        answer = client.post(path, {"name": ""})
        assert answer.status_code == 403
        assert "This form has expired or was sent from another site." in body(answer)
        assert client.get(path).status_code == 405
    assert ApiToken.objects.count() == 1


def test_a_name_that_is_too_long_is_refused_beside_its_field(page: Client) -> None:
    answer = page.post("/account/tokens/", {"name": "x" * 101})
    assert answer.status_code == 400
    assert 'id="id_name_error"' in body(answer)
    assert not ApiToken.objects.exists()


def test_one_user_can_have_only_so_many_tokens(page: Client, ann: User) -> None:
    ApiToken.objects.bulk_create(ApiToken(user=ann, digest=str(number)) for number in range(MAX_TOKENS))
    assert page.post("/account/tokens/", {"name": ""}).status_code == 400
    ApiToken.objects.first().delete()  # type: ignore[union-attr]  # there are many
    new_key(page.post("/account/tokens/", {"name": ""}))
