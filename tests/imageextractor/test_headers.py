"""Security headers of responses, and content types of stored files."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core.files.storage import default_storage
from django.test import Client

from processing.management.commands.create_bucket import policy
from tests.support.factories import JPEG, URL, address_of, client_of, ingest, settle, submit

pytestmark = pytest.mark.django_db

PAGE_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
HTML = b"<!doctype html><script>alert(1)</script>"


def policy_of(response: Any) -> dict[str, str]:
    """The Content-Security-Policy by directive."""
    directives = response.headers["Content-Security-Policy"].split("; ")
    return {name: sources for name, _, sources in (directive.partition(" ") for directive in directives)}


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/login/?next=/", "/account/", "/admin/", "/nothing", "/api/docs/", "/api/docs/requests/"),
        *("/api/schema/", "/api/requests/", "/api/nothing/", "/healthz", "/static/products/app.css"),
    ],
)
def test_every_answer_is_kept_from_other_sites_scripts_frames_and_guesses(ann: User, path: str) -> None:
    User.objects.update(is_staff=True)
    headers = client_of(ann).get(path)
    assert policy_of(headers) == PAGE_POLICY
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["X-Application"] == "image-extractor"
    assert "camera=()" in headers["Permissions-Policy"]


@pytest.mark.parametrize("path", ["/", "/account/", "/api/requests/", "/login/?next=/", "/admin/login/"])
def test_answers_are_kept_by_no_cache(ann: User, path: str) -> None:
    assert "no-store" in client_of(ann).get(path)["Cache-Control"]


def test_a_host_that_is_not_ours_and_an_error_get_the_headers_too(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.raise_request_exception = False
    monkeypatch.setattr("products.pages.home.UploadForm", None)
    for answer, code in ((api.get("/"), 500), (api.get("/", headers={"Host": "evil.example"}), 400)):
        assert answer.status_code == code
        assert policy_of(answer) == PAGE_POLICY


# --- Stored files ---


def stored(name: str, data: bytes) -> str:
    """The path of a file that lies in the folder of outputs."""
    path = Path(django_settings.MEDIA_ROOT, "images", "aa", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return f"/media/images/aa/{name}"


def test_an_output_is_a_picture_and_nothing_else(client: Client, ann: User) -> None:
    batch = settle(ingest(submit(ann)), {URL: JPEG})
    response = client.get(batch.images.get().output_path)
    assert b"".join(response) == JPEG
    assert response["Content-Type"] == "image/jpeg"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Cache-Control"] == "public, max-age=31536000, immutable"
    assert response["Cross-Origin-Resource-Policy"] == "cross-origin"
    policy = policy_of(response)
    assert policy["default-src"] == "'none'"
    assert "sandbox" in policy
    assert not {"script-src", "script-src-elem"} & set(policy)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "avif"])
def test_even_a_web_page_would_be_served_as_a_picture(client: Client, ending: str) -> None:
    response = client.get(stored(f"{ending}00".encode().hex() + f".{ending}", HTML))
    assert response["Content-Type"] == ("image/jpeg" if ending == "jpg" else f"image/{ending}")
    assert response["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("ending", ["html", "svg", "xml", "js", "css", "csv", "htm", "shtml"])
def test_what_has_no_ending_of_an_output_is_not_served(client: Client, ending: str) -> None:
    assert client.get(stored(f"00.{ending}", HTML)).status_code == 404


def test_an_uploaded_catalogue_has_no_address(api: Client, client: Client, ann: User) -> None:
    batch = submit(ann)
    stored_at, name = Path(batch.source.path), str(batch.source.name)
    assert not stored_at.is_relative_to(django_settings.MEDIA_ROOT)
    assert not default_storage.exists(name)
    assert (stored_at.stat().st_mode & 0o777, stored_at.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    for path in (f"/media/{name}", f"/media/../uploads/{name}"):
        assert client.get(path).status_code == 404
        assert api.get(path).status_code == 404
    for part in ("", "products/", "images/"):
        assert "uploads" not in api.get(address_of(batch, part)).content.decode()
    assert name not in api.get(batch.get_absolute_url()).content.decode()


def test_on_s3_the_public_may_read_pictures_and_nothing_else() -> None:
    (statement,) = json.loads(policy("shop"))["Statement"]
    assert (statement["Effect"], statement["Action"]) == ("Allow", ["s3:GetObject"])
    assert statement["Resource"] == ["arn:aws:s3:::shop/images/*"]
