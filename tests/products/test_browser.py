from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from products.models import Request
from tests.factories import URL, ingest, make_csv, make_user, settle, submit

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page
    from playwright.sync_api import Request as Sent

GOOD = make_csv(("S1", "<script>alert(1)</script>", URL))
BAD = make_csv(("S1", "Chair", "nope"), ("S2", "Table"))


@pytest.fixture(autouse=True)
def cheap_passwords(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def ann(transactional_db: None) -> User:
    return make_user(password="a long password")


@pytest.fixture
def site(page: "Page", live_server: LiveServer, ann: User) -> Iterator["Page"]:
    """The start page, after logging in by keyboard. At the end: it complained of nothing, and asked
    nobody else for anything."""
    complaints: list[str] = []
    hosts: set[str] = set()

    def listen(message: "ConsoleMessage") -> None:
        # Chromium reports every 4xx answer there, which is what a refused file gets.
        if message.type in {"error", "warning"} and "400 (Bad Request)" not in message.text:
            complaints.append(message.text)

    def note(sent: "Sent") -> None:
        hosts.add(urlsplit(sent.url).netloc)

    page.on("console", listen)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on("request", note)
    page.goto(live_server.url)
    page.get_by_label("Username").focus()
    page.keyboard.type("ann")
    page.keyboard.press("Tab")
    page.keyboard.type("a long password")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Upload a catalogue")).to_be_visible()
    yield page
    assert complaints == []
    assert hosts == {urlsplit(live_server.url).netloc}


def tab_to(page: "Page", name: str) -> None:
    """Press Tab until the control with this text or label has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        label = focused.evaluate("e => (e.labels && e.labels.length ? e.labels[0] : e).textContent.trim()")
        if label.removesuffix(":") == name:
            return
    pytest.fail(f"no control {name!r} can be reached by Tab")


def choose(page: "Page", name: str, data: bytes) -> None:
    """Go to the file input and choose a file there."""
    tab_to(page, "Catalogue")
    page.locator(":focus").set_input_files({"name": name, "mimeType": "text/csv", "buffer": data})


def test_a_catalogue_is_uploaded_by_keyboard_and_its_progress_seen(site: "Page") -> None:
    choose(site, "<script>alert(2).csv", GOOD)
    tab_to(site, "Options")
    site.keyboard.press("Enter")
    tab_to(site, "Quality")
    site.keyboard.press("Control+A")
    site.keyboard.type("70")
    tab_to(site, "Upload")
    site.keyboard.press("Enter")
    expect(site.get_by_role("heading", level=1)).to_have_text("<script>alert(2).csv")
    expect(site.get_by_label("Reading the file: 0 of 1 rows")).to_be_visible()
    assert Request.objects.get().quality == 70


def test_a_bad_file_is_answered_beside_the_field_with_the_places(site: "Page") -> None:
    choose(site, "bad.csv", BAD)
    tab_to(site, "Options")
    site.keyboard.press("Enter")
    tab_to(site, "Strict")
    site.keyboard.press("Space")
    tab_to(site, "Upload")
    site.keyboard.press("Enter")
    field = site.get_by_label("Catalogue")
    expect(field).to_have_accessible_description(
        "A CSV or Excel file with columns for serial number, product name and picture URLs. "
        "Line 2, column 3: nope: The URL does not start with http:// or https://. "
        "Line 3: The row has 2 cells, the header has 3."
    )
    expect(site.get_by_label("Strict")).to_be_checked()
    assert not Request.objects.exists()


def finish(batch: Request) -> None:
    """What a worker does, in one go."""
    batch.refresh_from_db()
    settle(ingest(batch), {URL: b"a picture"})


def test_an_open_page_follows_the_work_to_its_end(site: "Page", live_server: LiveServer, ann: User) -> None:
    batch = submit(ann, GOOD)
    site.goto(f"{live_server.url}{batch.get_absolute_url()}")
    expect(site.get_by_role("button", name="Cancel")).to_be_visible()
    finish(batch)
    expect(site).to_have_title("catalogue.csv: Completed – Image Extractor")
    expect(site.get_by_role("button", name="Cancel")).to_have_count(0)
    expect(site.get_by_role("link", name="Pictures (ZIP)")).to_be_visible()
    expect(site.get_by_role("cell", name="<script>alert(1)</script>")).to_be_visible()


def test_a_request_is_deleted_after_a_confirmation(site: "Page", live_server: LiveServer, ann: User) -> None:
    site.goto(f"{live_server.url}{submit(ann, GOOD).get_absolute_url()}")
    confirm = site.get_by_role("button", name="Yes, delete it")
    expect(confirm).to_be_hidden()
    site.get_by_text("Delete this request").click()
    confirm.click()
    expect(site.get_by_role("status")).to_have_text("catalogue.csv is deleted.")
    assert not Request.objects.exists()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_a_narrow_screen(
    site: "Page", live_server: LiveServer, ann: User, scheme: str
) -> None:
    batch = submit(ann, GOOD)
    Request.objects.update(filename="a-file-name-that-goes-on-and-on-without-a-space" * 5 + ".csv")
    finish(batch)
    site.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    site.set_viewport_size({"width": 360, "height": 740})
    for path in ("/", batch.get_absolute_url(), "/login/"):
        site.goto(f"{live_server.url}{path}")
        assert site.evaluate("document.documentElement.scrollWidth") == 360
