"""The upload form."""

from io import BytesIO
from typing import Any

import pytest
from django import forms
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from PIL import Image
from pytest_django import Settings

from products import lifecycle
from products.models import Draft, Profile, Request
from products.models.files import StorageUnavailable, uploads_storage
from products.pages.option_forms import YesNoField, YesNoOrProfileField
from products.throttling import LimitReached
from tests.products.catalogue.test_picture_archive import make_zip
from tests.support.factories import OTHER_URL, URL, ingest, make_csv, make_user
from tests.support.pages import OPTIONS, address, body, settle, upload

pytestmark = pytest.mark.django_db

UNKNOWN = make_csv((1, "Chair", URL), (2, "Table", "no"), (3, "Sofa", "no"), header=("Eins", "Zwei", "Drei"))


def test_an_upload_makes_a_request_and_leads_to_its_page(page: Client, ann: User) -> None:
    answer = upload(page, make_csv(), quality="80", format="webp", max_width="1200", max_height="900")
    batch = Request.objects.get()
    assert (answer.status_code, answer.headers["Location"]) == (302, address("request", batch))
    assert (batch.owner, batch.filename, batch.products_total) == (ann, "catalogue.csv", 1)
    assert (batch.quality, batch.format, batch.max_width, batch.max_height) == (80, "webp", 1200, 900)


def test_empty_limits_are_no_limits(page: Client) -> None:
    upload(page, make_csv())
    batch = Request.objects.get()
    assert (batch.max_width, batch.max_height) == (None, None)


def test_each_problem_of_a_refused_file_is_shown_with_its_place_and_nothing_is_stored(page: Client) -> None:
    answer = upload(page, make_csv((1, "Chair", "nope"), (2, "Table")), strict="on")
    assert answer.status_code == 400
    assert "<li>Line 2, column 3: nope: The URL does not start with http:// or https://.</li>" in body(answer)
    assert "<li>Line 3: The row has 2 cells, the header has 3.</li>" in body(answer)
    assert "<title>Error: Upload a catalogue – Image Extractor</title>" in body(answer)
    assert not Request.objects.exists()


def test_a_problem_without_a_place_is_shown_as_it_is(page: Client) -> None:
    answer = upload(page, b"")
    assert answer.status_code == 400
    assert "<li>The file is empty.</li>" in body(answer)


def test_the_first_hundred_problems_are_shown_and_it_is_said_that_there_may_be_more(page: Client) -> None:
    answer = body(upload(page, make_csv(*[(1, "Chair", "nope")] * 150), strict="on"))
    assert answer.count("<li>Line ") == 100
    assert "Line 101, column 3" in answer
    assert "Only the first 100 problems are listed." in answer


def test_options_are_kept_when_a_file_is_refused(page: Client) -> None:
    answer = upload(page, b"nonsense", quality="81", format="avif", max_width="1234", strict="on")
    fields = answer.context["form"]
    assert [fields[name].value() for name in ("quality", "format", "max_width", "strict")] == [
        *("81", "avif", "1234", True),
    ]
    assert 'value="81"' in body(answer)
    assert '<option value="avif" selected>' in body(answer)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("quality", "0"), ("quality", "96"), ("quality", "")),
        *(("format", "gif"), ("max_width", "0"), ("max_height", "65536"), ("max_height", "tall")),
    ],
)
def test_a_wrong_option_is_refused_beside_its_field(page: Client, option: str, value: str) -> None:
    answer = upload(page, make_csv(), **{option: value})
    assert answer.status_code == 400
    assert list(answer.context["form"].errors) == [option]
    assert f'id="id_{option}_error"' in body(answer)
    assert not Request.objects.exists()


def test_an_upload_without_a_file_is_refused(page: Client) -> None:
    answer = page.post("/", OPTIONS)
    assert answer.status_code == 400
    assert "Choose a file, or paste picture URLs." in body(answer)
    assert "Not saved:" not in body(answer)


# --- Several files, pasted URLs, the sample ---


def upload_files(page: Client, files: dict[str, bytes], **fields: str) -> Any:
    sent = [SimpleUploadedFile(name, data, "text/csv") for name, data in files.items()]
    return page.post("/", {"file": sent, **OPTIONS, **fields})


def test_several_files_become_a_request_each(page: Client) -> None:
    answer = upload_files(page, {"a.csv": make_csv(), "b.csv": make_csv()}, quality="71", step="start")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/requests/")
    names = Request.objects.order_by("filename").values_list("filename", "quality")
    assert [*names] == [("a.csv", 71), ("b.csv", 71)]
    assert "Started a.csv, b.csv." in body(page.get("/requests/"))


def test_of_several_files_the_refused_ones_are_named_and_the_others_started(page: Client) -> None:
    files = {"a.csv": make_csv(), "b.csv": b"", "c.csv": b"", "odd.csv": UNKNOWN}
    answer = upload_files(page, files, step="start")
    assert answer.status_code == 400
    assert "<li>b.csv: The file is empty.</li><li>c.csv: The file is empty.</li>" in body(answer)
    assert "Started a.csv." in body(answer)
    assert "Kept as drafts, not started yet: odd.csv." in body(answer)
    assert [batch.filename for batch in Request.objects.all()] == ["a.csv"]
    assert [draft.filename for draft in Draft.objects.all()] == ["odd.csv"]


def test_too_many_files_are_refused_together(page: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("products.pages.home.MAX_FILES", 1)
    answer = upload_files(page, {"a.csv": make_csv(), "b.csv": make_csv()}, step="start")
    assert answer.status_code == 400
    assert "Upload at most 1 files at a time." in body(answer)
    assert not Request.objects.exists()


def test_more_files_than_drafts_can_be_kept_are_not_previewed(
    page: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("products.lifecycle.drafts.MAX_DRAFTS_PER_USER", 3)
    upload(page, make_csv(), "first.csv", step="preview")
    answer = upload_files(page, {f"{name}.csv": make_csv() for name in "abc"}, step="preview")
    assert answer.status_code == 400
    assert "These are 3 files, and there is room for 2 more drafts." in body(answer)
    assert "Not saved: a.csv, b.csv, c.csv. Choose them again." in body(answer)
    assert [draft.filename for draft in Draft.objects.all()] == ["first.csv"]
    upload_files(page, {f"{name}.csv": make_csv() for name in "ab"}, step="preview")
    assert Draft.objects.count() == 3


def test_a_start_of_several_files_discards_no_draft_for_the_choice_of_columns(
    page: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("products.lifecycle.drafts.MAX_DRAFTS_PER_USER", 1)
    answer = upload_files(page, {"a.csv": UNKNOWN, "b.csv": UNKNOWN, "c.csv": make_csv()}, step="start")
    assert answer.status_code == 400
    assert "<li>b.csv: Line 1: No column with picture URLs was found." in body(answer)
    assert "Not saved: b.csv. Choose it again." in body(answer)
    assert [draft.filename for draft in Draft.objects.all()] == ["a.csv"]
    assert [batch.filename for batch in Request.objects.all()] == ["c.csv"]


def test_files_after_a_failure_of_the_storage_are_named_and_what_was_started_is_said(
    page: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = lifecycle.submit

    def fail_at_b(owner: User, file: Any, **options: Any) -> Any:
        if file.name == "b.csv":
            raise StorageUnavailable
        return submit(owner, file, **options)

    monkeypatch.setattr(lifecycle, "submit", fail_at_b)
    answer = upload_files(page, {f"{name}.csv": make_csv() for name in "abcd"}, step="start")
    assert answer.status_code == 400
    assert "Started a.csv." in body(answer)
    assert "b.csv: Storage does not answer. This file was not saved." in body(answer)
    assert "Not saved: b.csv, c.csv, d.csv. Choose them again." in body(answer)
    assert "Nothing was saved" not in body(answer)


def test_files_after_a_limit_are_named(page: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter([None, None, LimitReached("too_many_uploads", "Wait a minute.", 60)])

    def count(user: User) -> None:
        if error := next(calls):
            raise error

    monkeypatch.setattr("products.pages.home.count_upload", count)
    answer = upload_files(page, {f"{name}.csv": make_csv() for name in "abcd"}, step="start")
    assert answer.status_code == 429
    assert "c.csv: Wait a minute." in body(answer)
    assert "Not saved: c.csv, d.csv. Choose them again." in body(answer)


def test_pasted_urls_that_are_refused_need_not_be_chosen_again(page: Client) -> None:
    answer = page.post("/", {**OPTIONS, "urls": "nope", "strict": "on", "step": "start"})
    assert answer.status_code == 400
    assert "Not saved" not in body(answer)


def test_a_discarded_draft_leaves_no_zip(page: Client) -> None:
    upload_files(page, zipped({"list.csv": make_csv((1, "Chair", "chair.jpg"))}), step="preview")
    draft = Draft.objects.get()
    assert uploads_storage().exists(draft.options["archive"])
    page.post(f"{draft.get_absolute_url()}discard/")
    assert not uploads_storage().exists(draft.options["archive"])


def test_a_draft_that_was_started_leaves_its_zip_to_the_request(page: Client) -> None:
    upload_files(page, zipped({"list.csv": make_csv((1, "Chair", "chair.jpg"))}), step="preview")
    columns = {"serial": "Serial Number", "name": "Product Name", "images": ["Input Image Urls"]}
    page.post(Draft.objects.get().get_absolute_url(), {**OPTIONS, **columns, "step": "start"})
    assert not Draft.objects.exists()
    assert uploads_storage().exists(Request.objects.get().archive)


def test_a_profile_of_a_zip_has_no_base_url(page: Client, ann: User) -> None:
    upload_files(page, zipped({"list.csv": make_csv((1, "Chair", "chair.jpg"))}), step="preview")
    columns = {"serial": "Serial Number", "name": "Product Name", "images": ["Input Image Urls"]}
    fields = {**OPTIONS, **columns, "step": "save", "profile_name": "Spring"}
    page.post(Draft.objects.get().get_absolute_url(), fields)
    assert "base_url" not in Profile.objects.get(owner=ann).options


def test_usual_options_are_those_of_users_without_any_profile_to_choose(page: Client, ann: User) -> None:
    upload(page, make_csv(), strict="on", quality="80")
    assert page.get("/").context["form"]["quality"].value() == 80
    profile = Profile.objects.create(owner=make_user("bob"), name="Spring", is_published=True)
    assert page.get("/").context["form"].initial == {}
    profile.delete()
    assert "checked" in str(page.get("/").context["form"]["strict"])


@pytest.mark.parametrize(("initial", "shown"), [(True, "Yes"), (False, "No"), ("", "As in the profile")])
def test_yes_or_no_is_shown_as_it_is(initial: object, shown: str) -> None:
    field = YesNoOrProfileField(YesNoField(label="Strict"))
    form = type("AForm", (forms.Form,), {"strict": field})(initial={"strict": initial})
    assert f"selected>{shown}</option>" in str(form["strict"])


def test_a_start_with_unknown_columns_leads_to_their_choice(page: Client) -> None:
    answer = upload(page, UNKNOWN, step="start", quality="71")
    draft = Draft.objects.get()
    assert answer.headers["Location"] == draft.get_absolute_url()
    assert draft.options == {"quality": 71}
    shown = body(page.get(draft.get_absolute_url()))
    assert "No column with picture URLs was found." in shown
    assert "First rows of the file" in shown
    assert not Request.objects.exists()


def test_pasted_urls_are_a_catalogue_with_numbered_rows(page: Client) -> None:
    text = f"{URL}\r\n\r\n  {OTHER_URL} {URL}\n"
    page.post("/", {**OPTIONS, "urls": text, "step": "start"})
    batch = ingest(Request.objects.get())
    rows = batch.products.order_by("row_number").values_list("serial_number", "cells")
    assert [*rows] == [("1", ["1", URL]), ("2", ["2", f"{OTHER_URL} {URL}"])]
    assert [image.url for image in batch.images.order_by("number")] == [URL, OTHER_URL]


def zipped(files: dict[str, bytes]) -> dict[str, bytes]:
    return {"shop.zip": make_zip(files).getvalue()}


def test_a_zip_of_a_catalogue_with_its_pictures_is_previewed_and_started(page: Client) -> None:
    files = zipped({"list.csv": make_csv((1, "Chair", "images/chair.jpg")), "images/chair.jpg": b"x"})
    upload_files(page, files, step="preview")
    draft = Draft.objects.get()
    shown = body(page.get(draft.get_absolute_url()))
    assert draft.filename == "list.csv"
    assert '<th scope="row">In the ZIP</th>' in shown
    assert "Warnings</dt><dd>0" in shown
    assert "cannot be reached" not in shown
    columns = {"serial": "Serial Number", "name": "Product Name", "images": ["Input Image Urls"]}
    page.post(draft.get_absolute_url(), {**OPTIONS, **columns, "step": "start"})
    batch = ingest(Request.objects.get())
    assert batch.archive == draft.options["archive"]
    assert [image.uploaded_path for image in batch.images.all()] == ["images/chair.jpg"]


def test_pictures_that_are_missing_in_the_zip_are_named_before_the_start(page: Client) -> None:
    rows = [(number, "Chair", f"{number:02}.jpg") for number in range(1, 15)]
    files = zipped({"list.csv": make_csv(*rows, (0, "Table", URL)), "03.jpg": b"x", "Pictures/04.JPG": b"x"})
    upload_files(page, files, step="preview")
    shown = body(page.get(Draft.objects.get().get_absolute_url()))
    named = ", ".join(f"{number:02}.jpg" for number in (1, 2, *range(4, 12)))
    assert f"13 pictures are not in the ZIP: {named} and others." in shown
    assert "<dt>Warnings</dt><dd>13</dd>" in shown
    page.post(f"{Draft.objects.get().get_absolute_url()}discard/")
    upload_files(page, zipped({"list.csv": make_csv(rows[0]), "01.jpg": b"x"}), step="preview")
    assert "not in the ZIP" not in body(page.get(Draft.objects.get().get_absolute_url()))


def test_the_limit_is_said_as_it_is_set(page: Client, settings: Settings) -> None:
    for limit, text in (
        (200_000_000, "200 MB"),
        (1_500_000, "1.5 MB"),
        (2_000_000_000, "2 GB"),
        (999, "999 bytes"),
    ):
        settings.UPLOAD_MAX_BYTES = limit
        assert f"Up to 50 files, {text} together." in body(page.get("/"))
    settings.UPLOAD_MAX_BYTES = 20_000
    assert "larger than the limit of 20 KB." in body(upload(page, bytes(21_000)))


def test_a_zip_is_started_at_once(page: Client) -> None:
    upload_files(page, zipped({"list.csv": make_csv((1, "Chair", "chair.jpg"))}), step="start")
    batch = Request.objects.get()
    assert batch.archive.endswith(".zip")
    assert batch.base_url == "https://upload.invalid"


def test_a_zip_without_a_catalogue_is_refused(page: Client) -> None:
    answer = upload_files(page, zipped({"chair.jpg": b"x"}), step="start")
    assert answer.status_code == 400
    assert "The ZIP has no catalogue. Put a CSV or Excel file beside the pictures." in body(answer)
    assert not Request.objects.exists()


def test_the_sample_is_previewed_without_a_file(page: Client) -> None:
    answer = page.post("/drafts/sample/")
    shown = body(page.get(answer.headers["Location"]))
    assert "Rows</dt><dd>6" in shown
    assert "Pictures</dt><dd>12" in shown
    assert "Warnings</dt><dd>0" in shown
    assert "cannot be reached" not in shown


def test_the_sample_s_pictures_are_served_to_anyone_and_one_is_broken(client: Client) -> None:
    first, last = (client.get(f"/sample/{number}.jpg") for number in (1, 12))
    with Image.open(BytesIO(first.content)) as picture:
        picture.load()
    with Image.open(BytesIO(last.content)) as picture, pytest.raises(OSError, match="truncated"):
        picture.load()
    assert client.get("/sample/13.jpg").status_code == 404


def test_hostile_names_are_text(page: Client) -> None:
    name = "<script>alert(1).csv"
    row = ("<i>1</i>", "<script>alert(2)</script>", "https://shop.example/<b>.jpg")
    upload(page, make_csv(row), name)
    batch = Request.objects.get()
    assert batch.filename == name
    settle(ingest(batch), "<u>")
    shown = "".join(
        body(page.get(path)) for path in ("/", address("request", batch), address("request-products", batch))
    )
    for hostile in ("<script>alert", "<i>1", "<b>.jpg", "<u>"):
        assert hostile not in shown
    for text in (
        "&lt;script&gt;alert(1).csv",
        "&lt;script&gt;alert(2)",
        "/&lt;b&gt;.jpg",
        "It failed with &lt;u&gt;.",
    ):
        assert text in shown


def test_the_url_of_a_file_leads_to_a_feed_by_either_button(page: Client) -> None:
    for step in ("preview", "start"):
        answer = page.post("/", {**OPTIONS, "step": step, "url": " https://shop.example/a.csv?x=1&y "})
        assert answer.headers["Location"] == "/feeds/?url=https%3A%2F%2Fshop.example%2Fa.csv%3Fx%3D1%26y"
    answer = upload(page, make_csv(), url="https://shop.example/a.csv")
    assert answer.status_code == 400
    assert "Enter a URL or choose files, not both." in body(answer)
    assert not Request.objects.exists() and not Draft.objects.exists()


def test_options_of_the_last_upload_are_said_to_be_these_and_can_be_left(page: Client) -> None:
    assert "As in your last upload" not in body(page.get("/"))
    upload(page, make_csv(), max_width="800")
    shown = body(page.get("/"))
    assert "As in your last upload" in shown and 'value="800"' in shown
    shown = body(page.get("/?defaults"))
    assert "As in your last upload" not in shown and 'value="800"' not in shown
