"""What holds on every page: axe finds nothing, nothing is wider than a phone, titles say where one is."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from pytest_django.live_server_helper import LiveServer

from processing.models import WebhookEndpoint
from products.models import ApiToken, Draft, Request
from tests.browser.watching import Watch
from tests.factories import JPEG, OTHER_URL, THIRD_URL, URL, ingest, make_csv, settle, submit

if TYPE_CHECKING:
    from playwright.sync_api import Page

LONG = "a-name-that-goes-on-and-on-without-a-space" * 5
ROWS = (
    (1, "Chair", URL),
    (LONG, LONG, f"{OTHER_URL} https://shop.example/{LONG}.jpg"),
    (3, "Lamp", THIRD_URL),
)


def finished(owner: User) -> Request:
    outcomes = {URL: JPEG, OTHER_URL: "http_404", THIRD_URL: "timeout", LONG_URL: "dns"}
    batch = ingest(submit(owner, make_csv(*ROWS), f"{LONG}.csv"))
    return settle(batch, outcomes)


def at_work(owner: User) -> Request:
    return settle(ingest(submit(owner, make_csv(*ROWS))), {URL: JPEG, OTHER_URL: "dns"})


def draft(owner: User, header: tuple[str, ...]) -> str:
    data = ContentFile(make_csv(*ROWS, (4, "", "nope"), header=header), f"{LONG}.csv")
    return Draft.objects.keep(owner, data).get_absolute_url()


def endpoint(owner: User) -> WebhookEndpoint:
    url = f"https://shop.example/{LONG}"
    found = WebhookEndpoint.objects.create(owner=owner, url=url, disabled_reason="It is gone.", enabled=False)
    attempt = {"at": "2026-01-02T03:04:05+00:00", "status": 500, "ms": 7, "answer": LONG, "error": "http_500"}
    WebhookDelivery.objects.create(
        endpoint=found,
        event="test",
        payload="{}",
        attempts=[attempt],
        status="failed",
        request=finished(owner),
    )
    return found


def account(owner: User) -> str:
    ApiToken.objects.issue(owner, LONG[:100])
    endpoint(owner)
    return "/account/"


#: Each as the path of a page in a state, after making what it shows.
PAGES: dict[str, Callable[[User], str]] = {
    "start, nothing yet": lambda ann: "/",
    "start": lambda ann: (at_work(ann), finished(ann), "/")[-1],
    "requests, none": lambda ann: "/requests/",
    "requests": lambda ann: (at_work(ann), finished(ann), "/requests/")[-1],
    "preview": lambda ann: draft(ann, ("SKU", "Name", "Images")),
    "preview of unknown columns": lambda ann: draft(ann, ("A", "B", LONG)),
    "request, unread": lambda ann: submit(ann).get_absolute_url(),
    "request at work": lambda ann: at_work(ann).get_absolute_url(),
    "request finished": lambda ann: finished(ann).get_absolute_url(),
    "rows behind a failure": lambda ann: f"{finished(ann).get_absolute_url()}?code=dns&host=shop.example",
    "webhooks, none": lambda ann: "/webhooks/",
    "webhooks": lambda ann: (endpoint(ann), "/webhooks/")[-1],
    "endpoint": lambda ann: endpoint(ann).get_absolute_url(),
    "delivery": lambda ann: endpoint(ann).deliveries.get().get_absolute_url(),
    "request with deliveries": lambda ann: endpoint(ann).deliveries.get().request.get_absolute_url(),
    "account": account,
    "login": lambda ann: "/login/",
    "not found": lambda ann: "/nothing-here/",
}


@pytest.mark.parametrize("state", PAGES)
def test_a_page_is_accessible_in_light_and_dark_and_fits_a_phone(
    site: "Page", live_server: LiveServer, ann: User, watch: Watch, state: str
) -> None:
    watch.expect("404 (Not Found)")
    path = PAGES[state](ann)
    for scheme in ("light", "dark"):
        site.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        site.goto(f"{live_server.url}{path}")
        site.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
        violations = Axe().run(site).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in violations] == [], scheme
    site.set_viewport_size({"width": 360, "height": 740})
    assert site.evaluate("document.documentElement.scrollWidth") == 360
    assert site.title().endswith(" – Image Extractor")
    assert site.locator("h1").count() == 1
