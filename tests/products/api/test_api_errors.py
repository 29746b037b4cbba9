"""Every error of the API has one shape; and its schema and documentation."""

import base64
import io
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from tests.support.factories import address_of, ingest, make_csv, submit

pytestmark = pytest.mark.django_db

UNKNOWN = "6a1f7c1e-0f0b-4d52-9a53-2f1d6f0f9c11"


def error_of(response: Any) -> dict[str, Any]:
    """The one error of an answer in the shape that all have."""
    assert response.headers["Content-Type"] == "application/json"
    answer = response.json()
    assert set(answer) == {"type", "errors"}
    assert answer["type"] == ("validation_error" if response.status_code == 400 else "client_error")
    (error,) = answer["errors"]
    assert set(error) == {"code", "detail", "attr"}
    assert error["detail"]
    return dict(error)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("PUT", "/api/requests/", 405, "method_not_allowed"),
        ("PUT", f"/api/requests/{UNKNOWN}/", 405, "method_not_allowed"),
        ("GET", f"/api/requests/{UNKNOWN}/retry/", 405, "method_not_allowed"),
        ("DELETE", f"/api/requests/{UNKNOWN}/results.csv", 405, "method_not_allowed"),
        ("GET", "/api/upload", 405, "method_not_allowed"),
        ("GET", "/upload", 405, "method_not_allowed"),
        ("POST", f"/status/{UNKNOWN}", 405, "method_not_allowed"),
        ("GET", "/api/", 404, "not_found"),
        ("GET", "/api/nothing/", 404, "not_found"),
        ("POST", "/api/requests/1/2/3", 404, "not_found"),
        ("GET", "/status/", 404, "not_found"),
        ("GET", "/api/requests/?cursor=nonsense", 404, "not_found"),
    ],
)
def test_wrong_methods_and_addresses_are_answered_in_the_one_shape(
    api: Client, method: str, path: str, status: int, code: str
) -> None:
    response = api.generic(method, path)
    assert response.status_code == status
    error = error_of(response)
    assert (error["code"], error["attr"]) == (code, None)


@pytest.mark.parametrize("path", ["/api/requests/", "/upload"])
def test_a_body_of_the_wrong_type_is_answered_in_the_one_shape(api: Client, path: str) -> None:
    response = api.post(path, make_csv(), content_type="text/csv")
    assert response.status_code == 415
    assert error_of(response)["code"] == "unsupported_media_type"


def test_a_type_that_is_not_on_offer_is_answered_in_the_one_shape(api: Client) -> None:
    response = api.get("/api/requests/", headers={"Accept": "image/png"})
    assert response.status_code == 406
    assert error_of(response)["code"] == "not_acceptable"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{", "application/json"),
        (b"--b\r\n", "multipart/form-data"),
        (urlencode([("x", "y")] * 2000), "application/x-www-form-urlencoded"),
    ],
    ids=["half of a JSON", "no boundary", "too many fields"],
)
def test_a_body_that_cannot_be_read_is_answered_in_the_one_shape(
    api: Client, body: bytes, content_type: str
) -> None:
    response = api.post("/api/requests/", body, content_type=content_type)
    assert response.status_code == 400
    answer = response.json()
    assert [error["code"] for error in answer["errors"]] == ["parse_error"]


def test_an_upload_of_too_many_files_is_answered_in_the_one_shape(api: Client) -> None:
    files = {f"file{number}": SimpleUploadedFile("a.csv", b"a") for number in range(101)}
    response = api.post("/api/requests/", files)
    assert response.status_code == 400
    assert response.json()["errors"][0]["code"] == "parse_error"


def test_a_made_up_cursor_is_answered_in_the_one_shape(api: Client, ann: User) -> None:
    batch = ingest(submit(ann))
    for position in ("abc", "\0"):
        cursor = base64.b64encode(urlencode({"p": position}).encode()).decode()
        for path in ("/api/requests/", address_of(batch, "products/"), address_of(batch, "images/")):
            response = api.get(path, {"cursor": cursor})
            assert response.status_code == 404
            assert error_of(response)["detail"] == "Invalid cursor"


def test_a_host_that_is_not_ours_is_refused_in_the_one_shape(api: Client) -> None:
    response = api.get("/api/requests/", headers={"Host": "evil.example"})
    assert response.status_code == 400
    assert response.json()["errors"][0]["code"] == "bad_request"


def test_people_who_look_for_a_page_that_is_not_there_get_a_page(api: Client, settings: Settings) -> None:
    plain_static_files(settings)
    response = api.get("/nothing/")
    assert response.status_code == 404
    assert response.headers["Content-Type"].startswith("text/html")


# --- Schema and documentation ---


def plain_static_files(settings: Settings) -> None:
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }


def test_the_openapi_schema_is_valid_and_made_without_warnings() -> None:
    schema = io.StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=schema)
    assert "/api/requests/{id}/results.csv:" in schema.getvalue()


def test_the_schema_names_the_calls_of_the_contract(api: Client) -> None:
    response = api.get("/api/schema/", headers={"Accept": "application/json"})
    assert response.status_code == 200
    calls = {(path, method) for path, methods in response.json()["paths"].items() for method in methods}
    one = "/api/requests/{id}/"
    assert calls >= {
        ("/api/requests/", "get"),
        ("/api/requests/", "post"),
        (one, "get"),
        (one, "delete"),
        (f"{one}products/", "get"),
        (f"{one}images/", "get"),
        (f"{one}results.csv", "get"),
        (f"{one}images.zip", "get"),
        (f"{one}retry/", "post"),
        (f"{one}cancel/", "post"),
    }
