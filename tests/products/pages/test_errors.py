"""Pages for what goes wrong."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from tests.support.pages import body

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


def test_no_template_and_no_script_has_what_the_policy_refuses() -> None:
    """Styles through the CSSOM, such as `element.style.setProperty`, are none of it."""
    inline = re.compile(r"<style|<script>|javascript:|\son[a-z]+=[\"']|\bstyle=[\"']|cssText|[\"']style[\"']")
    templates = [
        path for path in Path(settings.BASE_DIR, "templates").rglob("*.*") if path.parent.name != "mail"
    ]
    scripts = [*Path(settings.BASE_DIR, "products/static").rglob("*.js")]
    assert len(templates) > 50 and scripts
    found = {path.name: inline.findall(path.read_text()) for path in [*templates, *scripts]}
    assert {name: lines for name, lines in found.items() if lines} == {}
    with_htmx = [path.name for path in templates if "htmx_script" in path.read_text()]
    assert with_htmx == ["_htmx.html"]  # whose settings keep htmx from adding a style of its own
    assert '"includeIndicatorStyles": false' in Path(settings.BASE_DIR, "templates/_htmx.html").read_text()


@pytest.mark.parametrize("path", ["/", "/login/?next=/", "/nothing-here"])
def test_pages_carry_neither_inline_scripts_nor_inline_styles(page: Client, path: str) -> None:
    shown = body(page.get(path))
    assert '<html lang="en">' in shown
    assert "style=" not in shown
    assert "<style" not in shown
    assert shown.count("<script ") == shown.count("<script src=")
    assert shown.count("<script") == shown.count("<script ")
