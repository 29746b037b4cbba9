"""Browser notifications of the end of a request or of a feed's run, while its page is open."""

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect
from pytest_django.live_server_helper import LiveServer

from products.feeds import runs
from products.feeds.models import FeedRun
from tests.browser.test_every_page import check
from tests.support.factories import JPEG, URL, ingest, settle, submit
from tests.support.feeds import make_feed
from tests.support.parallel import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.usefixtures("watch")
#: In place of the browser's own, which a test could not see: what is asked and what is shown.
STAND_IN = """(permission) => {
    window.asked = 0;
    window.shown = [];
    window.Notification = class extends EventTarget {
        static permission = permission;
        static async requestPermission() {
            window.asked += 1;
            return Notification.permission = "granted";
        }
        constructor(title, options) {
            super();
            window.shown.push([title, options.body]);
        }
    };
}"""


def visit(page: "Page", address: str, permission: str = "default") -> None:
    page.add_init_script(f"({STAND_IN})({permission!r})")
    page.goto(address)


def shown(page: "Page", count: int) -> list[list[str]]:
    """Return the notifications once there are so many."""
    wait_until(lambda: page.evaluate("window.shown.length") >= count)
    found: list[list[str]] = page.evaluate("window.shown")
    return found


def test_the_end_of_a_request_is_notified_once_the_button_was_used(
    site: "Page", live_server: LiveServer, ann: User
) -> None:
    batch = ingest(submit(ann))
    visit(site, f"{live_server.url}{batch.get_absolute_url()}")
    button = site.get_by_role("button", name="Notify me at the end")
    expect(button).to_be_visible()
    assert site.evaluate("window.asked") == 0
    with site.expect_response(lambda answer: f"/api/requests/{batch.pk}/" in answer.url):
        button.click()
    expect(site.get_by_role("button", name="Turn notifications off")).to_be_visible()
    assert site.evaluate("window.asked") == 1
    settle(batch, {URL: JPEG})
    assert shown(site, 1) == [["catalogue.csv – completed", "1 picture completed, 0 failed"]]


def test_each_run_of_a_feed_is_notified_without_asking_again(
    site: "Page", live_server: LiveServer, ann: User
) -> None:
    feed = make_feed(ann)
    site.add_init_script("localStorage.setItem('notifications', '1')")
    with site.expect_response(lambda answer: f"/api/feeds/{feed.pk}/" in answer.url):
        visit(site, f"{live_server.url}{feed.get_absolute_url()}", "granted")
    for number in (1, 2):
        run = runs.start(feed)
        assert run
        FeedRun.objects.filter(pk=run.pk).update(status="failed", error=f"It failed ({number}).")
        assert shown(site, number)[-1] == ["Spring – failed", f"It failed ({number})."]
    assert site.evaluate("window.asked") == 0
    check(site)


def test_a_browser_that_blocks_them_says_so(site: "Page", live_server: LiveServer, ann: User) -> None:
    feed = make_feed(ann)
    assert runs.start(feed)
    visit(site, f"{live_server.url}{feed.get_absolute_url()}", "denied")
    site.get_by_text("Actions", exact=True).click()
    expect(site.get_by_role("button", name="Notifications are blocked by your browser")).to_be_disabled()
    assert site.evaluate("window.asked") == 0
