"""Which responses are compressed."""

import gzip
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from tests.support.factories import JPEG, URL, address_of, ingest, make_csv, settle, submit

pytestmark = pytest.mark.django_db

STYLES = "/static/products/app.css"


@pytest.fixture(autouse=True)
def static_files_of_embedded_mode(settings: Settings) -> None:
    settings.WHITENOISE_USE_FINDERS = True


def get(api: Client, path: str, **headers: str) -> Any:
    return api.get(path, headers={"Accept-Encoding": "gzip, deflate, br", **headers})


def body(response: Any) -> bytes:
    return b"".join(response) if response.streaming else response.content


@pytest.mark.parametrize(
    "path", ["/", "/requests/", "/login/?next=/", "/api/docs/", STYLES, "/static/products/page.js"]
)
def test_pages_styles_and_scripts_are_compressed(api: Client, path: str) -> None:
    response = get(api, path)
    assert response["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in response["Vary"]
    plain = body(api.get(path))
    assert len(body(get(api, path))) < 0.6 * len(plain)
    if path == STYLES:
        assert gzip.decompress(body(response)) == plain


def test_the_length_of_a_page_differs_each_time(api: Client) -> None:
    """So that it tells less of what is in the page."""
    lengths = [len(get(api, "/login/?next=/").content) for _ in range(20)]
    assert max(lengths) - min(lengths) > 30  # masked tokens alone make some bytes of difference


def test_an_answer_to_a_form_may_have_a_secret_and_is_not_compressed(api: Client) -> None:
    response = api.post("/account/tokens/", {"name": "import"}, headers={"Accept-Encoding": "gzip"})
    assert b"Copy your new token now" in response.content
    assert "Content-Encoding" not in response


def test_pictures_and_results_are_not_compressed(api: Client, ann: User) -> None:
    batch = settle(ingest(submit(ann, make_csv((1, "Chair", URL)))), {URL: JPEG})
    for path in (
        f"/thumbnails/{batch.images.get().pk}/",
        address_of(batch, "results.csv"),
        address_of(batch, "images.zip"),
    ):
        response = get(api, path)
        assert response.status_code == 200, path
        assert "Content-Encoding" not in response, path


def test_a_part_of_a_style_sheet_is_not_compressed(api: Client) -> None:
    response = get(api, STYLES, Range="bytes=0-999")
    assert (response.status_code, "Content-Encoding" in response) == (206, False)
    assert len(body(response)) == 1000


def test_a_browser_that_has_a_style_sheet_does_not_get_it_again(api: Client) -> None:
    seen = get(api, STYLES)
    conditions = {"If-Modified-Since": seen["Last-Modified"]}
    if "ETag" in seen:
        conditions["If-None-Match"] = seen["ETag"]
    assert get(api, STYLES, **conditions).status_code == 304
