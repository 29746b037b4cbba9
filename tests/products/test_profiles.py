"""Profiles: kept by the API, chosen by name or by the columns of a file, in API, form and command."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command, load_command_class
from django.test import Client

from products.accounts.authentication import local_user
from products.models import Profile, Request
from products.models.profile import MAX_PROFILES
from tests.support.factories import HEADER, make_csv, make_user, make_workbook, submit, upload

pytestmark = pytest.mark.django_db

MINE: dict[str, Any] = {"quality": 70, "format": "webp", "width": 300, "height": 300, "fit": "pad"}
UNKNOWN = "There is no profile “lamps”. Use the name or the id of one of your profiles."


def make_profile(owner: User, name: str = "Shop", **fields: Any) -> Profile:
    return Profile.objects.create(owner=owner, name=name, **{"options": dict(MINE), **fields})


def call(api: Client, method: str, body: Any, pk: Any = "") -> Any:
    path = f"/api/profiles/{pk}/" if pk else "/api/profiles/"
    return api.generic(method, path, json.dumps(body), "application/json")


# --- The API of profiles ---


def test_a_profile_is_made_read_changed_and_deleted(api: Client) -> None:
    renditions = [{"name": "thumb", "width": 200}]
    options = {**MINE, "columns": {"images": ["Photo"]}, "renditions": renditions, "strict": True}
    answer = call(api, "POST", {"name": "Shop", "options": options, "header": ["SKU", "Photo"]})
    assert answer.status_code == 201
    made = answer.json()
    assert {*made} == {"id", "name", "options", "webhook_url", "header", "created_at"}
    expected = {"name": "Shop", "options": options, "webhook_url": "", "header": ["SKU", "Photo"]}
    assert made.items() >= expected.items()
    assert call(api, "GET", None, made["id"]).json() == made
    assert api.get("/api/profiles/").json() == {"next": None, "previous": None, "results": [made]}

    changed = call(api, "PATCH", {"options": {"quality": 40}, "header": None}, made["id"]).json()
    assert changed == {**made, "options": {"quality": 40}, "header": None}
    assert call(api, "PUT", {"name": "Store"}, made["id"]).json() == {
        **changed,
        "name": "Store",
        "options": {},
    }
    assert call(api, "DELETE", None, made["id"]).status_code == 204
    assert not Profile.objects.exists()


@pytest.mark.parametrize(
    ("body", "attr", "detail"),
    [
        ({}, "name", "This field is required."),
        ({"name": ""}, "name", "This field may not be blank."),
        ({"name": "Taken"}, "name", "You already have a profile with this name."),
        ({"name": "a", "colour": 1}, "colour", "There is no such option."),
        ({"name": "a", "options": []}, "options", 'Use a JSON object, such as {"quality": 60}.'),
        ({"name": "a", "options": {"size": 1}}, "options.size", "There is no such option."),
        ({"name": "a", "options": {"profile": "b"}}, "options.profile", "There is no such option."),
        (
            {"name": "a", "options": {"quality": 99}},
            "options.quality",
            "Use a whole number from 1 to 95, or auto.",
        ),
        ({"name": "a", "options": {"fit": "pad"}}, "options.fit", "pad needs both width and height."),
        ({"name": "a", "header": []}, "header", "This list may not be empty."),
        ({"name": "a", "webhook_url": "ftp://a.example"}, "webhook_url", None),
        ({"name": "a", "webhook_url": "http://127.0.0.1/hook"}, "webhook_url", None),
    ],
)
def test_a_wrong_profile_is_refused(
    api: Client, ann: User, body: dict[str, Any], attr: str, detail: str | None
) -> None:
    make_profile(ann, "Taken")
    answer = call(api, "POST", body)
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error["attr"] == attr
    assert detail in (None, error["detail"])
    assert Profile.objects.count() == 1


def test_names_are_unique_for_one_user_alone(api: Client, ann: User) -> None:
    make_profile(make_user("bob"), "Shop")
    assert call(api, "POST", {"name": "Shop"}).status_code == 201
    other = make_profile(ann, "Store")
    assert call(api, "PATCH", {"name": "Shop"}, other.pk).json()["errors"][0]["code"] == "unique"
    assert call(api, "PATCH", {"name": "Store"}, other.pk).status_code == 200


def test_there_are_not_more_profiles_than_the_limit(api: Client, ann: User) -> None:
    Profile.objects.bulk_create(Profile(owner=ann, name=f"{number}") for number in range(MAX_PROFILES))
    assert call(api, "POST", {"name": "one more"}).json()["errors"][0]["code"] == "too_many_profiles"


def test_published_profiles_are_seen_and_used_by_all_and_changed_by_their_owner(api: Client) -> None:
    published = make_profile(make_user("boss"), "House style", is_published=True)
    hidden = make_profile(make_user("bob"), "Mine")
    assert [one["id"] for one in api.get("/api/profiles/").json()["results"]] == [str(published.pk)]
    assert call(api, "GET", None, hidden.pk).status_code == 404
    assert call(api, "PATCH", {"name": "b"}, published.pk).status_code == 403
    assert call(api, "DELETE", None, published.pk).status_code == 403
    assert upload(api, make_csv(), profile="House style").json()["profile"]["id"] == str(published.pk)
    assert upload(api, make_csv(), profile=str(hidden.pk)).status_code == 400


# --- An upload with a profile ---


def test_options_given_beside_a_profile_win(api: Client, ann: User) -> None:
    profile = make_profile(ann, webhook_url="https://shop.example/hook")
    answer = upload(api, make_csv(), profile="Shop", quality=20, height="", fit="inside").json()
    assert answer["profile"] == {"id": str(profile.pk), "name": "Shop"}
    expected = {**MINE, "quality": 20, "height": None, "fit": "inside", "force": False, "strict": False}
    assert answer["options"].items() >= expected.items()
    assert answer["webhook_secret"].startswith("whsec_")
    assert upload(api, make_csv(), profile=str(profile.pk)).json()["options"].items() >= MINE.items()


def test_options_are_checked_together_with_those_of_the_profile(api: Client, ann: User) -> None:
    make_profile(ann, options={"width": 300, "height": 200})
    assert upload(api, make_csv(), profile="Shop", fit="pad").json()["options"]["fit"] == "pad"
    (error,) = upload(api, make_csv(), profile="Shop", max_width=9).json()["errors"]
    sentence = "Use either width and height, or max_width and max_height."
    assert (error["attr"], error["detail"]) == ("width", sentence)


def test_the_newest_profile_with_the_header_of_the_file_is_chosen_without_asking(
    api: Client, ann: User
) -> None:
    make_profile(make_user("boss"), "Of all", header=list(HEADER), is_published=True, options={"quality": 1})
    assert upload(api, make_csv()).json()["profile"]["name"] == "Of all"
    make_profile(ann, "Old", header=list(HEADER), options={"quality": 2})
    make_profile(ann, "New", header=[" input image  URLS", "serial number", "Product-Name"])
    make_profile(ann, "Other", header=[*HEADER, "Price"], options={"quality": 3})
    make_profile(make_user("bob"), "Bobs", header=list(HEADER), options={"quality": 4})
    answer = upload(api, make_csv()).json()
    assert answer["profile"]["name"] == "New"
    assert answer["options"].items() >= MINE.items()
    with_result = make_csv(
        ("1", "Chair", "", "", "", ""), header=(*HEADER, "Output Image Urls", "Status", "Error")
    )
    assert upload(api, with_result).json()["profile"]["name"] == "New"
    assert upload(api, make_csv(), profile="").json()["profile"] is None
    assert upload(api, make_csv(), profile="Old").json()["options"]["quality"] == 2
    body = {"file": SimpleUploadedFile("a.csv", make_csv())}
    preview = api.post("/api/requests/preview/", body).json()
    assert preview["profile"] == answer["profile"]
    legacy = api.post("/upload", {"file": SimpleUploadedFile("a.csv", make_csv())}).json()
    assert (legacy["profile"], legacy["options"]["quality"]) == (None, 50)


def test_a_header_is_read_as_the_profile_says(api: Client, ann: User) -> None:
    header = ("Артикул", "Имя", "Фото")
    options = {"encoding": "cp1251", "columns": {"images": ["Фото"]}}
    make_profile(ann, header=list(header), options=options)
    data = make_csv((1, "Лампа", "https://shop.example/a.jpg"), header=header).decode().encode("cp1251")
    answer = upload(api, data).json()
    assert answer["profile"]["name"] == "Shop"
    assert answer["options"]["columns"] == options["columns"]
    make_profile(ann, "Notes", header=["Serial Number", "of another sheet"], options={"sheet": "Notes"})
    book = make_workbook(HEADER, (1, "Chair", "https://shop.example/a.jpg"))
    assert upload(api, book, "book.xlsx").json()["errors"][0]["code"] == "missing_column"  # has no pictures


def test_an_unknown_profile_is_refused_with_one_sentence_everywhere(
    api: Client, client: Client, ann: User, tmp_path: Path
) -> None:
    make_profile(make_user("bob"), "lamps")
    for answer in (
        upload(api, make_csv(), profile="lamps"),
        api.post(
            "/api/requests/preview/", {"file": SimpleUploadedFile("a.csv", make_csv()), "profile": "lamps"}
        ),
    ):
        assert answer.status_code == 400
        (error,) = answer.json()["errors"]
        assert (error["attr"], error["detail"]) == ("profile", UNKNOWN)
    client.force_login(ann)
    form = {"quality": "50", "format": "jpeg", "step": "start", "profile": "lamps"}
    answer = client.post("/", {"file": SimpleUploadedFile("a.csv", make_csv()), **form})
    assert answer.context["form"].errors["profile"] == [UNKNOWN]
    catalogue = tmp_path / "catalogue.csv"
    catalogue.write_bytes(make_csv())
    with pytest.raises(CommandError) as caught:
        call_command("extract", str(catalogue), "--profile", "lamps")
    assert (str(caught.value), caught.value.returncode) == (f"argument --profile: {UNKNOWN}", 2)
    assert not Request.objects.exists()


def test_a_request_keeps_its_options_when_its_profile_is_changed_or_deleted(api: Client, ann: User) -> None:
    profile = make_profile(ann)
    before = upload(api, make_csv(), profile="Shop").json()
    call(api, "PATCH", {"name": "Store", "options": {"quality": 5}}, profile.pk)
    after = api.get(f"/api/requests/{before['id']}/").json()
    assert (after["options"], after["profile"]["name"]) == (before["options"], "Store")
    call(api, "DELETE", None, profile.pk)
    after = api.get(f"/api/requests/{before['id']}/").json()
    assert (after["options"], after["profile"]) == (before["options"], None)


def test_the_same_upload_is_the_first_one_again_though_its_profile_has_changed(
    api: Client, ann: User
) -> None:
    profile = make_profile(ann, header=list(HEADER))
    key: Any = {"HTTP_IDEMPOTENCY_KEY": "nightly"}
    send: Any = lambda **options: api.post(  # noqa: E731 (three calls)
        "/api/requests/", {"file": SimpleUploadedFile("a.csv", make_csv()), **options}, **key
    )
    first = send()
    Profile.objects.filter(pk=profile.pk).update(options={"quality": 5})
    again = send()
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert send(profile="Shop").status_code == 409


def test_a_repeat_keeps_the_profile_or_takes_another(api: Client, ann: User) -> None:
    make_profile(ann)
    make_profile(ann, "Small", options={"quality": 10})
    pk = upload(api, make_csv(), profile="Shop", quality=60).json()["id"]

    def repeated(**body: Any) -> Any:
        return api.post(f"/api/requests/{pk}/repeat/", body, content_type="application/json").json()

    assert (repeated()["profile"]["name"], repeated()["options"]["quality"]) == ("Shop", 60)
    other = repeated(profile="Small", format="jpeg")
    assert other["profile"]["name"] == "Small"
    assert other["options"].items() >= {**MINE, "quality": 10, "format": "jpeg"}.items()
    assert repeated(profile="")["profile"] is None


def test_requests_are_listed_by_profile(api: Client, ann: User) -> None:
    profile = make_profile(ann)
    pk = upload(api, make_csv(), profile="Shop").json()["id"]
    upload(api, make_csv())
    for text, found in (("Shop", [pk]), (str(profile.pk), [pk]), ("Store", [])):
        listed = api.get("/api/requests/", {"profile": text}).json()["results"]
        assert [one["id"] for one in listed] == found


# --- The form ---


def test_the_form_uses_the_options_of_a_profile_that_were_not_changed_in_it(
    client: Client, ann: User
) -> None:
    make_profile(ann, header=list(HEADER))
    client.force_login(ann)
    form = {"quality": "33", "format": "jpeg", "step": "start"}
    client.post("/", {"file": SimpleUploadedFile("a.csv", make_csv()), **form})
    batch = Request.objects.get()
    assert batch.profile and batch.profile.name == "Shop"
    assert batch.options.items() >= {**MINE, "quality": 33}.items()


YES = {"trim": True, "strict": True, "force": True}


@pytest.mark.parametrize("chosen", ["by-header", "Shop"])
@pytest.mark.parametrize(("sent", "expected"), [("", True), ("true", True), ("false", False), ("0", False)])
def test_a_yes_of_a_profile_can_be_switched_off_in_the_form(
    client: Client, ann: User, chosen: str, sent: str, expected: bool
) -> None:
    make_profile(ann, header=list(HEADER), options=YES)
    client.force_login(ann)
    page = client.get("/").content.decode()
    assert page.count('<option value="" selected>As in the profile</option>') == 3
    form = {"quality": "50", "format": "jpeg", "step": "start", "profile": chosen, **dict.fromkeys(YES, sent)}
    client.post("/", {"file": SimpleUploadedFile("a.csv", make_csv()), **form})
    assert {name: getattr(Request.objects.get(), name) for name in YES} == dict.fromkeys(YES, expected)


def test_without_a_profile_what_is_left_to_it_is_no(client: Client, ann: User) -> None:
    make_profile(ann, options=YES)
    client.force_login(ann)
    form = {"quality": "50", "format": "jpeg", "step": "start", "profile": "", **dict.fromkeys(YES, "")}
    client.post("/", {"file": SimpleUploadedFile("a.csv", make_csv()), **form})
    batch = Request.objects.get()
    assert {name: getattr(batch, name) for name in YES} == dict.fromkeys(YES, False)
    assert batch.profile is None


def test_what_is_switched_off_before_the_preview_is_off_in_it(client: Client, ann: User) -> None:
    make_profile(ann, header=list(HEADER), options=YES)
    client.force_login(ann)
    form = {"quality": "50", "format": "jpeg", "step": "preview", "profile": "by-header", "trim": "false"}
    page = client.post("/", {"file": SimpleUploadedFile("a.csv", make_csv()), **form})["Location"]
    values = client.get(page).context["form"]
    assert {name: values[name].value() for name in YES} == {**YES, "trim": False}


def test_options_that_the_form_shows_count_though_they_are_the_defaults(client: Client, ann: User) -> None:
    """A script has put the options of the profile into the form, and the user has changed them back."""
    options = {"quality": 70, "format": "webp", "width": 100, "height": 100}
    shop = make_profile(ann, options=options)
    client.force_login(ann)
    form = {"quality": "50", "format": "jpeg", "width": "", "height": "", "step": "start"}
    chosen = {"profile": str(shop.pk), "shown_profile": str(shop.pk)}
    client.post("/", {"file": SimpleUploadedFile("a.csv", make_csv()), **form, **chosen})
    batch = Request.objects.get()
    assert (batch.quality, batch.format, batch.width, batch.height) == (50, "jpeg", None, None)
    assert batch.profile == shop


def test_a_preview_shows_the_options_of_a_profile_and_another_can_be_chosen(
    client: Client, ann: User
) -> None:
    shop = make_profile(ann, header=list(HEADER))
    small = make_profile(ann, "Small", options={"quality": 10, "trim": True, "renditions": [{"name": "a"}]})
    client.force_login(ann)
    form = {"quality": "50", "format": "jpeg", "step": "preview", "profile": "by-header"}
    page = client.post("/", {"file": SimpleUploadedFile("a.csv", make_csv()), **form})["Location"]
    shown = client.get(page)
    assert shown.context["profile"] == shop
    assert "because the file has the same columns" in shown.content.decode()
    assert shown.context["form"]["quality"].value() == 70
    by_address = client.get(page, {"profile": str(small.pk)}).content.decode()
    assert "This preview uses the profile <strong>Small</strong>. <a" in by_address
    without = client.get(page, {"profile": ""})
    assert (without.context["profile"], without.context["form"]["quality"].value()) == (None, 50)

    columns = {"serial": HEADER[0], "name": HEADER[1], "images": HEADER[2]}
    sent = {"step": "start", "quality": "70", "format": "webp", "profile": str(small.pk), **columns}
    other = client.post(page, {**sent, "shown_profile": str(shop.pk)})
    assert other.status_code == 200  # its options are shown first
    assert not Request.objects.exists()
    values = other.context["form"]
    assert (values["quality"].value(), values["trim"].value(), values["format"].value()) == (
        "10",
        True,
        "jpeg",
    )
    assert values["shown_profile"].value() == str(small.pk)

    client.post(page, {**sent, "quality": "11", "shown_profile": str(small.pk)})
    batch = Request.objects.get()
    assert (batch.profile, batch.quality) == (small, 11)


def test_forms_begin_with_the_last_used_options_of_a_user_without_profiles(client: Client, ann: User) -> None:
    client.force_login(ann)
    submit(ann, quality=64, format="avif", renditions=[{"name": "thumb", "width": 9}], force=True)
    submit(make_user("bob"), quality=11)
    form = client.get("/").context["form"]
    values = {name: form[name].value() for name in ("quality", "format", "force")}
    assert values == {"quality": 64, "format": "avif", "force": None}
    assert form["renditions"].value() == [{"name": "thumb", "width": 9}]
    make_profile(ann)
    assert client.get("/").context["form"]["quality"].value() == 50


# --- The command ---


def submitted(*arguments: str) -> Request:
    """Return the Request that `extract` submits with these arguments."""
    command: Any = load_command_class("processing", "extract")
    batch: Request = command._submit(
        vars(command.create_parser("manage.py", "extract").parse_args(arguments))
    )
    return batch


def test_extract_takes_a_profile_by_name_or_by_header(tmp_path: Path) -> None:
    catalogue = tmp_path / "catalogue.csv"
    catalogue.write_bytes(make_csv())
    make_profile(local_user(), header=list(HEADER))
    make_profile(local_user(), "Small", options={"quality": 10})
    by_header = submitted(str(catalogue), "--quality", "30")
    assert by_header.profile and by_header.profile.name == "Shop"
    assert by_header.options.items() >= {**MINE, "quality": 30}.items()
    assert submitted(str(catalogue), "--profile", "Small").quality == 10
    assert submitted(str(catalogue), "--profile", "").quality == 50


def test_extract_goes_on_with_a_request_of_the_same_options_alone(tmp_path: Path) -> None:
    catalogue = tmp_path / "catalogue.csv"
    catalogue.write_bytes(make_csv())
    profile = make_profile(local_user())
    first = submitted(str(catalogue), "--profile", "Shop")
    assert submitted(str(catalogue), "--profile", "Shop") == first
    Profile.objects.filter(pk=profile.pk).update(options={"quality": 5})
    other = submitted(str(catalogue), "--profile", "Shop")
    assert other != first
    assert other.quality == 5
