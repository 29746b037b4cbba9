"""Ready-made profiles: copied, and chosen at an upload or on its preview without being copied."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.test import Client

from products import lifecycle
from products.lifecycle.ready_made import READY_MADE, ReadyMade
from products.models import Draft, Profile, Request
from products.models.recipes import recipe_problems
from products.pages.option_forms import default_options
from tests.products.catalogue.test_picture_archive import make_zip
from tests.support.factories import HEADER, URL, make_csv, submit
from tests.support.factories import upload as upload_by_api
from tests.support.pages import OPTIONS, body, upload

pytestmark = pytest.mark.django_db

ONES = {one.slug: one for one in READY_MADE}
SHOPIFY = ONES["shopify"]
CHOSEN = {"profile": str(SHOPIFY.profile.pk)}
COLUMNS = {"serial": HEADER[0], "name": HEADER[1], "images": HEADER[2]}


def options_of(batch: Request) -> dict[str, Any]:
    """The options of a Request that are not as they are by default."""
    defaults = {name: value or None for name, value in default_options().items()}
    given = {**batch.recipe_options, "strict": batch.strict}
    return {name: value for name, value in given.items() if (value or None) != defaults[name]}


def as_shown(page: Client) -> dict[str, str]:
    """Return the fields that a browser sends of the unchanged upload form, apart from yes or no."""
    form = page.get("/").context["form"]
    names = ("quality", "format", "max_width", "max_height", "width", "height", "fit", "background")
    return {name: str(form[name].value() or "") for name in (*names, "effort", "names")}


@pytest.mark.parametrize("one", READY_MADE, ids=lambda one: one.slug)
def test_a_ready_made_profile_is_copied(page: Client, ann: User, one: ReadyMade) -> None:
    page.post("/profiles/", {"ready_made": one.slug})
    made = Profile.objects.get(owner=ann)
    assert (made.name, made.options) == (one.name, one.options)
    assert page.get(made.get_absolute_url()).status_code == 200
    assert recipe_problems(submit(ann, **made.options).recipe_options) == {}


def test_forms_offer_them_in_a_group_after_the_user_s_own(page: Client, ann: User) -> None:
    offered = "".join(f'<option value="{one.profile.pk}">{one.name}</option> ' for one in READY_MADE)
    group = f'<optgroup label="Ready-made"> {offered}</optgroup>'
    draft = lifecycle.keep_draft(ann, ContentFile(make_csv(), "a.csv")).get_absolute_url()
    for path in ("/", draft):
        assert f'<option value="">None</option> {group}' in selects(page, path)
    own = Profile.objects.create(owner=ann, name="Shop")
    yours = f'<optgroup label="Your profiles"> <option value="{own.pk}">Shop</option> </optgroup>'
    for path in ("/", draft):
        assert f'<option value="">None</option> {yours} {group}' in selects(page, path)


def selects(page: Client, path: str) -> str:
    """Return a page without marks of what is selected."""
    return body(page.get(path)).replace(" selected>", ">")


def test_without_scripts_its_options_are_used_with_what_was_changed(page: Client, ann: User) -> None:
    upload(page, make_csv(), step="start", **CHOSEN)
    batch = Request.objects.get()
    assert options_of(batch) == SHOPIFY.options
    assert batch.profile is None
    assert not Profile.objects.exists()

    # The form begins with those of the latest request now, which the next profile replaces.
    web = ONES["web-thumbnails"]
    sent = {**as_shown(page), "quality": "40", "profile": str(web.profile.pk)}
    upload(page, make_csv(), step="start", **sent)
    latest = Request.objects.order_by("created_at").last()
    assert latest
    assert options_of(latest) == {**web.options, "quality": 40}


def test_all_that_the_form_shows_counts_where_a_script_has_filled_it(page: Client) -> None:
    chosen = {**CHOSEN, "shown_profile": CHOSEN["profile"]}
    upload(page, make_csv(), step="start", **{**as_shown(page), "width": "900", "height": "900"}, **chosen)
    assert options_of(Request.objects.get()) == {"width": 900, "height": 900}


def test_a_page_knows_what_a_script_fills_in(page: Client, ann: User) -> None:
    submit(ann, quality=64)
    form = page.get("/").context["form"]
    assert f'"{SHOPIFY.profile.pk}": {{"quality": 85' in form.known_options
    assert re.match(r'{"": {.*"quality": 64', form.known_options)
    Profile.objects.create(owner=ann, name="Shop")
    assert page.get("/").context["form"].known_options.startswith('{"": {}, ')


def test_it_is_shown_on_the_preview_and_started_from_there(page: Client) -> None:
    path = upload(page, make_csv(), step="preview", **CHOSEN).headers["Location"]
    shown = page.get(path)
    form = shown.context["form"]
    assert "This preview uses the profile <strong>Shopify</strong>. <a" in body(shown)
    assert (form["profile"].value(), form["width"].value()) == (CHOSEN["profile"], 2048)
    without = page.get(path, {"profile": ""}).context["form"]
    assert (without["profile"].value(), without["width"].value()) == ("", None)

    # Another one is shown before it is used.
    ebay = str(ONES["ebay"].profile.pk)
    sent = {**OPTIONS, **COLUMNS, "profile": ebay, "shown_profile": "", "step": "start"}
    answer = page.post(path, sent)
    assert answer.status_code == 200
    form = answer.context["form"]
    names = ("quality", "max_width", "min_height", "shown_profile")
    assert [form[name].value() for name in names] == ["85", "1600", "500", ebay]
    sent |= {name: form[name].value() for name in (*names, "max_height", "min_width")}
    page.post(path, sent)
    assert options_of(Request.objects.get()) == ONES["ebay"].options


def test_a_draft_is_started_with_it(page: Client, ann: User) -> None:
    submit(ann, quality=11, effort="smallest")
    upload(page, make_csv(), step="preview", **as_shown(page), **CHOSEN)
    page.post("/drafts/start/", {"draft": str(Draft.objects.get().pk)})
    latest = Request.objects.order_by("created_at").last()
    assert latest
    assert options_of(latest) == SHOPIFY.options


def test_pasted_urls_and_zips_are_uploaded_with_it(page: Client) -> None:
    page.post("/", {**OPTIONS, **CHOSEN, "urls": URL, "step": "start"})
    data = make_zip({"list.csv": make_csv((1, "Chair", "chair.jpg")), "chair.jpg": b"x"}).getvalue()
    upload(page, data, "shop.zip", step="start", **as_shown(page), **CHOSEN)
    assert [options_of(batch) for batch in Request.objects.all()] == [SHOPIFY.options] * 2


def test_api_and_command_take_the_user_s_profiles_alone(api: Client, ann: User, tmp_path: Path) -> None:
    for wanted in (CHOSEN["profile"], SHOPIFY.name, SHOPIFY.slug):
        assert upload_by_api(api, make_csv(), profile=wanted).json()["errors"][0]["code"] == "unknown_profile"
    catalogue = tmp_path / "catalogue.csv"
    catalogue.write_bytes(make_csv())
    with pytest.raises(CommandError, match="There is no profile"):
        call_command("extract", str(catalogue), "--profile", CHOSEN["profile"])
    assert not Request.objects.exists()
