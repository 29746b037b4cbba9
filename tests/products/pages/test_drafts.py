"""Between the upload and the start: how the file is read, shown and corrected."""

import io
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import openpyxl
import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from products import lifecycle
from products.catalogue import Catalogue
from products.models import Draft, Request
from tests.support.factories import (
    OTHER_URL,
    URL,
    client_of,
    make_csv,
    make_user,
    make_workbook,
    stored_catalogues,
)
from tests.support.pages import body, upload
from tests.support.parallel import together

pytestmark = pytest.mark.django_db

# Neither the names tell where the pictures are, nor do the cells.
UNKNOWN = make_csv((1, "Chair", URL), (2, "Table", "no"), (3, "Sofa", "no"), header=("Eins", "Zwei", "Drei"))
READING = {"serial": "Eins", "name": "Zwei", "images": ["Drei"], "encoding": "", "base_url": ""}
OPTIONS = {"quality": "50", "format": "jpeg"}


@pytest.fixture(autouse=True)
def files() -> Iterator[None]:
    """Leaves no file that was not there."""
    before = stored_catalogues()
    yield
    for path in stored_catalogues() - before:
        path.unlink()


def drafted(page: Client, data: bytes, name: str = "catalogue.csv", **options: str) -> Draft:
    """A draft by the form."""
    answer = upload(page, data, name, step="preview", **options)
    draft = Draft.objects.order_by("created_at").last()
    assert draft is not None
    assert (answer.status_code, answer.headers["Location"]) == (302, draft.get_absolute_url())
    return draft


def test_a_preview_shows_how_the_file_is_read_and_starts_nothing(page: Client) -> None:
    data = make_csv((1, "Chair", f"{URL} {OTHER_URL}"), (2, "", URL), header=("SKU", "Name", "Images"))
    shown = body(page.get(drafted(page, data).get_absolute_url()))
    for fact in ("Rows</dt><dd>2", "Pictures</dt><dd>2 <small>(used 3 times)", "Hosts</dt><dd>1"):
        assert fact in shown
    for chosen in ('<option value="SKU" selected>', 'value="Images" id="id_images_2" checked'):
        assert chosen in shown
    assert "The row has no product name." in shown
    assert f'<li class="url">{OTHER_URL}</li>' in shown
    assert not Request.objects.exists()


def test_a_preview_counts_pictures_without_what_is_no_url(page: Client) -> None:
    urls = (URL, f"{URL} {OTHER_URL}", "rack.jpg", "rack.jpg")
    rows = ((number, "Chair", url) for number, url in enumerate(urls))
    shown = body(page.get(drafted(page, make_csv(*rows)).get_absolute_url()))
    assert "Pictures</dt><dd>2 <small>(used 3 times)" in shown
    assert '<div class="bad"><dt>Invalid URLs</dt><dd>2</dd></div>' in shown
    shown = body(page.get(drafted(page, make_csv((1, "Chair", URL), (2, "Sofa", ""))).get_absolute_url()))
    assert "Pictures</dt><dd>1</dd>" in shown
    assert "Invalid URLs" not in shown


def test_a_preview_counts_all_warnings_though_it_lists_the_first(page: Client) -> None:
    data = make_csv(*((number, "", f"{URL}?{number}") for number in range(46)))
    shown = body(page.get(drafted(page, data).get_absolute_url()))
    assert "Warnings</dt><dd>46</dd>" in shown
    assert "There are 46 warnings." in shown


def test_what_was_previewed_is_started_with_its_options_and_kept_once(page: Client, ann: User) -> None:
    before = stored_catalogues()
    draft = drafted(page, UNKNOWN, "artikel.csv", quality="81")
    assert "81" in body(page.get(draft.get_absolute_url()))
    form = {**READING, "quality": "81", "format": "webp", "max_width": "800", "step": "start"}
    answer = page.post(draft.get_absolute_url(), form)
    batch = Request.objects.get()
    assert answer.headers["Location"] == batch.get_absolute_url()
    assert (batch.owner, batch.filename, batch.products_total) == (ann, "artikel.csv", 3)
    assert (batch.quality, batch.format, batch.max_width) == (81, "webp", 800)
    assert batch.columns == {"serial": "Eins", "name": "Zwei", "images": ["Drei"]}
    assert not Draft.objects.exists()
    assert len(stored_catalogues() - before) == 1


@pytest.mark.django_db(transaction=True)
def test_two_clicks_on_start_lead_to_one_request(page: Client, ann: User) -> None:
    before = stored_catalogues()
    path = drafted(page, UNKNOWN).get_absolute_url()
    form = {**READING, **OPTIONS, "step": "start"}
    answers = together([partial(client_of(ann).post, path, form) for _ in range(2)])
    answers += [page.post(path, form), page.get(path)]
    batch = Request.objects.get()
    assert [answer.headers["Location"] for answer in answers] == [batch.get_absolute_url()] * 4
    assert not Draft.objects.exists()
    assert len(stored_catalogues() - before) == 1
    lifecycle.delete(batch)
    assert page.get(path).status_code == 404


def test_columns_that_are_not_known_can_be_chosen(page: Client) -> None:
    path = drafted(page, UNKNOWN).get_absolute_url()
    shown = body(page.get(path))
    assert "No column with picture URLs was found." in shown
    first_rows = shown.partition("First rows of the file")[2]
    for text in (f"<td>{URL}</td>", "<td>Sofa</td>", '<th scope="col"><label for="role-1">Zwei</label>'):
        assert text in first_rows
    answer = page.post(path, {**READING, **OPTIONS, "step": "preview"})
    assert answer.status_code == 200
    assert f'<li class="url">{URL}</li>' in body(answer)
    assert not Request.objects.exists()


def test_columns_are_chosen_above_the_first_rows_without_serial_number_and_name(page: Client) -> None:
    path = drafted(page, UNKNOWN).get_absolute_url()
    shown = body(page.get(path))
    assert '<select name="role Drei" id="role-2">' in shown
    form = {
        **OPTIONS,
        "encoding": "",
        "base_url": "",
        "role Eins": "",
        "role Zwei": "",
        "role Drei": "images",
    }
    preview = body(page.post(path, {**form, "step": "preview"}))
    assert f'<li class="url">{URL}</li>' in preview
    assert '<input type="checkbox" name="images" value="Drei" id="id_images_2" checked>' in preview
    answer = page.post(path, {**form, "role Zwei": "serial", "step": "start"})
    batch = Request.objects.get()
    assert answer.headers["Location"] == batch.get_absolute_url()
    assert batch.columns == {"serial": "Zwei", "name": "", "images": ["Drei"]}
    assert [row.serial_number for row in Catalogue(batch.source.open(), **batch.reading)] == [
        "Chair",
        "Table",
        "Sofa",
    ]


def test_a_role_that_only_one_column_can_have_is_not_taken_by_two(page: Client) -> None:
    path = drafted(page, UNKNOWN).get_absolute_url()
    form = {**OPTIONS, "encoding": "", "base_url": "", "role Eins": "serial", "role Zwei": "serial"}
    answer = page.post(path, {**form, "role Drei": "images", "step": "start"})
    assert answer.status_code == 400
    assert "Choose this for one column only." in body(answer)
    assert not Request.objects.exists()
    answer = page.post(path, {**form, "role Zwei": "", "step": "start"})  # no pictures
    assert answer.status_code == 400
    assert "This field is required." in body(answer)
    assert '<option value="serial" selected>' in body(answer)


def test_columns_without_a_name_and_with_the_name_of_another_have_no_choice(page: Client) -> None:
    data = make_csv(("1", "x", "no", "y"), header=("Eins", "", "Zwei", "Zwei"))
    shown = body(page.get(drafted(page, data).get_absolute_url()))
    assert shown.count('<select name="role ') == 2


def test_columns_are_reassigned(page: Client) -> None:
    data = make_csv(("1", "A-1", "Chair", URL, OTHER_URL), header=("ID", "Code", "Name", "Images", "More"))
    path = drafted(page, data).get_absolute_url()
    assert OTHER_URL not in body(page.get(path)).partition("First rows")[2]
    form = {**READING, **OPTIONS, "serial": "Code", "name": "Name", "images": ["Images", "More"]}
    shown = body(page.post(path, form)).partition("First rows")[2]
    assert '<th scope="row">A-1</th>' in shown
    assert OTHER_URL in shown


def test_another_sheet_is_chosen_and_its_columns_are_found(page: Client, ann: User) -> None:
    book = openpyxl.Workbook()
    book.worksheets[0].title = "Lamps"
    for row in (["SKU", "Name", "Image"], ["1", "Lamp", URL]):
        book.worksheets[0].append(row)
    chairs = book.create_sheet("Chairs")
    for row in (["Code", "Title", "Photo"], ["2", "Chair", OTHER_URL]):
        chairs.append(row)
    file = io.BytesIO()
    book.save(file)
    path = drafted(page, file.getvalue(), "catalogue.xlsx").get_absolute_url()
    shown = body(page.get(path))
    assert "Sheet</dt><dd>Lamps <small>(one of 2)" in shown
    form = {**READING, **OPTIONS, "serial": "SKU", "name": "Name", "images": ["Image"], "sheet": "Chairs"}
    shown = body(page.post(path, {**form, "step": "preview"}))
    assert "Sheet</dt><dd>Chairs" in shown
    for chosen in ('<option value="Chairs" selected>', '<option value="Code" selected>', OTHER_URL):
        assert chosen in shown
    form |= {"serial": "Code", "name": "Title", "images": ["Photo"]}
    page.post(path, {**form, "step": "start"})
    batch = Request.objects.get()
    assert batch.sheet == "Chairs"
    with batch.source.open("rb") as source:
        assert [row.product_name for row in Catalogue(source, **batch.reading)] == ["Chair"]


def test_encoding_and_base_url_are_taken(page: Client) -> None:
    data = "SKU,Name,Images\n1,Стул,/a.jpg\n".encode("cp1251")
    path = drafted(page, data).get_absolute_url()
    assert "Стул" not in body(page.get(path))
    reading = {"serial": "SKU", "name": "Name", "images": ["Images"], "encoding": "cp1251"}
    shown = body(page.post(path, {**reading, **OPTIONS, "base_url": "https://shop.example/media"}))
    assert "Стул" in shown
    assert "https://shop.example/media/a.jpg" in shown
    wrong = page.post(path, {**reading, **OPTIONS, "base_url": "shop"})
    assert wrong.status_code == 400
    assert 'id="id_base_url_error"' in body(wrong)


@pytest.mark.parametrize("encoding", ["utf-8", "no-such"])
def test_an_encoding_that_is_not_the_files_is_said_and_can_be_changed(page: Client, encoding: str) -> None:
    path = drafted(page, "SKU,Name,Images\n1,Stühle,\n".encode("cp1252")).get_absolute_url()
    form = {**OPTIONS, "serial": "SKU", "name": "Name", "images": ["Images"], "encoding": encoding}
    answer = page.post(path, form)
    assert answer.status_code == 400
    for role in ("serial", "name", "images"):
        assert f'<option value="{role}" selected>' in body(answer)


def test_a_workbook_is_previewed_too(page: Client) -> None:
    data = make_workbook(["SKU", "Name", "Images"], [1, "Chair", URL])
    shown = body(page.get(drafted(page, data, "catalogue.xlsx").get_absolute_url()))
    assert "File type</dt><dd>XLSX" in shown
    assert "Delimiter" not in shown


def test_what_strict_refuses_can_be_started_without_it(page: Client) -> None:
    path = drafted(page, make_csv((1, "Chair", "nope")), strict="on").get_absolute_url()
    form = {
        **OPTIONS,
        "serial": "Serial Number",
        "name": "Product Name",
        "images": ["Input Image Urls"],
        "step": "start",
    }
    answer = page.post(path, {**form, "strict": "on"})
    assert answer.status_code == 400
    assert "<li>Line 2, column 3: nope: The URL does not start with" in body(answer)
    assert page.post(path, form).headers["Location"] == Request.objects.get().get_absolute_url()


@pytest.mark.parametrize("data", [b"", b"SKU,Name,Images\n", b"\x89PNG\r\n\x1a\n\0\0\0"])
def test_a_file_that_no_choice_of_columns_can_help_is_refused_beside_the_field(
    page: Client, data: bytes
) -> None:
    answer = upload(page, data, step="preview")
    assert answer.status_code == 400
    assert 'id="id_file_error"' in body(answer)
    assert not Draft.objects.exists()


def test_missing_choices_are_refused_beside_their_fields(page: Client) -> None:
    path = drafted(page, UNKNOWN).get_absolute_url()
    answer = page.post(path, {**OPTIONS, "step": "start", "serial": "Eins", "name": "made up"})
    assert answer.status_code == 400
    assert sorted(answer.context["form"].errors) == ["images", "name"]
    assert not Request.objects.exists()


def test_a_draft_is_its_owners_alone_staff_included(page: Client, client: Client, ann: User) -> None:
    path = drafted(page, UNKNOWN).get_absolute_url()
    client.force_login(make_user("boss", is_staff=True))
    assert client.get(path).status_code == 404
    assert client.post(path, {**READING, **OPTIONS, "step": "start"}).status_code == 404
    assert not Request.objects.exists()


def test_the_newest_twenty_drafts_of_a_user_are_kept_with_their_files(page: Client) -> None:
    before = stored_catalogues()
    first = drafted(page, UNKNOWN)
    Draft.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    for _ in range(20):
        drafted(page, UNKNOWN)
    assert Draft.objects.count() == 20
    assert not Draft.objects.filter(pk=first.pk).exists()
    assert len(stored_catalogues() - before) == 20


def test_a_draft_whose_file_was_pruned_says_so(page: Client) -> None:
    draft = drafted(page, UNKNOWN)
    Path(draft.file.path).unlink()
    answer = page.get(draft.get_absolute_url(), follow=True)
    assert "The preview of catalogue.csv has expired. Upload the file again." in body(answer)
    assert not Draft.objects.exists()


def test_the_limit_of_open_work_holds_at_the_start_of_a_draft(page: Client, settings: Settings) -> None:
    path = drafted(page, UNKNOWN).get_absolute_url()
    settings.USER_MAX_OPEN_REQUESTS = 0
    answer = page.post(path, {**READING, **OPTIONS, "step": "start"})
    assert answer.status_code == 429
    assert "unfinished requests" in body(answer)
    assert Draft.objects.exists()


def test_htmx_is_sent_on_to_the_preview(page: Client) -> None:
    form = {"file": SimpleUploadedFile("a.csv", UNKNOWN), **OPTIONS, "step": "preview"}
    answer = page.post("/", form, headers={"HX-Request": "true"})
    assert answer.headers["HX-Redirect"] == Draft.objects.get().get_absolute_url()


def test_each_preview_and_the_start_count_as_uploads(
    page: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("products.throttling.time.time", lambda: 1_000_000_200.0)
    settings.USER_UPLOADS_PER_MINUTE = 5
    path = drafted(page, UNKNOWN).get_absolute_url()
    assert [page.get(path).status_code for _ in range(7)] == [200] * 4 + [429] * 3
    for step in ("preview", "start"):
        answer = page.post(path, {**READING, **OPTIONS, "step": step})
        assert answer.status_code == 429
        assert "Previews count as uploads." in body(answer)
        assert int(answer.headers["Retry-After"]) > 0
    assert not Request.objects.exists()
