"""The options of an upload on pages: the usual ones in view, the others folded away and counted."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from products.models import Profile
from products.pages.option_forms import USUAL_OPTIONS, OptionsForm
from tests.support.factories import make_csv, submit
from tests.support.pages import address, body, upload

pytestmark = pytest.mark.django_db


def folded(shown: str) -> str:
    """Return the options that are folded away, with the start tag of what folds them."""
    start = shown.index('<details class="more"')
    depth = 0
    for tag in re.finditer("<(/?)details", shown[start:]):
        depth += -1 if tag[1] else 1
        if not depth:
            return shown[start : start + tag.end()]
    raise AssertionError("It does not end.")


@pytest.mark.parametrize("path", ["upload", "preview", "repeat", "profile"])
def test_the_usual_options_are_in_view_and_the_others_folded_away(page: Client, ann: User, path: str) -> None:
    paths: dict[str, Callable[[], str]] = {
        "upload": lambda: "/",
        "preview": lambda: upload(page, make_csv(), step="preview").headers["Location"],
        "repeat": lambda: address("request-repeat", submit(ann)),
        "profile": lambda: Profile.objects.create(owner=ann, name="Shop").get_absolute_url(),
    }
    shown = body(page.get(paths[path]()))
    more = folded(shown)
    for name in {*OptionsForm.base_fields} - {"renditions"} | {"renditions-0-name"}:
        assert (f' name="{name}"' in more) is (name not in USUAL_OPTIONS), name
        assert f' name="{name}"' in shown
    assert "<summary>More options<span data-changed></span></summary>" in more
    assert " open>" not in more


def test_options_that_are_not_the_default_are_counted_and_shown(page: Client, ann: User) -> None:
    options: dict[str, Any] = {
        "quality": 70,
        "trim": True,
        "effort": "smallest",
        "renditions": [{"name": "thumb", "width": 9}],
    }
    batch = submit(ann, **options)
    more = folded(body(page.get(address("request-repeat", batch))))
    assert "More options<span data-changed> · 3 changed</span>" in more
    assert " open>" in more.partition("<summary>")[0]
    fields = {"quality": "70", "format": "jpeg", "fit": "inside", "effort": "balanced", "names": "hash"}
    more = folded(body(page.post(address("request-repeat", batch), fields | {"quality": "x"})))
    assert "More options<span data-changed></span>" in more


def test_a_wrong_option_that_is_folded_away_is_shown(page: Client, ann: User) -> None:
    answer = upload(page, make_csv(), min_width="no")
    more = folded(body(answer))
    assert 'id="id_min_width_error"' in more
    assert " open>" in more.partition("<summary>")[0]
