"""Renditions on pages: rows of fields, with errors beside the field that is wrong."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.test import Client

from products import lifecycle
from products.models import Profile, Request
from products.models.recipes import MAX_RENDITIONS, OUTPUT_OPTIONS
from products.pages.rendition_forms import RenditionForm
from tests.support.factories import make_csv, make_user, submit
from tests.support.pages import OPTIONS, address, body, upload

pytestmark = pytest.mark.django_db

NAME = "Use 1 to 20 characters of a-z, 0-9, _ and -."
SIDE = "Use a whole number from 1 to 65,535."
FULL: dict[str, Any] = {
    **{"name": "zoom-2_x", "quality": "auto", "format": "webp", "width": 300, "height": 200},
    **{"fit": "pad", "background": None, "effort": "smallest"},
}
LIMITED = {"name": "thumb", "max_width": 200, "max_height": 150, "background": "#ffffff", "quality": 70}
RENDITIONS = [LIMITED, FULL]


def rows(*renditions: dict[str, Any], start: int = 0) -> dict[str, str]:
    """Return renditions as a browser sends their rows."""
    return {
        f"renditions-{place}-{name}": "transparent" if value is None else str(value)
        for place, rendition in enumerate(renditions, start)
        for name, value in {**dict.fromkeys(RenditionForm.base_fields, ""), **rendition}.items()
    }


def test_a_row_has_every_option_of_a_rendition() -> None:
    assert {*RenditionForm.base_fields} == {"name", *OUTPUT_OPTIONS}


def test_rows_are_kept_and_shown_again_everywhere(page: Client, ann: User) -> None:
    upload(page, make_csv(), step="start", **rows(*RENDITIONS))
    batch = Request.objects.get()
    assert batch.renditions == RENDITIONS

    draft = upload(page, make_csv(), step="preview", **rows(*RENDITIONS))["Location"]
    paths: list[Callable[[], str]] = [
        lambda: draft,
        lambda: address("request-repeat", batch),
        lambda: Profile.objects.create(
            owner=ann, name="Shop", options={"renditions": RENDITIONS}
        ).get_absolute_url(),
    ]
    for path in paths:
        shown = page.get(path()).context["form"]["renditions"].rows
        texts = [{field.name: field.value() for field in row if field.value()} for row in shown]
        sent = rows(*RENDITIONS)
        assert texts == [
            *({n: sent[f"renditions-{place}-{n}"] for n in one} for place, one in enumerate(RENDITIONS)),
            {},
            {},
        ]


def test_a_profile_is_changed_and_emptied_by_its_rows(page: Client, ann: User) -> None:
    profile = Profile.objects.create(owner=ann, name="Shop", options={"renditions": RENDITIONS})
    form = {**OPTIONS, "name": "Shop"}
    page.post(profile.get_absolute_url(), {**form, **rows(LIMITED, {}, FULL, {})})
    profile.refresh_from_db()
    assert profile.options == {"renditions": RENDITIONS}
    page.post(profile.get_absolute_url(), {**form, **rows({}, FULL)})
    profile.refresh_from_db()
    assert profile.options == {"renditions": [FULL]}
    page.post(profile.get_absolute_url(), {**form, **rows({}, {})})
    profile.refresh_from_db()
    assert profile.options == {}


def test_rows_are_in_the_order_of_the_page_whatever_their_numbers(page: Client) -> None:
    """A script gives each row that it adds the next number, and the rows may have been removed before."""
    upload(page, make_csv(), step="start", **rows(FULL, start=9), **rows(LIMITED, start=2))
    assert Request.objects.get().renditions == [FULL, LIMITED]


QUALITY = "Use a whole number from 1 to 95, or auto."
COLOUR = "Use a colour as #rrggbb, such as #ffffff for white."
BOTH = "Use either width and height, or max_width and max_height."
#: Rows, and the sentences by row and field.
WRONG: list[tuple[list[dict[str, Any]], dict[int, dict[str, str]]]] = [
    ([{"quality": 70}], {0: {"name": NAME}}),
    (
        [{"name": "Big", "width": 0, "quality": 99}],
        {0: {"name": NAME, "width": SIDE, "quality": QUALITY}},
    ),
    ([LIMITED, {"name": "a", "max_height": "9" * 5000}], {1: {"max_height": SIDE}}),
    ([LIMITED, {"name": "a", "max_height": "1.5"}], {1: {"max_height": SIDE}}),
    ([LIMITED, {}, LIMITED], {1: {"name": "Another rendition has this name."}}),
    (
        [LIMITED, {"name": "a", "fit": "cover"}, {"name": "b", "width": 5, "max_width": 5}],
        {1: {"fit": "cover needs both width and height."}, 2: {"width": BOTH}},
    ),
    ([{"name": "a", "background": "white"}], {0: {"background": COLOUR}}),
    ([{"name": "a", "format": "gif"}], {0: {"format": "Use one of jpeg, webp, avif, original."}}),
]


@pytest.mark.parametrize(("wrong", "errors"), WRONG)
def test_an_error_is_beside_the_field_that_is_wrong(
    page: Client, ann: User, wrong: list[dict[str, Any]], errors: dict[int, dict[str, str]]
) -> None:
    profile = Profile.objects.create(owner=ann, name="Shop")
    draft = lifecycle.keep_draft(ann, ContentFile(make_csv(), "a.csv")).get_absolute_url()
    batch = submit(ann)
    sent = {**OPTIONS, **rows(*wrong)}
    answers = [
        upload(page, make_csv(), step="start", **rows(*wrong)),
        page.post(draft, {**sent, "images": "Input Image Urls", "step": "start"}),
        page.post(address("request-repeat", batch), sent),
        page.post(profile.get_absolute_url(), {**sent, "name": "Shop"}),
    ]
    for answer in answers:
        shown = body(answer)
        assert answer.status_code == 400
        found = answer.context["form"]["renditions"].rows
        assert {
            place: {name: text for name, (text,) in row.errors.items()}
            for place, row in enumerate(found)
            if row.errors
        } == errors
        for place, fields in errors.items():
            for name, sentence in fields.items():
                error_id = f"id_renditions-{place}-{name}_error"
                assert f'<ul class="errorlist" id="{error_id}"><li>{sentence}</li></ul>' in shown
                assert re.search(
                    rf'name="renditions-{place}-{name}"[^>]* aria-describedby="[^"]*{error_id}', shown
                )
        (focused,) = re.findall(r'<[^>]* name="([^"]+)"[^>]* autofocus', shown)
        assert focused == f"renditions-{min(errors)}-{next(iter(errors[min(errors)]))}"
    profile.refresh_from_db()
    assert (profile.options, [*Request.objects.all()]) == ({}, [batch])


def test_json_that_is_refused_is_shown_and_its_place_can_be_emptied_to_use_rows(page: Client) -> None:
    answer = upload(page, make_csv(), step="start", renditions="[{")
    shown = body(answer)
    assert '<textarea name="renditions" rows="3" aria-label="Renditions as JSON">[{</textarea>' in shown
    assert '<ul class="errorlist" id="id_renditions_error"><li>This is not valid JSON.</li></ul>' in shown
    upload(page, make_csv(), step="start", renditions="", **rows(*RENDITIONS))
    assert Request.objects.get().renditions == RENDITIONS


def test_more_renditions_than_are_possible_are_refused_and_shown_again(page: Client) -> None:
    many = [{"name": f"a{number}"} for number in range(MAX_RENDITIONS + 1)]
    answer = upload(page, make_csv(), step="start", **rows(*many))
    assert "There are 9 renditions. At most 8 are possible." in body(answer)
    assert [row["name"].value() for row in answer.context["form"]["renditions"].rows[:-1]] == [
        one["name"] for one in many
    ]


def test_no_row_can_be_added_to_a_page_that_comes_with_all_that_are_possible(page: Client, ann: User) -> None:
    full = [{"name": f"a{number}"} for number in range(MAX_RENDITIONS)]
    for renditions, is_full in ((full[1:], False), (full, True)):
        profile = Profile.objects.create(owner=ann, name=str(is_full), options={"renditions": renditions})
        button = (
            body(page.get(profile.get_absolute_url())).partition('id="add-rendition"')[2].partition(">")[0]
        )
        assert ("disabled" in button) is is_full


def test_who_may_not_change_a_profile_sees_what_its_renditions_are(page: Client) -> None:
    options = {"renditions": RENDITIONS, "format": "webp", "trim": True, "sheet": "Products"}
    profile = Profile.objects.create(owner=make_user("bob"), name="Shop", options=options, is_published=True)
    shown = body(page.get(profile.get_absolute_url()))
    assert 'name="renditions' not in shown
    for label, text in (("Format", "WebP"), ("Trim borders", "Yes"), ("Sheet", "Products")):
        assert f"<dt>{label}</dt><dd>{text}</dd>" in shown
    assert shown.count("<dt>Sheet</dt>") == 1  # among those for reading files
    facts = "maximum width 200 px, maximum height 150 px, quality 70, background #ffffff"
    assert f"<dt>Rendition thumb</dt><dd>{facts}</dd>" in shown
    assert "format WebP" in shown and "fit Fit inside and pad" in shown and "background transparent" in shown


@pytest.mark.parametrize("number", ["10000", "999999999", "9" * 400, "-1", "\u0661"])
def test_no_row_is_skipped_because_of_its_number(page: Client, ann: User, number: str) -> None:
    profile = Profile.objects.create(owner=ann, name="Shop", options={"renditions": [FULL]})
    sent = {f"renditions-{number}-{name}": str(value) for name, value in LIMITED.items()}
    page.post(profile.get_absolute_url(), {**OPTIONS, "name": "Shop", **sent})
    profile.refresh_from_db()
    assert profile.options == {"renditions": [LIMITED]}


def test_json_and_rows_are_refused_together_unless_the_json_is_empty(page: Client) -> None:
    answer = upload(page, make_csv(), step="start", renditions='[{"name": "a"}]', **rows(LIMITED))
    assert answer.status_code == 400
    assert "Send renditions as JSON or in rows, not both." in body(answer)
    upload(page, make_csv(), step="start", renditions="", **rows(LIMITED))
    assert Request.objects.get().renditions == [LIMITED]


def test_a_profile_chosen_on_a_preview_replaces_the_rows(page: Client, ann: User) -> None:
    profile = Profile.objects.create(owner=ann, name="Shop", options={"renditions": [FULL]})
    draft = lifecycle.keep_draft(ann, ContentFile(make_csv(), "a.csv")).get_absolute_url()
    sent = {**OPTIONS, "images": "Input Image Urls", "shown_profile": "", **rows(LIMITED)}
    for wanted, names in ((str(profile.pk), [FULL["name"]]), ("", ["thumb"])):
        answer = page.post(draft, {**sent, "profile": wanted})
        assert answer.status_code == 200
        shown = answer.context["form"]["renditions"].rows
        assert [row["name"].value() for row in shown if not row.is_empty] == names
    answer = page.post(draft, {**sent, "shown_profile": str(profile.pk), "profile": ""})
    assert all(row.is_empty for row in answer.context["form"]["renditions"].rows)
