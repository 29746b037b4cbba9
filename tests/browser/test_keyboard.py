"""The keyboard alone."""

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect
from pytest_django.live_server_helper import LiveServer

from processing.webhooks.models import WebhookEndpoint
from products.models import Request
from tests.support.factories import URL, make_csv, submit
from tests.support.watching import Watch

if TYPE_CHECKING:
    from playwright.sync_api import Page

GOOD = make_csv(("S1", "<script>alert(1)</script>", URL))
BAD = make_csv(("S1", "Chair", "nope"), ("S2", "Table"))


@pytest.fixture
def site(page: "Page", live_server: LiveServer, ann: User, watch: Watch) -> "Page":
    """The start page, after logging in by keyboard."""
    page.goto(live_server.url)
    page.get_by_label("Username").focus()
    page.keyboard.type("ann")
    page.keyboard.press("Tab")
    page.keyboard.type("a long password")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Upload a catalogue")).to_be_visible()
    return page


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
    tab_to(site, "Quality")
    site.keyboard.press("Control+A")
    site.keyboard.type("70")
    tab_to(site, "Upload and start")
    site.keyboard.press("Enter")
    expect(site.get_by_role("heading", level=1)).to_have_text("<script>alert(2).csv")
    expect(site.get_by_label("0 of 1 row read")).to_be_visible()
    assert Request.objects.get().quality == 70


def test_a_bad_file_is_answered_beside_the_field_with_the_places(site: "Page", watch: Watch) -> None:
    watch.expect("400 (Bad Request)")
    choose(site, "bad.csv", BAD)
    tab_to(site, "More options")
    site.keyboard.press("Enter")
    tab_to(site, "Strict")
    site.keyboard.press("Space")
    tab_to(site, "Upload and start")
    site.keyboard.press("Enter")
    field = site.get_by_label("Catalogue", exact=True)
    expect(field).to_have_accessible_description(
        "A CSV or Excel file with columns for serial number, product name and picture URLs, or a ZIP of it "
        "with its pictures. "
        "Line 2, column 3: nope: The URL does not start with http:// or https://. "
        "Line 3: The row has 2 cells, the header has 3."
    )
    expect(site.get_by_label("Strict")).to_be_checked()
    assert not Request.objects.exists()


def test_the_first_stop_leads_past_the_navigation(site: "Page") -> None:
    site.keyboard.press("Tab")
    expect(site.locator(":focus")).to_have_text("Skip to content")
    site.keyboard.press("Enter")
    expect(site.locator("main")).to_be_focused()


def test_a_preview_is_corrected_and_started(site: "Page") -> None:
    choose(site, "artikel.csv", make_csv(("S1", "Chair", URL), header=("Artikel", "Titel", "Fotos")))
    tab_to(site, "Upload and preview")
    site.keyboard.press("Enter")
    expect(site.get_by_role("heading", level=1)).to_have_text("Preview of artikel.csv")
    for label, first in (("Serial number", "a"), ("Product name", "t")):
        tab_to(site, label)
        site.keyboard.type(first)
    tab_to(site, "Fotos")  # found by its name, and ticked
    tab_to(site, "Start")
    site.keyboard.press("Enter")
    expect(site.get_by_role("heading", level=1)).to_have_text("artikel.csv")
    columns = {"serial": "Artikel", "name": "Titel", "images": ["Fotos"]}
    assert Request.objects.get().columns == columns


def test_arrow_keys_lead_through_a_menu_and_back_to_its_start(
    site: "Page", live_server: LiveServer, ann: User
) -> None:
    endpoint = WebhookEndpoint.objects.create(owner=ann, url="https://shop.example/hook")
    site.goto(live_server.url + endpoint.get_absolute_url())
    site.get_by_text("Actions", exact=True).focus()
    for key, name in (
        *(("ArrowDown", "Rotate secret"), ("ArrowDown", "Disable"), ("ArrowDown", "Delete this endpoint")),
        *(("ArrowDown", "Rotate secret"), ("ArrowUp", "Delete this endpoint")),
    ):
        site.keyboard.press(key)
        expect(site.locator(":focus")).to_contain_text(name)
    site.keyboard.press("Escape")
    expect(site.locator(":focus")).to_have_text("Actions")


def test_the_list_of_shortcuts_is_opened_from_the_foot_of_the_page(site: "Page") -> None:
    site.get_by_role("button", name="Keyboard shortcuts").click()
    expect(site.get_by_role("heading", name="Keyboard shortcuts")).to_be_visible()


def test_actions_on_requests_wait_until_one_is_ticked(
    site: "Page", live_server: LiveServer, ann: User
) -> None:
    submit(ann, GOOD)
    site.goto(f"{live_server.url}/requests/")
    buttons = [site.get_by_role("button", name=name) for name in ("Cancel", "Delete…")]
    for button in buttons:
        expect(button).to_be_disabled()
    site.get_by_label("Select all").check()
    for button in buttons:
        expect(button).to_be_enabled()
    site.get_by_label("Select all").uncheck()
    for button in buttons:
        expect(button).to_be_disabled()


def test_the_form_of_a_feed_shows_what_its_schedule_needs(site: "Page", live_server: LiveServer) -> None:
    site.goto(f"{live_server.url}/feeds/")
    shown = {"": (), "hourly": (), "daily": ("Time",), "weekly": ("Day", "Time"), "other": ("Cron fields",)}
    for every, labels in shown.items():
        site.get_by_label("Runs").select_option(every)
        for label in ("Day", "Time", "Cron fields"):
            expect(site.get_by_label(label, exact=True)).to_be_visible(visible=label in labels)
    expect(site.get_by_label("Delivery URL")).to_be_hidden()
    site.get_by_label("Deliver results").select_option("url")
    expect(site.get_by_label("Delivery URL")).to_be_visible()
