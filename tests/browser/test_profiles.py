"""Profiles and trials in a browser: made once, found by the columns of a file, tried before the run."""

from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.management import load_command_class
from playwright.sync_api import expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from processing.work.known_pictures import known_picture_ids
from products.accounts.authentication import local_user
from products.models import Profile, Request
from tests.browser.test_every_page import check
from tests.support.factories import URL, make_csv, submit
from tests.support.origin import Answer, Origin
from tests.support.pictures import photo_jpeg
from tests.support.watching import Watch, log_in

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

RENDITIONS = [{"name": "thumb", "width": 200}, {"name": "zoom", "width": 1600}]


def preview(page: "Page", address: str, data: bytes) -> None:
    """Upload a catalogue to its preview."""
    page.goto(address)
    file: Any = {"name": "catalogue.csv", "mimeType": "text/csv", "buffer": data}
    page.get_by_label("Catalogue", exact=True).set_input_files(file)
    page.get_by_role("button", name="Upload and preview").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Preview of catalogue.csv")


def rendition(page: "Page", number: int) -> "Locator":
    return page.get_by_role("group", name=f"Rendition {number}", exact=True)


def add_rendition(page: "Page", options: dict[str, Any]) -> None:
    """Add a row and fill in a name and a width."""
    page.get_by_role("button", name="Add a rendition").click()
    row = page.locator(".rendition:not(.empty-row)").last
    expect(row.get_by_label("Name")).to_be_focused()
    page.keyboard.type(options["name"])
    row.get_by_text("Exact size, fit and more").click()
    row.get_by_label("Width", exact=True).first.fill(str(options["width"]))


def extracted(path: Path, *arguments: str) -> Request:
    """Return the Request that `extract` submits."""
    path.write_bytes(make_csv())
    command: Any = load_command_class("processing", "extract")
    parsed = command.create_parser("manage.py", "extract").parse_args([str(path), *arguments])
    batch: Request = command._submit(vars(parsed))
    return batch


def outputs(batch: Request) -> dict[str, str]:
    """Return what decides the address of each output, by its name."""
    return {name: pk for pk, (_, names) in known_picture_ids(batch, [URL]).items() for name in names}


def test_a_profile_is_saved_found_by_its_columns_used_by_extract_and_changed(
    page: "Page", live_server: LiveServer, watch: Watch, tmp_path: Path, transactional_db: None
) -> None:
    log_in(page.context, local_user(), live_server.url)
    preview(page, live_server.url, make_csv())
    page.get_by_label("Quality").first.fill("70")
    page.get_by_text("More options").click()
    for options in RENDITIONS:
        add_rendition(page, options)
    expect(page.get_by_text("More options · 1 changed")).to_be_visible()
    page.get_by_text("Save as profile").click()
    page.get_by_label("Profile name").fill("Shop")
    page.get_by_role("button", name="Save profile").click()
    expect(page.get_by_text("Saved as the profile Shop.")).to_be_visible()
    expect(page.get_by_label("Quality").first).to_have_value("70")

    # Another day: the file has its columns in another order.
    other = make_csv((URL, 1, "Chair"), header=("Input Image Urls", "Serial Number", "Product Name"))
    preview(page, live_server.url, other)
    expect(page.get_by_text("This preview uses the profile Shop")).to_be_visible()
    page.get_by_role("link", name="Continue without it").click()
    expect(page.get_by_text("This preview uses the profile")).to_have_count(0)
    expect(page.get_by_label("Quality").first).to_have_value("50")
    page.get_by_label("Profile", exact=True).select_option("Shop")
    page.get_by_role("button", name="Update preview").click()
    expect(page.get_by_label("Quality").first).to_have_value("70")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("catalogue.csv")
    profile = Profile.objects.get()
    assert Request.objects.get().profile == profile
    first = extracted(tmp_path / "a.csv", "--profile", "Shop")
    assert (first.profile, first.quality) == (profile, 70)
    assert extracted(tmp_path / "b.csv").profile == profile

    page.goto(f"{live_server.url}{profile.get_absolute_url()}")
    rendition(page, 1).get_by_label("Width", exact=True).first.fill("300")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Profile saved.")).to_be_visible()
    before, after = outputs(first), outputs(extracted(tmp_path / "c.csv", "--profile", "Shop"))
    assert {name for name in before if before[name] != after[name]} == {"thumb"}
    assert {*before} == {"", "thumb", "zoom"}


@pytest.mark.usefixtures("watch")
def test_the_upload_form_shows_the_options_of_the_chosen_profile(
    site: "Page", live_server: LiveServer, ann: User
) -> None:
    options = {"quality": 70, "trim": True, "renditions": [{"name": "thumb", "width": 9}]}
    Profile.objects.create(owner=ann, name="Shop", options=options)
    site.goto(live_server.url)
    quality, trim = site.get_by_label("Quality").first, site.get_by_label("Trim borders")
    expect(trim).to_have_value("")
    site.get_by_label("Profile").select_option("Shop")
    expect(quality).to_have_value("70")
    expect(quality).to_be_visible()
    expect(trim).to_have_value("true")
    expect(site.get_by_text("More options · 2 changed")).to_be_visible()
    expect(trim).to_be_visible()
    expect(site.get_by_label("Strict")).to_have_value("false")
    expect(rendition(site, 1).get_by_label("Name")).to_have_value("thumb")
    expect(rendition(site, 1).get_by_label("Width", exact=True).first).to_have_value("9")
    check(site)
    site.get_by_label("Profile").select_option("None")
    expect(rendition(site, 1)).to_be_hidden()
    expect(quality).to_have_value("50")
    expect(trim).to_have_value("false")
    expect(site.get_by_text("More options", exact=True)).to_be_visible()
    site.get_by_label("Profile").select_option("By the columns of the file")
    expect(trim).to_have_value("")

    site.get_by_label("Profile").select_option("Shop")
    expect(trim).to_have_value("true")
    trim.select_option("No")
    quality.fill("50")
    file: Any = {"name": "catalogue.csv", "mimeType": "text/csv", "buffer": make_csv()}
    site.get_by_label("Catalogue", exact=True).set_input_files(file)
    site.get_by_role("button", name="Upload and start").click()
    expect(site.get_by_role("heading", level=1)).to_have_text("catalogue.csv")
    batch = Request.objects.get()
    assert (batch.quality, batch.trim, len(batch.renditions)) == (50, False, 1)


@pytest.mark.usefixtures("watch")
def test_the_upload_form_shows_the_options_of_a_ready_made_profile(
    site: "Page", live_server: LiveServer, ann: User
) -> None:
    submit(ann, quality=64, trim=True)
    site.goto(live_server.url)
    quality, trim = site.get_by_label("Quality").first, site.get_by_label("Trim borders")
    last_used = site.get_by_text("As in your last upload.")
    expect(last_used).to_be_visible()
    expect(trim).to_be_checked()
    site.get_by_label("Profile").select_option("Shopify")
    expect(quality).to_have_value("85")
    expect(site.get_by_label("Width", exact=True).first).to_have_value("2048")
    expect(site.get_by_label("Width", exact=True).first).to_be_visible()
    expect(trim).not_to_be_checked()
    expect(last_used).to_be_hidden()
    check(site)
    site.get_by_label("Profile").select_option("None")
    expect(quality).to_have_value("64")
    expect(trim).to_be_checked()
    expect(last_used).to_be_visible()
    site.get_by_label("Profile").select_option("Shopify")
    expect(quality).to_have_value("85")
    quality.fill("50")
    file: Any = {"name": "catalogue.csv", "mimeType": "text/csv", "buffer": make_csv()}
    site.get_by_label("Catalogue", exact=True).set_input_files(file)
    site.get_by_role("button", name="Upload and preview").click()
    expect(site.get_by_text("This preview uses the profile Shopify.")).to_be_visible()
    site.get_by_role("button", name="Start").click()
    expect(site.get_by_role("heading", level=1)).to_have_text("catalogue.csv")
    batch = Request.objects.get(filename="catalogue.csv", quality=50)
    assert (batch.width, batch.fit, batch.trim, batch.profile) == (2048, "pad", False, None)


def test_a_trial_is_compared_by_dragging_and_by_keyboard(
    site: "Page", live_server: LiveServer, ann: User, origin: Origin, settings: Settings
) -> None:
    settings.FETCH_ALLOWED_NETWORKS = [ip_network("127.0.0.1")]
    url = origin.add("/chair.jpg", Answer(photo_jpeg(600, 400)))
    preview(site, live_server.url, make_csv((1, "Chair", url)))
    site.get_by_role("button", name="Try some pictures").click()
    expect(site.get_by_role("heading", name="Trial")).to_be_focused()
    slider = site.get_by_role("slider", name="Share of the original that is shown")
    expect(slider).to_have_value("50")
    site.get_by_role("button", name="1:1").click()
    result = site.get_by_alt_text("Compressed picture")
    assert result.evaluate("image => [image.naturalWidth, image.clientWidth]") == [600, 600]
    slider.focus()
    site.keyboard.press("ArrowRight")
    expect(slider).to_have_value("51")
    stage = site.locator(".compare .stage")
    stage.scroll_into_view_if_needed()
    box, seen = site.locator(".compare .layers").bounding_box(), stage.bounding_box()
    assert box and seen
    middle = seen["y"] + seen["height"] / 2
    site.mouse.move(seen["x"] + seen["width"] / 2, middle)
    site.mouse.down()
    site.mouse.move(box["x"] + box["width"] / 4, middle)
    site.mouse.up()
    expect(slider).to_have_value("25")
    check(site)


def test_a_trial_is_shown_without_scripts(
    chromium: Any, live_server: LiveServer, ann: User, origin: Origin, settings: Settings
) -> None:
    settings.FETCH_ALLOWED_NETWORKS = [ip_network("127.0.0.1")]
    url = origin.add("/chair.jpg", Answer(photo_jpeg(60, 40)))
    with chromium.new_context(java_script_enabled=False) as context:
        log_in(context, ann, live_server.url)
        page = context.new_page()
        preview(page, live_server.url, make_csv((1, "Chair", url)))
        page.get_by_role("button", name="Try some pictures").click()
        expect(page.get_by_alt_text("Original picture")).to_be_visible()
        expect(page.get_by_alt_text("Compressed picture")).to_be_visible()


@pytest.mark.usefixtures("watch")
def test_a_ready_made_profile_is_copied_and_deleted(site: "Page", live_server: LiveServer, ann: User) -> None:
    site.goto(f"{live_server.url}/profiles/")
    site.get_by_role("button", name="Copy Amazon").click()
    expect(site.get_by_role("heading", level=1)).to_have_text("Amazon")
    site.get_by_label("Name", exact=True).first.fill("Marketplace")
    site.get_by_role("button", name="Save").click()
    expect(site.get_by_role("heading", level=1)).to_have_text("Marketplace")
    site.get_by_text("Actions", exact=True).click()
    site.get_by_text("Delete this profile").click()
    site.get_by_role("button", name="Delete permanently").click()
    expect(site.get_by_text("Marketplace deleted.")).to_be_visible()


@pytest.mark.usefixtures("watch")
def test_renditions_are_added_and_removed(site: "Page", live_server: LiveServer, ann: User) -> None:
    options = {"renditions": [{"name": "thumb", "max_width": 200}, {"name": "zoom", "background": None}]}
    profile = Profile.objects.create(owner=ann, name="Shop", options=options)
    site.goto(f"{live_server.url}{profile.get_absolute_url()}")
    rows = site.locator(".rendition:visible")
    expect(rows).to_have_count(2)
    expect(rows.nth(1).get_by_label("Background")).to_have_value("transparent")
    expect(site.get_by_text("More options · 1 changed")).to_be_visible()
    add = site.get_by_role("button", name="Add a rendition")
    rendition(site, 1).get_by_role("button", name="Remove").click()
    expect(add).to_be_focused()
    expect(rendition(site, 1).get_by_label("Name")).to_have_value("zoom")
    for number in range(2, 9):
        add.click()
        expect(rendition(site, number).get_by_label("Name")).to_be_focused()
        rendition(site, number).get_by_label("Name").fill(f"size-{number}")
    expect(add).to_be_disabled()
    rendition(site, 3).get_by_role("button", name="Remove").click()
    expect(add).to_be_enabled()
    site.get_by_role("button", name="Save").click()
    expect(site.get_by_text("Profile saved.")).to_be_visible()
    profile.refresh_from_db()
    names = ["zoom", "size-2", *(f"size-{number}" for number in range(4, 9))]
    assert [one["name"] for one in profile.options["renditions"]] == names
    assert profile.options["renditions"][0] == {"name": "zoom", "background": None}
    check(site)


def test_a_rendition_that_is_added_is_in_view(site: "Page", live_server: LiveServer, ann: User) -> None:
    site.goto(live_server.url)
    site.get_by_text("More options").click()
    for number in (1, 2):
        site.get_by_role("button", name="Add a rendition").click()
        expect(rendition(site, number).get_by_text("Exact size, fit and more")).to_be_in_viewport(ratio=1)


def test_renditions_are_added_without_scripts(chromium: Any, live_server: LiveServer, ann: User) -> None:
    profile = Profile.objects.create(owner=ann, name="Shop")
    with chromium.new_context(java_script_enabled=False) as context:
        log_in(context, ann, live_server.url)
        page = context.new_page()
        page.goto(f"{live_server.url}{profile.get_absolute_url()}")
        page.get_by_text("More options").click()
        expect(page.get_by_role("button", name="Add a rendition")).to_have_count(0)
        rendition(page, 1).get_by_label("Name").fill("thumb")
        rendition(page, 2).get_by_label("Name").fill("Zoom")
        rendition(page, 2).get_by_label("Maximum width").fill("1600")
        page.get_by_role("button", name="Save").click()
        expect(page.locator(".errorlist:visible")).to_have_text(
            ["Use 1 to 20 characters of a-z, 0-9, _ and -."]
        )
        expect(rendition(page, 2).get_by_label("Name")).to_be_focused()
        rendition(page, 2).get_by_label("Name").fill("zoom")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Profile saved.")).to_be_visible()
        expect(rendition(page, 4)).to_be_visible()  # two empty rows again
    profile.refresh_from_db()
    assert profile.options == {"renditions": [{"name": "thumb"}, {"name": "zoom", "max_width": 1600}]}
