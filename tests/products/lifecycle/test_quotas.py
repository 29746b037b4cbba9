"""Too many logins, uploads and open requests."""

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client, RequestFactory
from pytest_django import Settings

from products import lifecycle
from products.accounts import login_limit
from products.models import Request
from tests.support.factories import (
    OTHER_URL,
    URL,
    address_of,
    client_of,
    ingest,
    make_csv,
    make_user,
    settle,
    submit,
    three_outcomes,
    upload,
)

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Answer

pytestmark = pytest.mark.django_db

PASSWORD = "a long password"
TOO_MANY = "Too many login attempts. Try again in a few minutes."


@pytest.fixture(autouse=True)
def one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that stands, early in every window, and limits soon reached."""
    monkeypatch.setattr("products.accounts.login_limit.MAX_LOGINS_IN_ALL", login_limit.MAX_LOGINS + 2)
    monkeypatch.setattr("products.throttling.time.time", lambda: 1_000_000_200.0)


def log_in(name: str, password: str = PASSWORD, address: str = "198.51.100.7") -> "Answer":
    return Client().post("/login/", {"username": name, "password": password}, REMOTE_ADDR=address)


def error_of(response: Any) -> dict[str, Any]:
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) > 0
    assert response.json()["type"] == "client_error"
    (error,) = response.json()["errors"]
    return dict(error)


# --- Logins ---


def test_the_eleventh_login_from_one_address_is_refused_though_the_password_is_right() -> None:
    make_user(password=PASSWORD)
    for _ in range(login_limit.MAX_LOGINS):
        assert log_in("ann", "a wrong guess").status_code == 200
    answer = log_in("ANN")
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 600
    assert TOO_MANY in answer.content.decode()
    assert not answer.wsgi_request.user.is_authenticated


def test_the_user_can_still_log_in_from_elsewhere_and_others_from_there() -> None:
    make_user(password=PASSWORD)
    make_user("bob", password=PASSWORD)
    for _ in range(login_limit.MAX_LOGINS + 5):
        log_in("ann", "a wrong guess")
    assert log_in("ann", address="203.0.113.9").status_code == 302
    assert log_in("bob").status_code == 302


def test_a_name_that_is_tried_from_everywhere_is_refused_in_the_end() -> None:
    make_user(password=PASSWORD)
    for number in range(login_limit.MAX_LOGINS_IN_ALL):
        assert log_in("ann", "a wrong guess", f"203.0.113.{number}").status_code == 200
    assert log_in("ann", address="198.51.100.8").status_code == 429


def test_an_address_that_tries_every_name_is_refused_in_the_end() -> None:
    make_user(password=PASSWORD)
    for number in range(login_limit.MAX_LOGINS_IN_ALL):
        assert log_in(f"user{number}", "a wrong guess").status_code == 200
    assert log_in("ann").status_code == 429


def test_after_the_window_one_may_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    make_user(password=PASSWORD)
    for _ in range(login_limit.MAX_LOGINS + 1):
        log_in("ann", "a wrong guess")
    monkeypatch.setattr(
        "products.throttling.time.time", lambda: 1_000_000_200.0 + login_limit.LOGIN_WINDOW_SECONDS
    )
    assert log_in("ann").status_code == 302


def test_the_admin_has_no_door_of_its_own(client: Client) -> None:
    assert client.post("/admin/login/?next=/admin/").headers["Location"] == "/login/?next=/admin/"


def test_a_user_who_is_sent_away_by_the_admin_is_told_why() -> None:
    answer = client_of(make_user()).get("/admin/", follow=True)
    assert "You are logged in as ann, but this account cannot open that page." in answer.content.decode()


@pytest.mark.parametrize(
    ("headers", "https", "address"),
    [
        ({}, True, "192.0.2.1"),
        ({"X-Forwarded-For": "203.0.113.1"}, True, "203.0.113.1"),
        ({"X-Forwarded-For": "made up, 10.0.0.1, 203.0.113.1"}, True, "203.0.113.1"),
        ({"X-Forwarded-For": "203.0.113.1"}, False, "192.0.2.1"),
    ],
)
def test_the_address_is_what_the_proxy_saw_where_there_has_to_be_one(
    settings: Settings, headers: dict[str, str], https: bool, address: str
) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if https else None
    request = RequestFactory(headers=headers).get("/", REMOTE_ADDR="192.0.2.1")
    assert login_limit.client_address(request) == address


# --- Uploads ---


@pytest.mark.parametrize("path", ["/api/requests/", "/upload", "/api/upload"])
def test_uploads_are_counted_before_they_are_read(api: Client, settings: Settings, path: str) -> None:
    settings.USER_UPLOADS_PER_MINUTE = 2
    codes = [upload(api, make_csv()).status_code, upload(api, b"no catalogue").status_code]
    assert codes == [201, 400]
    error = error_of(api.post(path, b"not even a form", content_type="multipart/form-data; boundary=x"))
    assert error == {"code": "throttled", "detail": "More than 2 uploads in a minute.", "attr": None}
    assert upload(client_of(make_user("bob")), make_csv()).status_code == 201


def test_the_form_says_that_there_were_too_many_uploads(api: Client, settings: Settings) -> None:
    settings.USER_UPLOADS_PER_MINUTE = 1
    upload(api, make_csv())
    answer = api.post("/", {"file": SimpleUploadedFile("a.csv", make_csv())})
    assert answer.status_code == 429
    assert answer.headers["Retry-After"]
    assert "More than 1 uploads in a minute." in answer.content.decode()


# --- Open requests and pictures ---


def test_who_has_enough_open_requests_gets_no_more_until_one_is_finished(
    api: Client, ann: User, settings: Settings
) -> None:
    settings.USER_MAX_OPEN_REQUESTS = 2
    batches = [submit(ann), submit(ann)]
    error = error_of(upload(api, make_csv()))
    assert error == {
        "code": "too_many_open_requests",
        "detail": "You have 2 unfinished requests; the limit is 2. Wait, or cancel some.",
        "attr": None,
    }
    assert Request.objects.count() == 2
    lifecycle.cancel(batches[0])
    assert upload(api, make_csv()).status_code == 201


def test_pictures_count_from_the_upload_on_and_until_they_are_settled(
    api: Client, ann: User, settings: Settings
) -> None:
    settings.USER_MAX_OPEN_IMAGES = 2
    batch = submit(ann, make_csv((1, "Chair", f"{URL} {OTHER_URL}")))
    error = error_of(upload(api, make_csv()))
    assert (error["code"], error["attr"]) == ("too_many_open_images", None)
    assert error["detail"].startswith("You have 2 unfinished pictures; the limit is 2.")
    error_of(api.post(address_of(batch, "retry/")))
    settle(ingest(batch), {URL: "timeout"})
    assert upload(api, make_csv()).status_code == 201


def test_a_retry_is_refused_too_and_the_page_says_so(api: Client, ann: User, settings: Settings) -> None:
    settings.USER_MAX_OPEN_REQUESTS = 1
    batch = three_outcomes(ann)
    submit(ann)
    error_of(api.post(address_of(batch, "retry/")))
    answer = api.post(f"/requests/{batch.pk}/retry/", follow=True)
    assert "You have 1 unfinished requests" in answer.content.decode()
    batch.refresh_from_db()
    assert batch.run == 1


def test_what_others_have_open_does_not_count(api: Client, settings: Settings) -> None:
    settings.USER_MAX_OPEN_REQUESTS = settings.USER_MAX_OPEN_IMAGES = 1
    submit(make_user("bob"))
    assert upload(api, make_csv()).status_code == 201


def test_under_open_access_nothing_is_limited(client: Client, settings: Settings) -> None:
    settings.OPEN_ACCESS = True
    settings.USER_UPLOADS_PER_MINUTE = settings.USER_MAX_OPEN_REQUESTS = settings.USER_MAX_OPEN_IMAGES = 1
    assert [upload(client, make_csv()).status_code for _ in range(3)] == [201] * 3
    make_user(password=PASSWORD)
    assert {log_in("ann", "a wrong guess").status_code for _ in range(login_limit.MAX_LOGINS + 1)} == {200}


def test_a_cache_that_is_down_keeps_nobody_out(api: Client, settings: Settings) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "redis://127.0.0.1:1/0",
        }
    }
    settings.USER_UPLOADS_PER_MINUTE = 1
    assert [upload(api, make_csv()).status_code for _ in range(2)] == [201, 201]
    make_user("bob", password=PASSWORD)
    assert log_in("bob").status_code == 302
