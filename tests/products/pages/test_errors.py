"""Pages for what goes wrong."""

import pytest
from django.test import Client

from tests.support.pages import (
    body,
)

pytestmark = pytest.mark.django_db


def test_an_unknown_address_is_answered_in_the_same_clothes(page: Client) -> None:
    answer = page.get("/nothing-here")
    assert answer.status_code == 404
    assert "<title>Page not found – Image Extractor</title>" in body(answer)


def test_an_error_page_needs_nothing_but_itself(page: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("products.pages.home.UploadForm", broken)
    page.raise_request_exception = False
    answer = page.get("/")
    assert answer.status_code == 500
    assert "Something went wrong" in body(answer)
    assert "broken" not in body(answer)


@pytest.mark.parametrize("path", ["/", "/login/?next=/", "/nothing-here"])
def test_pages_carry_neither_inline_scripts_nor_inline_styles(page: Client, path: str) -> None:
    shown = body(page.get(path))
    assert '<html lang="en">' in shown
    assert "style=" not in shown
    assert "<style" not in shown
    assert shown.count("<script ") == shown.count("<script src=")
    assert shown.count("<script") == shown.count("<script ")
