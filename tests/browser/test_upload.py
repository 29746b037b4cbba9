"""The upload page: several files, a folder with pictures, pasted URLs, and the sample."""

import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect
from pytest_django.live_server_helper import LiveServer

from products.models import Draft, Request
from products.models.files import uploads_storage
from tests.support.factories import OTHER_URL, URL, ingest, make_csv, settle, submit
from tests.support.watching import log_in

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture
def site(page: "Page", live_server: LiveServer, ann: User) -> "Page":
    log_in(page.context, ann, live_server.url)
    page.goto(live_server.url)
    return page


def test_several_files_are_started_at_once(site: "Page") -> None:
    files = [
        {"name": name, "mimeType": "text/csv", "buffer": make_csv((1, "Chair", URL))}
        for name in ("a.csv", "b.csv")
    ]
    site.get_by_label("Catalogue", exact=True).set_input_files(files)  # type: ignore[arg-type]
    site.get_by_role("button", name="Upload and start").click()
    expect(site.get_by_role("status").first).to_have_text("Started a.csv, b.csv.")
    assert Request.objects.count() == 2


def test_files_stay_chosen_while_an_option_is_corrected(site: "Page") -> None:
    file = {"name": "a.csv", "mimeType": "text/csv", "buffer": make_csv((1, "Chair", URL))}
    site.get_by_label("Catalogue", exact=True).set_input_files(file)  # type: ignore[arg-type]
    site.get_by_text("More options").click()
    site.get_by_label("Background").first.fill("no colour")
    site.get_by_role("button", name="Upload and start").click()
    expect(site.get_by_text("Not saved: a.csv. Correct the options, then upload it again.")).to_be_visible()
    assert not Request.objects.exists()
    site.get_by_label("Background").first.fill("#ffffff")
    site.get_by_role("button", name="Upload and start").click()
    expect(site.get_by_role("heading", level=1)).to_have_text("a.csv")


def test_a_folder_is_packed_with_its_pictures(site: "Page", tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    (folder / "images").mkdir(parents=True)
    (folder / "list.csv").write_bytes(make_csv((1, "Stühle", "images/stühle.jpg")))
    picture = bytes(range(256)) * 100
    (folder / "images" / "stühle.jpg").write_bytes(picture)
    with site.expect_file_chooser() as chooser:
        site.get_by_role("button", name="Choose a folder").click()
    chooser.value.set_files(folder)
    expect(site.get_by_label("Catalogue", exact=True)).to_be_focused()
    site.get_by_role("button", name="Upload and preview").click()
    expect(site.get_by_role("heading", level=1)).to_have_text("Preview of list.csv")
    expect(site.get_by_role("rowheader", name="In the ZIP")).to_be_visible()
    with uploads_storage().open(Draft.objects.get().options["archive"]) as file:
        archive = zipfile.ZipFile(file)
        assert archive.testzip() is None
        assert archive.read("shop/images/stühle.jpg") == picture


def test_pasted_urls_are_previewed(site: "Page") -> None:
    site.get_by_text("Paste picture URLs").click()
    site.get_by_label("Picture URLs").fill(f"{URL}\n{OTHER_URL}")
    site.get_by_role("button", name="Upload and preview").click()
    expect(site.get_by_role("heading", level=1)).to_have_text("Preview of pasted-urls.csv")
    expect(site.get_by_role("table", name="Rows 1 to 2 of 2").get_by_role("rowheader")).to_have_text(
        ["1", "2"]
    )


def test_the_url_of_a_file_leads_to_a_feed(site: "Page") -> None:
    site.get_by_text("Fetch the file from a URL").click()
    site.get_by_label("URL of the file").fill("https://shop.example/products.csv")
    site.get_by_role("button", name="Upload and preview").click()
    expect(site.get_by_label("URL", exact=True)).to_have_value("https://shop.example/products.csv")


def test_the_sample_is_tried_and_kept_as_a_draft(site: "Page", live_server: LiveServer) -> None:
    site.get_by_role("button", name="Try the sample").click()
    expect(site.get_by_role("heading", level=1)).to_have_text("Preview of sample-catalogue.csv")
    expect(site.get_by_role("heading", name="Options")).to_be_in_viewport()
    expect(site.get_by_role("button", name="Start")).to_be_in_viewport()
    site.goto(live_server.url)
    site.get_by_role("button", name="Discard sample-catalogue.csv").click()
    expect(site.get_by_role("status").first).to_have_text("The draft of sample-catalogue.csv was discarded.")


def test_a_preview_of_corrections_that_fails_says_so_and_keeps_its_form(site: "Page", ann: User) -> None:
    batch = ingest(submit(ann, make_csv((1, "Chair", URL))))
    settle(batch, {URL: "dns"})
    site.goto(f"{site.url.rstrip('/')}{batch.get_absolute_url()}failures/")
    form = site.locator("form", has=site.get_by_label("Corrected file"))
    file = {"name": "a.csv", "mimeType": "text/csv", "buffer": make_csv((1, "Chair", OTHER_URL))}
    form.get_by_label("Corrected file").set_input_files(file)  # type: ignore[arg-type]
    preview, problem = form.get_by_role("button", name="Preview changes"), form.locator("[role=alert]")
    site.route("**/corrections/", lambda route: route.fulfill(status=503))
    preview.click()
    expect(problem).to_have_text("The service does not answer at the moment. Try again in a minute.")
    expect(preview).to_be_enabled()
    site.unroute("**/corrections/")
    preview.click()
    expect(form.get_by_role("status")).to_contain_text("1 picture would be fetched from another URL.")
    expect(problem).to_be_hidden()
    expect(form.get_by_label("Corrected file")).to_have_value(re.compile(r"a\.csv$"))
