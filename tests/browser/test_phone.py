"""The whole way on a phone of 360 pixels: everything is within reach, nothing has to be scrolled sideways."""

import csv
import io
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect
from pytest_django.live_server_helper import LiveServer

from products.models import Request
from tests.support.factories import JPEG, OTHER_URL, THIRD_URL, URL, ingest, make_csv, settle
from tests.support.watching import Watch, log_in

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Download, Page

WIDTH = 360
ROWS = ((1, "Chair", URL), (2, "Table", OTHER_URL), (3, "Lamp", THIRD_URL))


@pytest.fixture
def phone(chromium: "Browser", live_server: LiveServer, ann: User) -> Iterator["Page"]:
    """A page of a phone that Ann is logged in with."""
    watch, size = Watch(live_server.url), {"width": WIDTH, "height": 740}
    with chromium.new_context(
        viewport=size,  # type: ignore[arg-type]  # TypedDicts of Playwright's own
        has_touch=True,
        is_mobile=True,
        base_url=live_server.url,
    ) as context:
        log_in(context, ann, live_server.url)
        page = context.new_page()
        watch.follow(page)
        yield page
        watch.check()


def press(page: "Page", name: str) -> None:
    """Tap a button that a thumb can reach: the page is no wider than the screen."""
    button = page.get_by_role("button", name=name).first
    expect(button).to_be_visible()
    expect(page.locator("html")).to_have_js_property("scrollWidth", WIDTH)
    button.tap()


def download(page: "Page", name: str) -> "Download":
    page.get_by_text("Download", exact=True).tap()
    with page.expect_download() as waited:
        page.get_by_role("link", name=name).tap()
    page.keyboard.press("Escape")
    return waited.value


def test_from_the_upload_to_the_result(phone: "Page") -> None:
    data = make_csv(*ROWS, header=("Artikel", "Titel", "Fotos"))
    phone.goto("/")
    file = {"name": "artikel.csv", "mimeType": "text/csv", "buffer": data}
    phone.get_by_label("Catalogue", exact=True).set_input_files(file)  # type: ignore[arg-type]
    press(phone, "Upload and preview")
    phone.get_by_label("Serial number").select_option("Artikel")
    phone.get_by_label("Product name").select_option("Titel")
    phone.get_by_label("Fotos").check()
    press(phone, "Update preview")
    expect(phone.get_by_role("rowheader", name="3")).to_be_visible()
    press(phone, "Start")
    expect(phone.get_by_label("0 of 3 rows read")).to_be_visible()
    batch = settle(ingest(Request.objects.get()), {URL: JPEG})
    expect(phone.get_by_label("1 of 3 pictures done")).to_be_attached()
    settle(batch, {OTHER_URL: "timeout", THIRD_URL: JPEG})
    phone.get_by_role("link", name="Download timed out").tap()
    expect(phone.get_by_role("heading", name="Download timed out · 1 picture")).to_be_visible()
    press(phone, "Retry pictures from")
    expect(phone.get_by_role("status").first).to_have_text("Retry started.")
    phone.get_by_text("Actions", exact=True).tap()
    phone.get_by_text("Cancel this run").tap()
    press(phone, "Yes, cancel it")
    expect(phone.get_by_role("status").first).to_contain_text("Request canceled.")
    rows = csv.DictReader(io.StringIO(download(phone, "Download results").path().read_text()))
    assert [row["Status"] for row in rows] == ["completed", "failed", "completed"]
    with zipfile.ZipFile(download(phone, "Download pictures (ZIP)").path()) as archive:
        assert archive.read("1-1.jpg") == JPEG


def test_an_endpoint_and_a_token(phone: "Page") -> None:
    phone.goto("/webhooks/")
    phone.get_by_label("URL").fill("https://shop.example/hook")
    press(phone, "Add endpoint")
    phone.get_by_role("link", name="Continue to the endpoint").tap()
    press(phone, "Send test event")
    expect(phone.get_by_role("rowheader", name="test")).to_be_visible()
    phone.goto("/account/")
    press(phone, "Create token")
    expect(phone.get_by_text("Copy your new token now.")).to_be_visible()
    press(phone, "Revoke")
    expect(phone.get_by_role("status").first).to_contain_text(" revoked.")
