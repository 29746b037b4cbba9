"""Pictures in a browser: found among tiles, compared by a slider, and what pages add for the keyboard."""

from collections.abc import Callable
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from products.models import Request
from tests.support.factories import OTHER_URL, THIRD_URL, ingest, make_csv, settle, submit
from tests.support.origin import Origin
from tests.support.pictures import photo_jpeg

if TYPE_CHECKING:
    from playwright.sync_api import Page

#: Adds up what moves by itself from now on, as the browser measures it.
WATCH_SHIFTS = """() => {
    window.shifts = 0;
    new PerformanceObserver(list => list.getEntries().forEach(entry => { window.shifts += entry.value; }))
        .observe({type: "layout-shift"});
}"""


@pytest.fixture
def compared(ann: User, origin: Origin, settings: Settings) -> Callable[[], Request]:
    settings.FETCH_ALLOWED_NETWORKS = [ip_network("127.0.0.1")]
    url = origin.add("/a.jpg", photo_jpeg(600, 300))
    rows = ((1, "Chair", url), (2, "Lamp", OTHER_URL))
    outcomes: dict[str, bytes | str] = {url: photo_jpeg(600, 300, quality=40), OTHER_URL: "http_404"}

    def make() -> Request:
        batch = settle(ingest(submit(ann, make_csv(*rows))), outcomes)
        batch.images.filter(url=url).update(output_width=600, output_height=300)
        return batch

    return make


def test_a_picture_is_found_and_compared_by_keyboard(
    site: "Page", live_server: LiveServer, compared: Callable[[], Request], origin: Origin
) -> None:
    site.goto(f"{live_server.url}{compared().get_absolute_url()}")
    site.keyboard.press("2")
    expect(site.locator(".tile")).to_have_count(2)
    site.keyboard.press("/")
    expect(site.get_by_label("Search")).to_be_focused()
    site.keyboard.type("a.jpg")
    site.keyboard.press("Enter")
    expect(site.get_by_text("1 picture found")).to_be_visible()
    site.locator(".tile").press("Enter")
    before, after = (site.get_by_role("img", name=f"{name} picture") for name in ("Original", "Compressed"))
    for picture in (before, after):
        expect(picture).to_have_js_property("naturalWidth", 600)
    assert origin.count("/a.jpg") == 1
    assert before.bounding_box() == after.bounding_box()
    slider = site.get_by_role("slider", name="Share of the original that is shown")
    slider.press("End")
    expect(slider).to_have_attribute("aria-valuetext", "100 %")
    slider.press("ArrowLeft")
    expect(site.locator(".over")).to_have_css("clip-path", "inset(0px 1% 0px 0px)")
    site.get_by_role("button", name="1:1").press("Enter")
    expect(before).to_have_css("width", "600px")
    site.keyboard.press("j")
    expect(site.get_by_role("heading", name="Picture not found (404)")).to_be_visible()
    site.keyboard.press("k")
    expect(before).to_be_visible()


def test_shortcuts_are_listed_and_can_be_turned_off(site: "Page", live_server: LiveServer) -> None:
    site.goto(live_server.url)
    site.keyboard.press("?")
    dialog = site.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_be_visible()
    site.get_by_role("button", name="Turn shortcuts off").click()
    site.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    site.keyboard.press("r")
    site.keyboard.press("?")
    expect(dialog).to_be_visible()
    site.get_by_role("button", name="Turn shortcuts on").click()
    site.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()
    site.keyboard.press("r")
    expect(site.get_by_role("heading", level=1)).to_have_text("Requests")


def test_nothing_moves_and_the_focus_stays_while_a_request_makes_progress(
    site: "Page", live_server: LiveServer, ann: User
) -> None:
    rows = [(number, "Chair", f"{THIRD_URL}?{number}") for number in range(40)]
    batch = ingest(submit(ann, make_csv(*rows)))
    site.goto(f"{live_server.url}{batch.get_absolute_url()}")
    urls = list(batch.images.order_by("number").values_list("url", flat=True))
    settle(batch, {urls[0]: photo_jpeg()})
    expect(site.get_by_label("1 of 40 pictures done")).to_be_attached()
    site.get_by_role("link", name="Failures").focus()
    site.evaluate(WATCH_SHIFTS)
    for number in range(1, 21):
        settle(batch, {urls[number]: "http_404" if number % 3 == 0 else photo_jpeg()})
    expect(site.get_by_label("21 of 40 pictures done")).to_be_attached()
    expect(site.get_by_role("link", name="Failures 6")).to_be_focused()
    assert site.evaluate("shifts") == 0


def test_requests_are_ticked_and_deleted_after_a_confirmation(
    site: "Page", live_server: LiveServer, ann: User
) -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        submit(ann, make_csv((1, "Chair", OTHER_URL)), name)
    site.goto(f"{live_server.url}/requests/")
    site.get_by_label("Select all").check()
    site.get_by_label("Select b.csv").uncheck()
    site.get_by_role("button", name="Delete…").click()
    expect(site.get_by_role("heading", name="Delete 2 requests")).to_be_visible()
    site.get_by_role("button", name="Delete permanently").click()
    expect(site.get_by_role("status").first).to_have_text("2 requests deleted.")
    expect(site.get_by_role("rowheader")).to_have_text(["b.csv"])
