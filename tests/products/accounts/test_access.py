"""Access: sessions, tokens, other people's requests, OPEN_ACCESS."""

import io
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.forms.models import model_to_dict
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from products.accounts.models import ApiToken
from products.models import Request
from tests.support.factories import address_of, client_of, ingest, make_csv, make_user, submit, upload

pytestmark = pytest.mark.django_db

UNKNOWN = "6a1f7c1e-0f0b-4d52-9a53-2f1d6f0f9c11"
NOT_FOUND = {
    "type": "client_error",
    "errors": [{"code": "not_found", "detail": "Not found.", "attr": None}],
}
#: Every call that there is to a Request.
CALLS = [
    *(("GET", ""), ("DELETE", ""), ("GET", "products/"), ("GET", "images/")),
    *(("GET", "results.csv"), ("GET", "images.zip"), ("POST", "retry/"), ("POST", "cancel/")),
]
EVERY_CALL = pytest.mark.parametrize(("method", "part"), CALLS)


def client_with(key: str) -> Client:
    """A client that sends a token and nothing else."""
    return Client(headers={"Authorization": f"Token {key}"})


def error_of(response: Any) -> dict[str, Any]:
    (error,) = response.json()["errors"]
    return dict(error)


# --- Other people's requests ---


@EVERY_CALL
def test_a_request_of_somebody_else_is_not_found(ann: User, method: str, part: str) -> None:
    batch = ingest(submit(make_user("bob")))
    response = client_of(ann).generic(method, f"/api/requests/{batch.pk}/{part}")
    assert (response.status_code, response.json()) == (404, NOT_FOUND)
    batch.refresh_from_db()
    assert (batch.status, batch.run) == ("processing", 1)


@EVERY_CALL
@pytest.mark.parametrize("pk", [UNKNOWN, "17", "nonsense", "a.b", "%00", "%F0%9F%A6%84"])
def test_an_id_that_is_unknown_or_none_at_all_is_not_found(
    ann: User, method: str, part: str, pk: str
) -> None:
    response = client_of(ann).generic(method, f"/api/requests/{pk}/{part}")
    assert (response.status_code, response.json()) == (404, NOT_FOUND)


@EVERY_CALL
def test_superusers_may_do_everything_with_everybodys_requests(ann: User, method: str, part: str) -> None:
    batch = ingest(submit(ann))
    response = client_of(make_user("sue", is_superuser=True)).generic(method, address_of(batch, part))
    assert response.status_code == (204 if method == "DELETE" else 200)


def test_a_list_shows_ones_own_requests_and_staff_all(ann: User) -> None:
    bob, sue = make_user("bob"), make_user("sue", is_staff=True)
    of_ann, of_bob = str(submit(ann).pk), str(submit(bob).pk)
    for user, expected in {ann: [of_ann], bob: [of_bob], sue: [of_bob, of_ann]}.items():
        found = client_of(user).get("/api/requests/").json()["results"]
        assert [item["id"] for item in found] == expected


# --- Nobody ---


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *((method, f"/api/requests/{UNKNOWN}/{part}") for method, part in CALLS),
        *(("GET", "/api/requests/"), ("POST", "/api/requests/")),
        *(("POST", "/upload"), ("GET", f"/status/{UNKNOWN}")),
    ],
)
def test_without_a_login_every_call_is_401_and_says_how_to_log_in(
    client: Client, method: str, path: str
) -> None:
    response: Any = client.generic(method, path)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Token"
    assert error_of(response) == {
        "code": "not_authenticated",
        "detail": "Authentication credentials were not provided.",
        "attr": None,
    }


def test_an_upload_by_nobody_stores_nothing(client: Client) -> None:
    assert upload(client, make_csv()).status_code == 401
    assert not Request.objects.exists()


# --- Tokens ---


def test_a_token_acts_as_its_user_and_needs_no_csrf_token(ann: User) -> None:
    client = Client(
        headers={"Authorization": f"Token {ApiToken.objects.issue(ann)}"}, enforce_csrf_checks=True
    )
    assert upload(client, make_csv()).status_code == 201
    assert Request.objects.get().owner == ann


def test_a_token_is_kept_as_a_hash_only(ann: User) -> None:
    key = ApiToken.objects.issue(ann)
    assert key.startswith("ie_")
    assert len(key) > 40
    row = model_to_dict(ApiToken.objects.get())
    assert key not in str(row)
    assert key[8:] not in str(row)


def test_two_tokens_differ_and_both_work(ann: User) -> None:
    keys = {ApiToken.objects.issue(ann) for _ in range(2)}
    assert len(keys) == 2
    for key in keys:
        assert client_with(key).get("/api/requests/").status_code == 200


def test_a_revoked_token_is_refused(ann: User) -> None:
    client = client_with(ApiToken.objects.issue(ann))
    assert client.get("/api/requests/").status_code == 200
    ApiToken.objects.all().delete()
    response = client.get("/api/requests/")
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Token"
    assert error_of(response)["code"] == "authentication_failed"


def test_the_token_of_a_user_who_is_no_longer_active_is_refused(ann: User) -> None:
    client = client_with(ApiToken.objects.issue(ann))
    User.objects.update(is_active=False)
    assert client.get("/api/requests/").status_code == 401


@pytest.mark.parametrize(
    "value", ["Token", "Token ", "Token nonsense", "Token ie_", "token  ", "Bearer ie_x", "é"]
)
def test_what_is_no_token_is_refused(ann: User, value: str) -> None:
    ApiToken.objects.issue(ann)
    assert Client(headers={"Authorization": value}).get("/api/requests/").status_code == 401


def test_a_wrong_token_is_refused_though_the_session_is_good(ann: User) -> None:
    response = client_of(ann).get("/api/requests/", headers={"Authorization": "Token nonsense"})
    assert response.status_code == 401


def test_the_last_use_of_a_token_is_noted_to_the_minute(ann: User) -> None:
    client = client_with(ApiToken.objects.issue(ann))

    def last_use() -> Any:
        return ApiToken.objects.get().last_used_at

    assert last_use() is None
    client.get("/api/requests/")
    first = last_use()
    assert timezone.now() - first < timedelta(minutes=1)
    client.get("/api/requests/")
    assert last_use() == first, "a busy program is no write for each of its calls"
    ApiToken.objects.update(last_used_at=first - timedelta(hours=1))
    client.get("/api/requests/")
    assert last_use() >= first


def test_create_token_prints_a_token_that_works(ann: User) -> None:
    output = io.StringIO()
    call_command("create_token", "ann", stdout=output)
    (key,) = output.getvalue().split()
    assert client_with(key).get("/api/requests/").status_code == 200


def test_create_token_for_nobody_says_so(ann: User) -> None:
    with pytest.raises(CommandError, match="There is no user 'bob'"):
        call_command("create_token", "bob")
    assert not ApiToken.objects.exists()


# --- Sessions ---


def test_a_session_needs_a_csrf_token_to_change_anything(ann: User) -> None:
    client = client_of(ann, enforce_csrf_checks=True)
    response = upload(client, make_csv())
    assert response.status_code == 403
    assert error_of(response)["code"] == "permission_denied"
    assert not Request.objects.exists()
    assert client.get("/api/requests/").status_code == 200


def test_a_session_with_a_csrf_token_may_upload(ann: User) -> None:
    client = client_of(ann, enforce_csrf_checks=True)
    token = "a" * 32
    client.cookies["csrftoken"] = token
    client.defaults["HTTP_X_CSRFTOKEN"] = token
    assert upload(client, make_csv()).status_code == 201


# --- OPEN_ACCESS ---


@pytest.fixture
def curl(settings: Settings) -> Client:
    """A client that says nothing about itself, under OPEN_ACCESS."""
    settings.OPEN_ACCESS = True
    return Client(enforce_csrf_checks=True)


def test_under_open_access_everything_belongs_to_the_ordinary_user_local(curl: Client) -> None:
    assert upload(curl, make_csv()).status_code == 201
    assert upload(curl, make_csv()).status_code == 201
    local = User.objects.get()
    assert {batch.owner for batch in Request.objects.all()} == {local}
    assert (local.username, local.is_staff, local.is_superuser) == ("local", False, False)
    assert not local.has_usable_password()
    assert len(curl.get("/api/requests/").json()["results"]) == 2


def test_under_open_access_the_requests_of_users_are_theirs(ann: User, curl: Client) -> None:
    batch = submit(ann)
    assert curl.get(f"/api/requests/{batch.pk}/").status_code == 404
    assert client_of(ann).get(f"/api/requests/{batch.pk}/").status_code == 200
    key = ApiToken.objects.issue(ann)
    assert client_with(key).get(f"/api/requests/{batch.pk}/").status_code == 200


OWN_ORIGIN = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}


@pytest.mark.parametrize("headers", [{}, OWN_ORIGIN, {"Sec-Fetch-Site": "none"}])
def test_under_open_access_ones_own_calls_are_answered(curl: Client, headers: dict[str, str]) -> None:
    assert curl.post("/api/requests/", headers=headers).status_code == 400
    assert curl.get("/api/requests/", headers=headers).status_code == 200


FOREIGN = [
    *({"Origin": origin} for origin in ("https://evil.example", "null", "http://testserver:81", "http://[")),
    *({"Origin": origin} for origin in ("https://testserver", "http://testserver.evil.example", "")),
    *({"Sec-Fetch-Site": site} for site in ("cross-site", "same-site", "whatever")),
    *({name: "203.0.113.7"} for name in ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto")),
    *({name: "203.0.113.7"} for name in ("Forwarded", "Via", "X-Real-IP")),
    {**OWN_ORIGIN, "X-Forwarded-For": "127.0.0.1"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
]


@pytest.mark.parametrize("path", ["/api/requests/", "/upload"])
@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_under_open_access_what_another_site_or_a_proxy_sends_is_refused(
    curl: Client, path: str, headers: dict[str, str]
) -> None:
    for method in ("GET", "POST"):
        response = curl.generic(method, path, headers=headers)
        assert response.status_code == 403
        assert error_of(response) == {
            "code": "permission_denied",
            "detail": "OPEN_ACCESS accepts requests from this site's own pages only.",
            "attr": None,
        }
    assert not User.objects.exists()


def test_under_open_access_a_link_from_another_site_may_be_followed_but_no_form(curl: Client) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert curl.get("/api/requests/", headers=headers).status_code == 200
    assert curl.post("/api/requests/", headers=headers).status_code == 403


def test_under_open_access_a_name_that_somebody_else_has_given_this_machine_is_refused(curl: Client) -> None:
    for host in ("evil.example", "testserver.evil.example", "192.0.2.1:8000"):
        assert curl.get("/", headers={"Host": host}).status_code == 400
    assert not User.objects.exists()


def test_without_open_access_there_is_no_user_local(client: Client) -> None:
    assert client.get("/api/requests/").status_code == 401
    assert not User.objects.exists()
