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
    from playwright.sync_api import Page

RENDITIONS = '[{"name": "thumb", "width": 200}, {"name": "zoom", "width": 1600}]'


def preview(page: "Page", address: str, data: bytes) -> None:
    """Upload a catalogue to its preview."""
    page.goto(address)
    file: Any = {"name": "catalogue.csv", "mimeType": "text/csv", "buffer": data}
    page.get_by_label("Catalogue", exact=True).set_input_files(file)
    page.get_by_role("button", name="Upload and preview").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Preview of catalogue.csv")


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
    page.get_by_label("Quality").fill("70")
    page.get_by_text("More options").click()
    page.get_by_label("Renditions").fill(RENDITIONS)
    expect(page.get_by_text("More options · 1 changed")).to_be_visible()
    page.get_by_text("Save as profile").click()
    page.get_by_label("Profile name").fill("Shop")
    page.get_by_role("button", name="Save profile").click()
    expect(page.get_by_text("Saved as the profile Shop.")).to_be_visible()
    expect(page.get_by_label("Quality")).to_have_value("70")

    # Another day: the file has its columns in another order.
    other = make_csv((URL, 1, "Chair"), header=("Input Image Urls", "Serial Number", "Product Name"))
    preview(page, live_server.url, other)
    expect(page.get_by_text("This preview uses the profile Shop")).to_be_visible()
    page.get_by_role("link", name="Continue without it").click()
    expect(page.get_by_text("This preview uses the profile")).to_have_count(0)
    expect(page.get_by_label("Quality")).to_have_value("50")
    page.get_by_label("Profile", exact=True).select_option("Shop")
    page.get_by_role("button", name="Update preview").click()
    expect(page.get_by_label("Quality")).to_have_value("70")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("catalogue.csv")
    profile = Profile.objects.get()
    assert Request.objects.get().profile == profile
    first = extracted(tmp_path / "a.csv", "--profile", "Shop")
    assert (first.profile, first.quality) == (profile, 70)
    assert extracted(tmp_path / "b.csv").profile == profile

    page.goto(f"{live_server.url}{profile.get_absolute_url()}")
    page.get_by_label("Renditions").fill(RENDITIONS.replace("200", "300"))
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
    quality, trim = site.get_by_label("Quality"), site.get_by_label("Trim borders")
    expect(trim).to_have_value("")
    site.get_by_label("Profile").select_option("Shop")
    expect(quality).to_have_value("70")
    expect(quality).to_be_visible()
    expect(trim).to_have_value("true")
    expect(site.get_by_text("More options · 2 changed")).to_be_visible()
    expect(trim).to_be_visible()
    expect(site.get_by_label("Strict")).to_have_value("false")
    expect(site.get_by_label("Renditions")).to_have_value('[{"name":"thumb","width":9}]')
    check(site)
    site.get_by_label("Profile").select_option("None")
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
    quality, trim = site.get_by_label("Quality"), site.get_by_label("Trim borders")
    last_used = site.get_by_text("As in your last upload.")
    expect(last_used).to_be_visible()
    expect(trim).to_be_checked()
    site.get_by_label("Profile").select_option("Shopify")
    expect(quality).to_have_value("85")
    expect(site.get_by_label("Width", exact=True)).to_have_value("2048")
    expect(site.get_by_label("Width", exact=True)).to_be_visible()
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
    site.get_by_label("Name", exact=True).fill("Marketplace")
    site.get_by_role("button", name="Save").click()
    expect(site.get_by_role("heading", level=1)).to_have_text("Marketplace")
    site.get_by_text("Actions", exact=True).click()
    site.get_by_text("Delete this profile").click()
    site.get_by_role("button", name="Delete permanently").click()
    expect(site.get_by_text("Marketplace deleted.")).to_be_visible()
