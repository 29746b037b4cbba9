"""JavaScript switched off: every way through the pages is there, by forms and reloads."""

from collections.abc import Iterator
from threading import Event
from typing import TYPE_CHECKING

import httpx
import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from processing.work import host_warnings
from products.models import Request
from tests.support.factories import JPEG, OTHER_URL, URL, ingest, make_csv, settle
from tests.support.parallel import wait_until
from tests.support.watching import log_in

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def plain(chromium: "Browser", live_server: LiveServer, ann: User) -> Iterator["Page"]:
    """A page of a browser without scripts that Ann is logged in with."""
    with chromium.new_context(java_script_enabled=False, base_url=live_server.url) as context:
        log_in(context, ann, live_server.url)
        yield context.new_page()


def test_from_the_upload_to_the_retry(plain: "Page", monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Event()

    def look_up(host: str) -> str:
        answer.wait()
        return f"There is no host named {host}."

    monkeypatch.setattr("processing.work.host_warnings.looked_up_problem", look_up)
    data = make_csv((1, "Chair", URL), (2, "Table", OTHER_URL), header=("Artikel", "Titel", "Fotos"))
    plain.goto("/")
    file = {"name": "artikel.csv", "mimeType": "text/csv", "buffer": data}
    plain.get_by_label("Catalogue", exact=True).set_input_files(file)  # type: ignore[arg-type]
    plain.get_by_role("button", name="Upload and preview").click()
    expect(plain.get_by_role("rowheader", name="2")).to_be_visible()
    expect(plain.get_by_text("Checking whether the hosts exist.")).to_be_visible()
    # Playwright does not see what is in it.
    without_scripts = plain.locator("#host-warnings noscript").text_content()
    assert without_scripts == " Update the preview to see the result."
    plain.get_by_label("Serial number").select_option("Artikel")
    plain.get_by_label("Product name").select_option("Titel")
    plain.get_by_label("Fotos").check()
    answer.set()
    wait_until(lambda: not host_warnings.lookups._asked)
    plain.get_by_role("button", name="Update preview").click()
    expect(plain.get_by_role("rowheader", name="2")).to_be_visible()
    expect(plain.get_by_text("There is no host named")).to_have_count(1)
    plain.get_by_role("button", name="Start").click()
    batch = settle(ingest(Request.objects.get()), {URL: JPEG})
    plain.reload()
    expect(plain.get_by_label("1 of 2 pictures done")).to_be_attached()
    settle(batch, {OTHER_URL: "timeout"})
    plain.reload()
    plain.get_by_role("link", name="Pictures").click()
    plain.locator(".tile").first.click()
    expect(plain.get_by_role("img", name="Original picture")).to_be_visible()
    expect(plain.get_by_role("img", name="Compressed picture")).to_be_visible()
    plain.get_by_role("link", name="Failures").click()
    plain.get_by_role("button", name="Retry pictures from").click()
    expect(plain.get_by_role("status").first).to_have_text("Retry started.")
    plain.get_by_text("Actions", exact=True).click()
    plain.get_by_text("Cancel this run").click()
    plain.get_by_role("button", name="Yes, cancel it").click()
    expect(plain.get_by_role("status").first).to_contain_text("Request canceled.")
    plain.get_by_text("Download", exact=True).click()
    with plain.expect_download() as result:
        plain.get_by_role("link", name="Download results").click()
    assert result.value.path().read_text().splitlines()[1].endswith(",completed,")
    plain.get_by_text("Download", exact=True).click()
    plain.get_by_role("link", name="Pictures").click()
    plain.get_by_role("link", name="Rows").click()
    plain.get_by_label("Product", exact=True).fill("Table")
    plain.get_by_role("button", name="Search").click()
    expect(plain.locator(".products").get_by_role("rowheader")).to_have_text(["2"])
    plain.get_by_text("Actions", exact=True).click()
    plain.get_by_text("Delete this request").click()
    plain.get_by_role("button", name="Delete permanently").click()
    expect(plain.get_by_role("status").first).to_have_text("artikel.csv deleted.")


def test_an_endpoint_a_token_and_a_password(plain: "Page", live_server: LiveServer) -> None:
    plain.goto("/webhooks/")
    plain.get_by_label("URL").fill("https://shop.example/hook")
    plain.get_by_role("button", name="Add endpoint").click()
    plain.get_by_role("link", name="Continue to the endpoint").click()
    plain.get_by_role("button", name="Send test event").click()
    expect(plain.get_by_role("row", name="test")).to_contain_text("Pending")
    plain.goto("/account/")
    plain.get_by_role("button", name="Create token").click()
    headers = {"Authorization": f"Token {plain.get_by_role('status').locator('code').inner_text()}"}
    assert httpx.get(f"{live_server.url}/api/requests/", headers=headers).status_code == 200
    plain.get_by_role("link", name="Change password").click()
    plain.get_by_label("Old password").fill("a long password")
    for label in ("New password", "New password confirmation"):
        plain.get_by_label(label, exact=True).fill("another long password")
    plain.get_by_role("button", name="Change password").click()
    expect(plain.get_by_role("status").first).to_contain_text("Password changed.")


def test_a_file_over_the_limit_gets_a_page_of_its_own(plain: "Page", settings: Settings) -> None:
    settings.UPLOAD_MAX_BYTES = 100_000
    plain.goto("/")
    file = {"name": "huge.csv", "mimeType": "text/csv", "buffer": b"x" * 200_000}
    plain.get_by_label("Catalogue", exact=True).set_input_files(file)  # type: ignore[arg-type]
    plain.get_by_role("button", name="Upload and preview").click()
    expect(plain.get_by_role("heading", level=1)).to_have_text("File too large")
    expect(plain.get_by_text("larger than the limit of 100 KB")).to_be_visible()
