"""Pages of profiles: saving one from a preview or a request, changing, copying, sharing, deleting."""

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.base import ContentFile
from django.test import Client
from django.utils.html import escape

from products import lifecycle
from products.models import Profile, Request
from products.models.profile import ProfileQuerySet
from products.pages.profile_forms import ProfileForm, SaveProfileForm
from tests.support.factories import HEADER, URL, client_of, make_csv, make_user, submit
from tests.support.pages import body

pytestmark = pytest.mark.django_db

FORM = {"quality": "60", "format": "webp", "fit": "inside", "names": "hash"}
COLUMNS = {"serial": HEADER[0], "name": HEADER[1], "images": HEADER[2]}
NAME_TAKEN = "You already have a profile with this name."


@pytest.fixture
def page(ann: User) -> Client:
    return client_of(ann)


def test_a_preview_is_saved_as_a_profile_for_its_columns(page: Client, ann: User) -> None:
    draft = lifecycle.keep_draft(ann, ContentFile(make_csv(), "a.csv"))
    form = {**FORM, **COLUMNS, "step": "save", "profile": "", "shown_profile": "", "profile_name": "Shop"}
    answer = page.post(draft.get_absolute_url(), {**form, "for_header": "on"})
    profile = Profile.objects.get()
    assert answer["Location"] == f"{draft.get_absolute_url()}?profile={profile.pk}"
    assert (profile.owner, profile.name, profile.header) == (ann, "Shop", list(HEADER))
    assert profile.options == {"quality": 60, "format": "webp"}  # the columns are found without being named
    shown = page.get(answer["Location"])
    assert (shown.context["profile"], shown.context["form"]["quality"].value()) == (profile, 60)
    assert not Request.objects.exists()

    refused = page.post(draft.get_absolute_url(), form)
    assert refused.status_code == 400
    assert NAME_TAKEN in body(refused)
    page.post(draft.get_absolute_url(), {**form, "profile_name": "By hand"})
    assert Profile.objects.get(name="By hand").header is None


def test_columns_that_had_to_be_named_are_saved(page: Client, ann: User) -> None:
    header = ("A", "B", "C")
    draft = lifecycle.keep_draft(ann, ContentFile(make_csv(("x", "y", URL), header=header), "a.csv"))
    form = {**FORM, "serial": "B", "name": "A", "images": "C", "encoding": "utf-8", "step": "save"}
    page.post(draft.get_absolute_url(), {**form, "profile_name": "Shop", "for_header": "on"})
    expected = {"serial": "B", "name": "A", "images": ["C"]}
    assert Profile.objects.get().options == {
        **{"quality": 60, "format": "webp"},
        **{"encoding": "utf-8", "columns": expected},
    }
    again = lifecycle.keep_draft(ann, ContentFile(make_csv(("x", "y", URL), header=header), "b.csv"))
    shown = page.get(again.get_absolute_url()).context["form"]
    assert [shown[name].value() for name in ("serial", "name", "images")] == ["B", "A", ["C"]]


def test_a_request_is_saved_as_a_profile(page: Client, ann: User) -> None:
    batch = submit(
        ann,
        quality=60,
        renditions=[{"name": "thumb", "width": 9}],
        columns=dict(COLUMNS, images=["Input Image Urls"]),
    )
    answer = page.post(f"/requests/{batch.pk}/profile/", {"profile_name": "Shop", "for_header": "on"})
    profile = Profile.objects.get()
    assert answer["Location"] == profile.get_absolute_url()
    assert profile.options == {"quality": 60, "renditions": [{"name": "thumb", "width": 9}]}
    assert profile.header == list(HEADER)
    answer = page.post(f"/requests/{batch.pk}/profile/", {"profile_name": "Shop"})
    assert answer.status_code == 400
    assert NAME_TAKEN in body(answer)
    assert Profile.objects.count() == 1


def test_a_profile_is_changed(page: Client, ann: User) -> None:
    options = {"quality": 60, "columns": {"images": ["Photo"]}, "sheet": "2", "trim": True}
    profile = Profile.objects.create(owner=ann, name="Shop", options=options, header=["Photo"])
    path = profile.get_absolute_url()
    assert 'value="60"' in body(page.get(path))
    answer = page.post(path, {**FORM, "quality": "96", "name": "Shop"})
    assert answer.status_code == 400
    assert "Use a whole number from 1 to 95, or auto." in body(answer)
    page.post(path, {**FORM, "quality": "70", "name": "Store", "for_header": "on"})
    profile.refresh_from_db()
    kept = {"columns": {"images": ["Photo"]}, "sheet": "2"}
    assert (profile.name, profile.options) == ("Store", {"quality": 70, "format": "webp", **kept})
    assert profile.header_hash
    page.post(path, {**FORM, "name": "Store"})
    profile.refresh_from_db()
    assert (profile.header, profile.header_hash) == (None, "")
    Profile.objects.create(owner=ann, name="Other")
    assert NAME_TAKEN in body(page.post(path, {**FORM, "name": "Other"}))


def test_a_profile_is_copied_and_deleted(page: Client, ann: User) -> None:
    profile = Profile.objects.create(owner=ann, name="Shop", options={"quality": 60})
    answer = page.post(f"{profile.get_absolute_url()}copy/")
    copied = Profile.objects.get(name="Shop 2")
    assert answer["Location"] == copied.get_absolute_url()
    assert (copied.owner, copied.options) == (ann, {"quality": 60})
    page.post(f"{profile.get_absolute_url()}delete/")
    assert list(Profile.objects.all()) == [copied]


def test_staff_with_the_right_share_a_profile_with_all_users(page: Client, ann: User) -> None:
    boss = make_user("boss", is_staff=True)
    boss.user_permissions.add(Permission.objects.get(codename="change_profile"))
    profile = Profile.objects.create(owner=boss, name="House style")
    path = profile.get_absolute_url()
    assert page.get(path).status_code == 404
    office = client_of(boss)
    assert "Share with all users" in body(office.get(path))
    office.post(f"{path}publish/")
    shared = f'<optgroup label="Shared with all users"> <option value="{profile.pk}">House style</option>'
    assert shared in body(page.get("/"))
    shown = body(page.get(path))
    assert "All users can choose this profile." in shown
    assert "Share with all users" not in shown and "Delete" not in shown
    office.post(f"{path}publish/")  # a double click
    assert page.get(path).status_code == 200
    assert 'name="stop"' in body(office.get(path))
    office.post(f"{path}publish/", {"stop": "1"})
    assert page.get(path).status_code == 404

    Profile.objects.update(webhook_url="https://shop.example/hook")
    answer = office.post(f"{path}publish/", follow=True)
    assert "A profile with a webhook URL cannot be published to all users." in body(answer)
    assert not Profile.objects.get().is_published


def test_a_name_that_is_taken_at_the_same_time_is_refused(
    page: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Profile.objects.create(owner=ann, name="Other")
    Profile.objects.create(owner=ann, name="Shop")
    # The forms find it free.
    monkeypatch.setattr(SaveProfileForm, "clean_profile_name", lambda form: form.cleaned_data["profile_name"])
    monkeypatch.setattr(ProfileForm, "clean_name", lambda form: form.cleaned_data["name"])
    form = {**FORM, "profile": "", "shown_profile": "", "step": "save", "profile_name": "Shop"}
    draft = lifecycle.keep_draft(ann, ContentFile(make_csv(), "a.csv"))
    for path, data in (
        (draft.get_absolute_url(), {**form, **COLUMNS}),
        (f"/requests/{submit(ann).pk}/profile/", {"profile_name": "Shop"}),
        (other.get_absolute_url(), {**FORM, "name": "Shop"}),
    ):
        answer = page.post(path, data)
        assert answer.status_code == 400
        assert NAME_TAKEN in body(answer)
    assert Profile.objects.count() == 2


def test_a_copy_gets_the_next_name_that_is_free(
    page: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = Profile.objects.create(owner=ann, name="Shop")
    monkeypatch.setattr(ProfileQuerySet, "values_list", lambda rows, *_names, **_options: rows.none())
    page.post(f"{profile.get_absolute_url()}copy/")
    assert {*Profile.objects.filter(name="Shop 2")} == {*Profile.objects.exclude(pk=profile.pk)} != set()


def test_a_profile_that_is_no_text_is_none(page: Client, ann: User) -> None:
    draft = lifecycle.keep_draft(ann, ContentFile(make_csv(), "a.csv")).get_absolute_url()
    assert page.get(f"{draft}?profile=a%00b").status_code == 200
    assert page.post(draft, {**FORM, **COLUMNS, "step": "preview", "profile": "\0"}).status_code == 400


@pytest.mark.parametrize(
    "text",
    ["9" * 5000, "[" * 50_000, r'[{"name": "\ud800"}]', r'[{"name": "a", "\ud800": 1}]', "{", '{"a": 1}'],
    ids=["number", "nesting", "surrogate", "surrogate option", "no JSON", "object"],
)
def test_invalid_renditions_are_shown_again_as_they_were_sent(page: Client, ann: User, text: str) -> None:
    profile = Profile.objects.create(owner=ann, name="Shop")
    draft = lifecycle.keep_draft(ann, ContentFile(make_csv(), "a.csv"))
    for path, data in (
        (profile.get_absolute_url(), {"name": "Shop"}),
        (draft.get_absolute_url(), {**COLUMNS, "step": "preview"}),
        ("/", {"file": ContentFile(make_csv(), "a.csv")}),
    ):
        answer = page.post(path, {**FORM, **data, "renditions": text})
        assert answer.status_code == 400
        assert answer.context["form"]["renditions"].errors
        assert escape(text) in body(answer)
