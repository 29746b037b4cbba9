"""Drafts on the start page: listed with what they have, discarded, and started together."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from products.models import Draft, Profile, Request
from tests.products.catalogue.test_picture_archive import make_zip
from tests.products.pages.test_drafts import OPTIONS, UNKNOWN, drafted
from tests.support.factories import OTHER_URL, URL, client_of, make_csv, make_user
from tests.support.pages import body, upload

pytestmark = pytest.mark.django_db


def contents(page: Client) -> list[str]:
    """Return the contents and the status of each draft on the start page, the newest first."""
    parts = body(page.get("/")).split('<td class="contents"> ')[1:]
    return [part.partition(" </td>")[0] for part in parts]


READY = '<span class="status">Ready</span>'


def test_the_list_says_how_much_a_draft_has_and_whether_it_can_be_read(page: Client) -> None:
    drafted(page, make_csv())
    drafted(page, make_csv((1, "Chair", f"{URL} {URL} {OTHER_URL}"), (2, "Table", "rack.jpg")))
    drafted(page, UNKNOWN)
    invalid = '<span class="status held">1 invalid URL</span>'
    unread = '<span class="status failed">Columns not found</span>'
    expected = [
        unread,
        f"<span>2 rows, 3 picture URLs</span> {invalid}",
        f"<span>1 row, 1 picture URL</span> {READY}",
    ]
    assert contents(page) == expected


def test_a_start_that_asks_for_columns_a_zip_and_the_sample_are_listed_alike(page: Client) -> None:
    upload(page, UNKNOWN, step="start")
    assert contents(page) == ['<span class="status failed">Columns not found</span>']
    zipped = {"list.csv": make_csv((1, "Chair", "a.jpg"), (2, "Sofa", "b.jpg")), "a.jpg": b"x"}
    upload(page, make_zip(zipped).getvalue(), "shop.zip", step="preview")
    page.post("/drafts/sample/")
    assert contents(page)[:2] == [
        f"<span>6 rows, 12 picture URLs</span> {READY}",
        f"<span>2 rows, 2 picture URLs</span> {READY}",
    ]


def test_a_draft_is_listed_as_its_profile_reads_it(page: Client, ann: User) -> None:
    columns = {"serial": "Eins", "name": "Zwei", "images": ["Drei"]}
    profile = Profile.objects.create(owner=ann, name="Shop", options={"columns": columns})
    drafted(page, UNKNOWN, profile="Shop")
    invalid = '<span class="status held">2 invalid URLs</span>'
    assert contents(page) == [f"<span>3 rows, 1 picture URL</span> {invalid}"]
    Profile.objects.filter(pk=profile.pk).update(options={"columns": {"images": ["Vier"]}})
    drafted(page, make_csv(), profile="Shop")
    assert contents(page)[0] == '<span class="status failed">Columns not found</span>'


def test_a_file_that_can_be_read_with_its_profile_alone_is_previewed(page: Client, ann: User) -> None:
    Profile.objects.create(owner=ann, name="Shop", options={"encoding": "utf-16-le"})
    drafted(page, make_csv().decode().encode("utf-16-le"), profile="Shop")
    assert contents(page) == [f"<span>1 row, 1 picture URL</span> {READY}"]
    assert page.get(Draft.objects.get().get_absolute_url()).status_code == 200


def test_a_file_is_judged_as_its_profile_reads_it(page: Client, ann: User, settings: Settings) -> None:
    settings.REQUEST_MAX_IMAGES = 1
    data = make_csv((1, "Chair", URL, OTHER_URL), header=("SKU", "Name", "Image URL 1", "Image URL 2"))
    assert upload(page, data, step="preview").status_code == 400
    Profile.objects.create(owner=ann, name="Shop", options={"columns": {"images": ["Image URL 1"]}})
    drafted(page, data, profile="Shop")
    assert contents(page) == [f"<span>1 row, 1 picture URL</span> {READY}"]


def test_old_drafts_are_not_listed(page: Client) -> None:
    upload(page, make_csv(), "spring.csv", step="preview")
    Draft.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert "spring.csv" not in body(page.get("/"))


def test_drafts_are_listed_and_discarded(page: Client, client: Client) -> None:
    upload(page, make_csv(), "spring.csv", step="preview")
    draft = Draft.objects.get()
    assert f'<a href="{draft.get_absolute_url()}">spring.csv</a>' in body(page.get("/"))
    answer = page.post(f"{draft.get_absolute_url()}discard/", follow=True)
    assert "The draft of spring.csv was discarded." in body(answer)
    assert not Draft.objects.exists()


def test_a_draft_of_someone_else_is_not_discarded(page: Client) -> None:
    upload(page, make_csv(), step="preview")
    path = f"{Draft.objects.get().get_absolute_url()}discard/"
    assert client_of(make_user("bob")).post(path).status_code == 404
    assert Draft.objects.exists()


def drafted_together(page: Client, files: dict[str, bytes], **options: str) -> str:
    """Upload files to be previewed. Return where the answer leads."""
    sent = [SimpleUploadedFile(name, data, "text/csv") for name, data in files.items()]
    location: str = page.post("/", {"file": sent, **OPTIONS, **options, "step": "preview"}).headers[
        "Location"
    ]
    return location


def test_drafts_of_one_upload_are_chosen_and_start_with_its_options(page: Client) -> None:
    upload(page, make_csv(), "earlier.csv", step="preview")
    location = drafted_together(page, {"a.csv": make_csv(), "b.csv": make_csv()}, quality="71", trim="on")
    assert location.endswith("#drafts")
    shown = body(page.get(location))
    ticked = {str(draft.pk): draft.filename for draft in Draft.objects.exclude(filename="earlier.csv")}
    for draft in Draft.objects.all():
        box = f'value="{draft.pk}" form="other" aria-label="Select {draft.filename}"'
        assert f"{box} checked>" in shown if str(draft.pk) in ticked else f"{box}>" in shown
    answer = page.post("/drafts/start/", {"draft": [*ticked]})
    assert answer.headers["Location"] == "/requests/"
    made = Request.objects.order_by("filename").values_list("filename", "quality", "trim")
    assert [*made] == [("a.csv", 71, True), ("b.csv", 71, True)]
    assert "Started a.csv, b.csv." in body(page.get("/requests/"))
    assert [draft.filename for draft in Draft.objects.all()] == ["earlier.csv"]


def test_a_draft_that_cannot_be_started_stays_with_the_reason(page: Client) -> None:
    drafted_together(page, {"a.csv": make_csv(), "odd.csv": UNKNOWN})
    answer = page.post("/drafts/start/", {"draft": [str(draft.pk) for draft in Draft.objects.all()]})
    assert answer.status_code == 400
    shown = body(answer)
    assert "Started a.csv." in shown
    odd = Draft.objects.get()
    assert f'aria-label="Select {odd.filename}" checked>' in shown
    row = shown.partition(f'<a href="{odd.get_absolute_url()}">odd.csv</a>')[2].partition("</th>")[0]
    assert "No column with picture URLs was found." in row
    assert [batch.filename for batch in Request.objects.all()] == ["a.csv"]


def test_drafts_after_a_limit_stay(page: Client, settings: Settings) -> None:
    drafted_together(page, {"a.csv": make_csv(), "b.csv": make_csv()})
    settings.USER_UPLOADS_PER_MINUTE = 3
    answer = page.post("/drafts/start/", {"draft": [str(draft.pk) for draft in Draft.objects.all()]})
    assert answer.status_code == 429
    assert [batch.filename for batch in Request.objects.all()] == ["a.csv"]
    assert "More than 3 uploads in a minute." in body(answer)
    assert [draft.filename for draft in Draft.objects.all()] == ["b.csv"]


def test_a_draft_whose_file_is_gone_says_so(page: Client) -> None:
    draft = drafted(page, make_csv())
    draft.file.storage.delete(str(draft.file.name))
    answer = page.post("/drafts/start/", {"draft": str(draft.pk)})
    assert answer.status_code == 400
    assert "The file has expired. Upload it again." in body(answer)


def test_no_draft_is_started_where_none_is_chosen_or_it_is_of_someone_else(page: Client) -> None:
    draft = drafted(page, make_csv())
    bob = client_of(make_user("bob"))
    for client, chosen in ((page, []), (page, ["x"]), (bob, [str(draft.pk)])):
        answer = client.post("/drafts/start/", {"draft": chosen}, follow=True)
        assert "Select the drafts to start." in body(answer)
    assert not Request.objects.exists()
    assert Draft.objects.exists()
