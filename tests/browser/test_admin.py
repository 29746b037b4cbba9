"""Every list, page and action of the admin in a real browser, where every text of users is hostile.

As a superuser and as somebody who may only look.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.db.models import Model
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import expect
from pytest_django.live_server_helper import LiveServer

from processing.hosts.models import PausedHost
from processing.webhooks.models import WebhookDelivery, WebhookEndpoint
from processing.workers.models import Worker
from products import lifecycle
from products.accounts.models import ApiToken
from products.feeds.models import Feed, FeedRun
from products.models import Image, Product, Profile, Request
from tests.support.factories import JPEG, ingest, make_csv, make_user, settle, submit
from tests.support.watching import Watch, log_in

if TYPE_CHECKING:
    from playwright.sync_api import Page

SCRIPTS = "<script>mark()</script><img src=x onerror=mark()>\"'><svg onload=mark()>{{ mark }}"
NAME = SCRIPTS.replace("/", "\N{FRACTION SLASH}")
HOSTILE_URL = "https://shop.example/<script>mark()</script>\"'><img src=x onerror=mark()>.jpg"
GOOD_URL = "https://shop.example/lamp.jpg"
VIEWED = (
    *(Request, Product, Image, Profile, ApiToken, Worker, PausedHost, WebhookEndpoint, WebhookDelivery),
    *(Feed, FeedRun),
)


@dataclass
class Shop:
    """Something of everything, for the admin to show."""

    owner: User
    done: Request
    at_work: Request
    endpoint: WebhookEndpoint
    delivery: WebhookDelivery
    token: ApiToken
    worker: Worker
    paused: PausedHost
    profile: Profile
    feed: Feed
    run: FeedRun

    def rows(self) -> list[Model]:
        images = self.done.images.order_by("number")
        return [
            *(self.done, self.at_work, *images, self.done.products.order_by("row_number")[0]),
            *(self.endpoint, self.delivery, self.token, self.worker, self.paused),
            *(self.profile, self.feed, self.run),
        ]


@pytest.fixture
def shop(transactional_db: None) -> Shop:
    owner = make_user(SCRIPTS[:150])
    endpoint = WebhookEndpoint.objects.create(owner=owner, url=HOSTILE_URL, description=SCRIPTS)
    rows = ((SCRIPTS, SCRIPTS, f"{GOOD_URL} {HOSTILE_URL}"), ("S2", SCRIPTS, SCRIPTS), ("S3", "", GOOD_URL))
    done = ingest(submit(owner, make_csv(*rows), f"{NAME}.csv"))
    settle(done, {GOOD_URL: JPEG, HOSTILE_URL: "<script>mark()</script>"})
    Image.objects.failed().update(error_detail=SCRIPTS)
    Request.objects.filter(pk=done.pk).update(error=SCRIPTS, base_url=HOSTILE_URL, webhook_url=HOSTILE_URL)
    attempt = {"at": "2026-01-02T03:04:05+00:00", "status": 500, "ms": 7, "answer": SCRIPTS, "error": SCRIPTS}
    WebhookDelivery.objects.update(
        attempts=[attempt], payload=SCRIPTS, status="failed", next_attempt_at=None, failures=1
    )
    ApiToken.objects.issue(owner, SCRIPTS[:100])
    at_work = ingest(submit(owner, make_csv((1, "Vase", GOOD_URL)), "at-work.csv"))
    soon = timezone.now() + timedelta(hours=1)
    profile = Profile.objects.create(
        owner=owner, name=SCRIPTS[:100], options={"sheet": SCRIPTS}, webhook_url=HOSTILE_URL, header=[SCRIPTS]
    )
    feed = Feed.objects.create(owner=owner, name=SCRIPTS, url=HOSTILE_URL, profile=profile)
    return Shop(
        *(owner, done, at_work, endpoint, WebhookDelivery.objects.get(), ApiToken.objects.get()),
        Worker.objects.create(host=SCRIPTS),
        PausedHost.objects.create(host=SCRIPTS, until=soon, number=1, code="dns"),
        *(profile, feed, FeedRun.objects.create(feed=feed, error=SCRIPTS, finished_at=soon, status="failed")),
    )


@pytest.fixture
def boss(page: "Page", live_server: LiveServer, shop: Shop, watch: Watch) -> Iterator["Page"]:
    """A page that a superuser is logged in with; no script has run when it is closed."""
    log_in(page.context, make_user("boss", is_staff=True, is_superuser=True), live_server.url)
    yield page
    assert page.evaluate("marks") == []


@pytest.fixture
def viewer(page: "Page", live_server: LiveServer, shop: Shop, watch: Watch) -> Iterator["Page"]:
    """A page of somebody who has every right to view and no other."""
    user = make_user("viewer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    log_in(page.context, user, live_server.url)
    yield page
    assert page.evaluate("marks") == []


def list_of(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def page_of(row: Model) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[quote(row.pk)])


def visit(page: "Page", site: LiveServer, path: str) -> None:
    """Go there; it is found, and nothing hostile in it has run."""
    answer = page.goto(f"{site.url}{path}", wait_until="load")
    assert answer is not None and answer.status == 200, path
    assert page.evaluate("marks") == [], path


def visit_everything(page: "Page", site: LiveServer, shop: Shop) -> None:
    filters = {
        Request: ["?failures=yes", f"?owner={shop.owner.pk}", "?q=S2", "?status__exact=completed", "?o=-5.7"],
        Image: [
            f"?request__id__exact={shop.done.pk}",
            "?status__exact=failed&error_code=<script>mark()</script>",
            f"?q={HOSTILE_URL}",
        ],
        Product: [f"?q={SCRIPTS}"],
        WebhookDelivery: ["?status__exact=failed", f"?q={SCRIPTS}"],
    }
    today = timezone.now()
    visit(page, site, "/admin/")
    for app in ("products", "processing", "feeds", "auth"):
        visit(page, site, f"/admin/{app}/")
    for model in VIEWED:
        for query in ("", *filters.get(model, [])):
            visit(page, site, list_of(model) + query)
    for row in shop.rows():
        visit(page, site, page_of(row))
        visit(page, site, page_of(row).replace("/change/", "/history/"))
    visit(page, site, f"{list_of(Request)}?created_at__year={today.year}&created_at__month={today.month}")


def choose(page: "Page", action: str, *, rows: int) -> None:
    """Take an action on the first rows of a list."""
    for number in range(rows):
        page.locator("#result_list .action-select").nth(number).check()
    page.get_by_label("Action:").select_option(action)
    page.get_by_role("button", name="Go").click()


def said(page: "Page", text: str) -> None:
    expect(page.locator(".messagelist")).to_contain_text(text)


def test_a_superuser_finds_every_list_and_page(boss: "Page", live_server: LiveServer, shop: Shop) -> None:
    visit_everything(boss, live_server, shop)


def test_a_viewer_finds_every_list_and_page(viewer: "Page", live_server: LiveServer, shop: Shop) -> None:
    visit_everything(viewer, live_server, shop)


def test_a_viewer_is_offered_nothing_but_to_export(
    viewer: "Page", live_server: LiveServer, shop: Shop
) -> None:
    for model in VIEWED:
        visit(viewer, live_server, list_of(model))
        offered = viewer.locator("select[name=action] option:not([value=''])").all_inner_texts()
        assert offered == (["Download results"] if model is Request else []), model
        expect(viewer.locator(".object-tools .addlink")).to_have_count(0)
    for row in shop.rows():
        visit(viewer, live_server, page_of(row))
        offered = viewer.locator(".row-actions button, input[type=submit], .deletelink").all_inner_texts()
        assert offered == (["Download results"] if isinstance(row, Request) else []), row


def test_the_first_page_says_what_waits_and_what_has_come_of_images(
    boss: "Page", live_server: LiveServer, shop: Shop
) -> None:
    submit(shop.owner, name="waiting.csv")
    visit(boss, live_server, "/admin/")
    rows = {row.locator("th").inner_text(): row for row in boss.locator(".overview tbody tr:has(th)").all()}
    counts = {name: row.locator("td").first.inner_text() for name, row in rows.items()}
    assert counts["Requests waiting for a worker"] == "1"
    assert counts["Requests in progress, longest without progress"] == "1"
    assert counts["Unfinished pictures"] == "2"
    assert counts["Paused hosts"] == "1"
    assert counts["Completed"] == "1"
    assert counts["Failed"] == "2"
    cells = [row.locator("td").all_inner_texts() for row in rows.values()]
    causes = {texts[0]: texts[1] for texts in cells if len(texts) == 2}
    assert causes["<script>mark()</script>"] == causes["invalid_url"] == "1"
    boss.get_by_role("row").filter(has_text="invalid_url").get_by_role("link").click()
    expect(boss.locator("#result_list tbody tr")).to_have_count(1)


def test_a_request_leads_to_its_failures_by_cause(boss: "Page", live_server: LiveServer, shop: Shop) -> None:
    visit(boss, live_server, page_of(shop.done))
    expect(boss.locator(".legend li").first).to_have_text("1 completed")
    boss.get_by_role("link", name="invalid_url").click()
    expect(boss.locator("#result_list tbody tr")).to_have_count(1)
    boss.locator("#result_list .field-number a").click()
    boss.get_by_role("link", name="2: <script>").click()
    expect(boss.locator(".cells li").first).to_have_text("S2")


def test_pictures_are_shown_small(boss: "Page", live_server: LiveServer, shop: Shop) -> None:
    image = shop.done.images.get(url=GOOD_URL)
    product = shop.done.products.get(row_number=1)
    for path in (list_of(Image), page_of(image), page_of(product)):
        visit(boss, live_server, path)
        picture = boss.locator("img.thumbnail").first
        picture.scroll_into_view_if_needed()
        # Not wait_for_function: from its second look on it needs eval(), which the pages forbid.
        expect(picture).to_have_js_property("naturalWidth", 32)


def test_requests_are_acted_on_in_the_list(boss: "Page", live_server: LiveServer, shop: Shop) -> None:
    other = ingest(submit(shop.owner, name="other.csv"))
    path = list_of(Request)
    visit(boss, live_server, path)
    choose(boss, "cancel", rows=3)
    boss.get_by_role("button", name="Yes").click()
    said(boss, "Canceled 2 requests.")
    choose(boss, "resend", rows=3)
    said(boss, "Deliveries queued: 1.")
    choose(boss, "retry", rows=3)
    said(boss, "Retrying 3 images.")
    with boss.expect_download() as download:
        choose(boss, "export", rows=3)
    assert download.value.suggested_filename == "results.zip"
    other.refresh_from_db()
    lifecycle.cancel(other)
    visit(boss, live_server, path)
    choose(boss, "prune", rows=3)
    expect(boss.locator("#content li")).to_have_count(3)
    boss.get_by_role("link", name="No, take me back").click()
    assert Request.objects.count() == 3
    choose(boss, "prune", rows=3)
    boss.get_by_role("button", name="Yes").click()
    said(boss, "Deleted 1 request.")
    assert not Request.objects.filter(pk=other.pk).exists()


def test_a_request_is_acted_on_on_its_page(boss: "Page", live_server: LiveServer, shop: Shop) -> None:
    visit(boss, live_server, page_of(shop.done))
    with boss.expect_download() as download:
        boss.get_by_role("button", name="Download results").click()
    assert download.value.suggested_filename.endswith(".csv")
    boss.get_by_role("button", name="Redeliver webhooks").click()
    said(boss, "Deliveries queued: 1.")
    boss.get_by_role("button", name="Retry failed").click()
    said(boss, "Retrying 1 image.")
    boss.get_by_role("button", name="Cancel").click()
    boss.get_by_role("button", name="Yes").click()
    said(boss, "Canceled 1 request.")
    boss.get_by_role("link", name="History").click()
    expect(boss.locator("#change-history")).to_contain_text("Retried.")
    boss.go_back()
    boss.get_by_role("button", name="Delete").click()
    boss.get_by_role("button", name="Yes").click()
    said(boss, "Deleted 1 request.")
    assert not Request.objects.filter(pk=shop.done.pk).exists()


def test_an_endpoint_is_disabled_for_a_reason_and_enabled(
    boss: "Page", live_server: LiveServer, shop: Shop
) -> None:
    visit(boss, live_server, page_of(shop.endpoint))
    boss.get_by_role("button", name="Disable").click()
    boss.get_by_label("Reason").fill(SCRIPTS)
    boss.get_by_role("button", name="Yes").click()
    said(boss, "Endpoints disabled: 1.")
    expect(boss.locator(".field-disabled_reason .readonly")).to_have_text(SCRIPTS)
    boss.get_by_role("button", name="Enable").click()
    said(boss, "Endpoints enabled: 1.")
    visit(boss, live_server, list_of(WebhookEndpoint))
    choose(boss, "disable", rows=1)
    boss.get_by_role("button", name="Yes").click()
    said(boss, "Endpoints disabled: 1.")
    choose(boss, "enable", rows=1)
    said(boss, "Endpoints enabled: 1.")


def test_a_delivery_shows_its_attempts_and_goes_out_again(
    boss: "Page", live_server: LiveServer, shop: Shop
) -> None:
    visit(boss, live_server, page_of(shop.delivery))
    expect(boss.locator(".field-attempt_table td.long")).to_have_text(SCRIPTS)
    boss.get_by_role("button", name="Redeliver").click()
    said(boss, "Deliveries queued: 1.")
    visit(boss, live_server, list_of(WebhookDelivery))
    choose(boss, "redeliver", rows=1)
    said(boss, "Deliveries queued: 1.")


def test_a_token_is_issued_and_revoked(boss: "Page", live_server: LiveServer, shop: Shop) -> None:
    visit(boss, live_server, f"{list_of(ApiToken)}add/")
    boss.get_by_label("User").select_option(str(shop.owner.pk))
    boss.get_by_label("Name").fill(SCRIPTS[:100])
    boss.get_by_role("button", name="Save", exact=True).click()
    key = boss.locator("code").inner_text()
    token = ApiToken.objects.lookup(key)
    assert token is not None
    visit(boss, live_server, page_of(token))
    boss.get_by_role("link", name="Delete").click()
    boss.get_by_role("button", name="Yes").click()
    said(boss, "was deleted successfully")
    assert ApiToken.objects.lookup(key) is None
