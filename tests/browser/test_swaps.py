"""Parts of pages that are replaced: the focus stays, and the answer of a proxy replaces nothing."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect
from pytest_django.live_server_helper import LiveServer

from processing.webhooks.models import WebhookEndpoint
from products import lifecycle
from products.feeds import runs
from products.feeds.models import Feed
from products.models import Request
from tests.browser.test_every_page import (
    COLUMNS,
    LONG_URL,
    at_work,
    draft,
    feed,
    finished,
    picture,
    tab,
    waiting,
)
from tests.support.factories import THIRD_URL, URL, make_csv, settle
from tests.support.parallel import wait_until
from tests.support.watching import Watch

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.usefixtures("names")

#: Answers the poll of the page once for each element that can have the focus, which has it meanwhile. Returns
#: how many had it, and those of them that had lost it after the swap.
POLL_WITH_EACH_FOCUSED = """async () => {
    const focusable = () => [...document.querySelectorAll(
        "#main :is(a[href], button:enabled, input, select, textarea, summary, [tabindex])"
    )].filter(one => one.checkVisibility() && one.id !== "main");
    const show = one => `${one.id} ${one.outerHTML.slice(0, 300)}`;
    const open = () => document.querySelectorAll("#main details").forEach(one => { one.open = true; });
    const lost = [], counted = new Set();
    open();
    for (let index = 0; index < focusable().length; index += 1) {
        const one = focusable()[index], before = show(one);
        one.focus();
        if (document.activeElement !== one) continue;
        const part = document.querySelector("[hx-trigger^=every]");
        const settled = new Promise(
            done => document.addEventListener("htmx:afterSettle", done, {once: true})
        );
        await htmx.ajax("GET", part.getAttribute("hx-get").replace(/seen=[^&]*/, "seen="), {source: part});
        await settled;
        await new Promise(done => setTimeout(done));
        if (show(document.activeElement) !== before) lost.push(before);
        counted.add(before);
        open();
    }
    return [counted.size, lost];
}"""


def retrying(owner: User) -> Request:
    """A Request at work again, with failures."""
    batch = finished(owner)
    lifecycle.retry(batch, [("dns", "")])
    batch.refresh_from_db()
    return batch


def feed_at_work(owner: User) -> str:
    path = feed(owner)
    found = Feed.objects.get()
    found.runs.update(status="completed")
    assert runs.start(found)
    return path


def endpoint(owner: User) -> str:
    found = WebhookEndpoint.objects.create(owner=owner, url="https://shop.example/hook")
    found.deliveries.create(event="test", payload="{}")
    return found.get_absolute_url()


def shared(owner: User) -> str:
    batch = at_work(owner)
    batch.share()
    return urlsplit(batch.share_url).path


#: Pages that poll, as in test_every_page.
POLLING: dict[str, Callable[[User], str]] = {
    "start": lambda ann: (at_work(ann), "/")[-1],
    "requests": lambda ann: (at_work(ann), "/requests/")[-1],
    "overview": lambda ann: retrying(ann).get_absolute_url(),
    "pictures": lambda ann: tab(at_work(ann), "pictures"),
    "pictures, none found": lambda ann: f"{tab(at_work(ann), 'pictures')}?q=nothing",
    "rows": lambda ann: tab(at_work(ann), "products"),
    "failures": lambda ann: tab(retrying(ann), "failures"),
    "failures of a group": lambda ann: f"{tab(retrying(ann), 'failures')}?code=http_404&host=cdn.example",
    "changes": lambda ann: tab(retrying(ann), "changes"),
    "runs": lambda ann: tab(retrying(ann), "runs"),
    "deliveries": lambda ann: tab(at_work(ann), "deliveries"),
    "a picture that waits": lambda ann: picture(waiting(ann), THIRD_URL),
    "a picture that is done": lambda ann: picture(at_work(ann), URL),
    "shared": shared,
    "feed": feed,
    "feed at work": feed_at_work,
    "endpoint": endpoint,
}


@pytest.mark.parametrize("state", POLLING)
def test_the_focus_survives_every_poll(
    site: "Page", live_server: LiveServer, ann: User, watch: Watch, state: str
) -> None:
    watch.expect("404 (Not Found)")
    site.goto(f"{live_server.url}{POLLING[state](ann)}")
    count, lost = site.evaluate(POLL_WITH_EACH_FOCUSED)
    assert count
    assert lost == []


@pytest.mark.parametrize("name", ["Download", "Actions"])
def test_the_focus_survives_the_end_of_a_run(
    site: "Page", live_server: LiveServer, ann: User, name: str
) -> None:
    """The last poll replaces the menus."""
    batch = at_work(ann)
    site.goto(f"{live_server.url}{batch.get_absolute_url()}")
    site.evaluate("document.querySelector('#menus').isOld = true")
    menu = site.locator("#menus summary", has_text=name).first
    menu.focus()
    settle(batch, {THIRD_URL: "dns", LONG_URL: "dns"})
    expect(site.locator("#progress .status")).to_have_text("Completed with errors")
    wait_until(lambda: not site.evaluate("document.querySelector('#menus').isOld"))
    expect(menu).to_be_focused()


def test_the_button_of_a_form_keeps_the_focus(
    site: "Page", live_server: LiveServer, ann: User, watch: Watch
) -> None:
    watch.expect("400 (Bad Request)")
    site.goto(f"{live_server.url}{draft(ann, COLUMNS)}")
    site.get_by_text("Save as profile").click()
    save = site.get_by_role("button", name="Save profile")
    save.click()
    expect(site.locator("#id_profile_name_error")).to_be_visible()
    expect(save).to_be_focused()


TOO_LARGE = (
    "The file is too large for a proxy in front of this service. "
    "Use a smaller file, or ask your administrator."
)
NO_ANSWER = "The service does not answer at the moment. Try again in a minute."
PROXY = "A proxy answered instead of this service. Reload the page, or try again in a minute."
#: Answers of proxies, and the sentence for each. The last one is a page for logging in to the proxy.
OTHERS = [(413, TOO_LARGE), (502, NO_ANSWER), (504, NO_ANSWER), (400, PROXY), (200, PROXY)]
EXPECTED = [f"{status}" for status, _ in OTHERS]
FILE: Any = {"name": "catalogue.csv", "mimeType": "text/csv", "buffer": make_csv()}


def answer_as_proxy(page: "Page", address: str, status: int) -> None:
    """Let a proxy answer what the page sends to an address."""
    text = f"<html><body id='main'><center><h1>{status}</h1></center><hr>nginx</body></html>"

    def answer(route: Any) -> None:
        if route.request.method == "POST":
            route.fulfill(status=status, content_type="text/html", body=text)
        else:
            route.continue_()

    page.unroute_all()
    page.route(address, answer)


def test_the_form_of_corrections_stays_as_it_was_where_a_proxy_answers(
    site: "Page", live_server: LiveServer, ann: User, watch: Watch
) -> None:
    watch.expect(*EXPECTED)
    batch = finished(ann)
    site.goto(f"{live_server.url}{tab(batch, 'failures')}")
    file = site.get_by_label("Corrected file")
    file.set_input_files(FILE)
    site.get_by_label("Find", exact=True).fill("old.example")
    form = site.locator("form", has=file)
    preview = form.get_by_role("button", name="Preview changes")
    for status, sentence in OTHERS:
        answer_as_proxy(site, "**/corrections/", status)
        preview.click()
        expect(form.get_by_role("alert")).to_have_text(sentence)
        expect(preview).to_be_focused()
        assert file.evaluate("input => input.files[0].name") == "catalogue.csv"
        expect(site.get_by_label("Find", exact=True)).to_have_value("old.example")
    site.unroute_all()
    preview.click()
    expect(form.get_by_role("status")).to_be_visible()
    expect(form.get_by_role("alert")).to_be_hidden()


def test_a_preview_and_an_upload_stay_as_they_were_where_a_proxy_answers(
    site: "Page", live_server: LiveServer, watch: Watch
) -> None:
    watch.expect(*EXPECTED)
    site.goto(live_server.url)
    file = site.get_by_label("Catalogue", exact=True)
    file.set_input_files(FILE)
    quality = site.get_by_label("Quality").first
    quality.fill("71")
    for status, sentence in OTHERS:
        answer_as_proxy(site, f"{live_server.url}/", status)
        site.get_by_role("button", name="Upload and preview").click()
        expect(site.get_by_role("alert")).to_have_text(sentence)
        assert file.evaluate("input => input.files[0].name") == "catalogue.csv"
        expect(quality).to_have_value("71")
    site.unroute_all()
    site.get_by_role("button", name="Upload and preview").click()
    expect(site.get_by_role("heading", level=1)).to_have_text("Preview of catalogue.csv")
    quality.fill("72")
    update = site.get_by_role("button", name="Update preview")
    for status, sentence in OTHERS:
        answer_as_proxy(site, "**/drafts/*/", status)
        update.click()
        expect(site.get_by_role("alert")).to_have_text(sentence)
        expect(quality).to_have_value("72")
        expect(update).to_be_focused()


def test_a_page_that_polls_stays_as_it_was_where_a_proxy_answers(
    site: "Page", live_server: LiveServer, ann: User, watch: Watch
) -> None:
    watch.expect(*EXPECTED)
    batch = at_work(ann)
    asked: list[int] = []

    def answer(route: Any) -> None:
        asked.append(OTHERS[len(asked) % len(OTHERS)][0])
        route.fulfill(status=asked[-1], content_type="text/html", body="<h1>Log in</h1>")

    site.route("**/progress/*", answer)
    with site.expect_response(lambda _: len(asked) == len(OTHERS), timeout=60_000):
        site.goto(f"{live_server.url}{batch.get_absolute_url()}")
    expect(site.locator("#progress .facts")).to_be_visible()
    expect(site.get_by_text("Log in")).to_have_count(0)
