"""A source beside its output: fetched by us, once, and not before somebody asks for it."""

from collections.abc import Callable
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Locator, expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from products.models import Request
from tests.support.factories import JPEG, OTHER_URL, ingest, make_csv, settle, submit
from tests.support.origin import Origin
from tests.support.parallel import wait_until
from tests.support.pictures import photo_jpeg
from tests.support.watching import log_in

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SIZE = "image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"

#: Makes a Request with two pictures, of which the first, from the origin, is completed.
Compared = Callable[[], Request]


@pytest.fixture
def compared(ann: User, origin: Origin, settings: Settings) -> Compared:
    settings.FETCH_ALLOWED_NETWORKS = [ip_network("127.0.0.1")]
    url = origin.add("/a.jpg", photo_jpeg(600, 300))
    return lambda: settle(ingest(submit(ann, make_csv((1, "Chair", f"{url} {OTHER_URL}")))), {url: JPEG})


def source(page: "Page") -> Locator:
    return page.get_by_role("img", name="Original picture 1 of row 1")


def test_both_pictures_are_shown_side_by_side_and_the_source_is_asked_for_once(
    site: "Page", live_server: LiveServer, compared: Compared, origin: Origin
) -> None:
    address = f"{live_server.url}{compared().get_absolute_url()}products/"
    for fetched in range(2):
        site.goto(address)
        site.get_by_text("Compare").scroll_into_view_if_needed()
        site.wait_for_load_state("networkidle")
        expect(source(site)).to_be_hidden()
        assert len(origin.received) == fetched
        site.get_by_text("Compare").click()
        assert source(site).evaluate(SIZE) == [192, 96]
    assert len(origin.received) == 1
    before = source(site).bounding_box()
    after = site.get_by_role("img", name="Compressed picture 1 of row 1").bounding_box()
    assert before and after
    assert before["x"] + before["width"] < after["x"]
    assert (before["y"], before["width"], before["height"]) == (after["y"], after["width"], after["height"])


def test_a_source_that_is_gone_is_a_picture_that_says_so_and_nothing_to_complain_of(
    site: "Page", live_server: LiveServer, compared: Compared, origin: Origin
) -> None:
    origin.routes.clear()
    site.goto(f"{live_server.url}{compared().get_absolute_url()}products/")
    site.get_by_text("Compare").click()
    assert source(site).evaluate(SIZE) == [192, 192]
    assert origin.count("/a.jpg") == 1


def test_a_comparison_stays_open_while_the_work_goes_on_and_when_it_ends(
    site: "Page", live_server: LiveServer, compared: Compared
) -> None:
    batch = compared()
    site.goto(f"{live_server.url}{batch.get_absolute_url()}products/")
    site.get_by_text("Compare").click()
    expect(source(site)).to_be_visible()
    settle(batch, {OTHER_URL: JPEG})
    expect(site.get_by_text("Compare")).to_have_count(2)
    expect(source(site)).to_be_visible()
    expect(site.locator("details[open]")).to_have_count(1)


def test_without_scripts_too(
    chromium: "Browser", live_server: LiveServer, ann: User, compared: Compared, origin: Origin
) -> None:
    with chromium.new_context(java_script_enabled=False, base_url=live_server.url) as context:
        log_in(context, ann, live_server.url)
        page = context.new_page()
        page.goto(f"{compared().get_absolute_url()}products/")
        page.get_by_text("Compare").press("Enter")
        expect(source(page)).to_be_visible()
        wait_until(lambda: origin.count("/a.jpg") == 1)
