"""Rules for every page: axe finds nothing, nothing is wider than a phone, the title names the page."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.utils import timezone
from playwright.sync_api import expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from processing.webhooks.models import WebhookEndpoint
from products import lifecycle
from products.accounts.first_account import make_first_account
from products.accounts.models import ApiToken
from products.feeds.deliveries import set_target
from products.feeds.models import Feed, FeedDelivery
from products.models import Profile, Request
from tests.support.factories import (
    JPEG,
    OTHER_JPEG,
    OTHER_URL,
    THIRD_URL,
    URL,
    ingest,
    make_csv,
    settle,
    submit,
)
from tests.support.feeds import completed, make_feed
from tests.support.watching import Watch

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.usefixtures("names")  # no resolver is asked for the sources that are compared

LONG = "a-name-that-goes-on-and-on-without-a-space" * 5
LONG_URL = f"https://shop.example/{LONG}.jpg"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
COLOURS = {
    "resultTypes": ["violations"],
    "runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]},
}
COLUMNS = ("SKU", "Name", "Images")
ROWS = ((1, "Chair", URL), (LONG, LONG, f"{OTHER_URL} {LONG_URL}"), (3, "Lamp", THIRD_URL))


def finished(owner: User) -> Request:
    outcomes: dict[str, bytes | str] = {
        URL: JPEG,
        OTHER_URL: "http_404",
        THIRD_URL: "timeout",
        LONG_URL: "dns",
    }
    batch = ingest(submit(owner, make_csv(*ROWS), f"{LONG}.csv"))
    return settle(batch, outcomes)


def retried(owner: User) -> Request:
    """A Request whose second run has completed one picture and failed at another."""
    batch = finished(owner)
    lifecycle.retry(batch)
    batch.refresh_from_db()
    return settle(batch, {OTHER_URL: JPEG, THIRD_URL: "timeout", LONG_URL: "dns"})


def at_work(owner: User) -> Request:
    return settle(ingest(submit(owner, make_csv(*ROWS))), {URL: JPEG, OTHER_URL: "dns"})


def waiting(owner: User) -> Request:
    """A request with a picture that was tried before."""
    batch = at_work(owner)
    tries = [{"at": "2026-01-02T03:04:05+00:00", "code": "timeout", "detail": LONG}]
    batch.images.update(tries=tries)
    return batch


def tab(batch: Request, name: str) -> str:
    return f"{batch.get_absolute_url()}{name}/"


def picture(batch: Request, url: str) -> str:
    return f"{tab(batch, 'pictures')}{batch.images.get(url=url).pk}/"


def draft(owner: User, header: tuple[str, ...]) -> str:
    data = ContentFile(make_csv(*ROWS, (4, "", "nope"), header=header), f"{LONG}.csv")
    return lifecycle.keep_draft(owner, data).get_absolute_url()


def endpoint(owner: User) -> WebhookEndpoint:
    url = f"https://shop.example/{LONG}"
    found = WebhookEndpoint.objects.create(owner=owner, url=url, disabled_reason="It is gone.", enabled=False)
    attempt = {"at": "2026-01-02T03:04:05+00:00", "status": 500, "ms": 7, "answer": LONG, "error": "http_500"}
    of_test = {"event": "test", "payload": "{}", "attempts": [attempt], "request": finished(owner)}
    found.deliveries.create(**of_test, status="failed", next_attempt_at=None)
    return found


def profile(owner: User) -> Profile:
    options = {"quality": 70, "base_url": LONG_URL, "columns": {"images": ["Images"]}, "trim": True}
    return Profile.objects.create(owner=owner, name=LONG[:100], options=options, header=[*COLUMNS])


def account(owner: User) -> str:
    ApiToken.objects.issue(owner, LONG[:100])
    endpoint(owner)
    return "/account/"


def feed(owner: User) -> str:
    """A feed with a history of runs, of which the last is held."""
    found = make_feed(owner, name=LONG[:200], url=f"https://shop.example/{LONG}", schedule="30 2 * * *")
    found.headers = {"Authorization": "Bearer x"}
    Feed.objects.filter(pk=found.pk).update(
        next_run_at=timezone.now(), encrypted_headers=found.encrypted_headers
    )
    completed(
        found, {URL: JPEG, OTHER_URL: "dns"}, make_csv((1, "Chair", f"{URL} {OTHER_URL}"), (2, "Table", URL))
    )
    completed(found, {URL: OTHER_JPEG})
    set_target(found, f"https://ann:secret@shop.example/{LONG}?key")
    FeedDelivery.objects.update(error=LONG, due_at=timezone.now())
    return found.get_absolute_url()


def setup(owner: User) -> str:
    owner.set_unusable_password()
    owner.save()
    path = make_first_account()
    assert path
    return path


#: Each as the path of a page in a state, after making what it shows.
PAGES: dict[str, Callable[[User], str]] = {
    "start, nothing yet": lambda ann: "/",
    "start": lambda ann: (at_work(ann), finished(ann), "/")[-1],
    "start with drafts": lambda ann: (draft(ann, COLUMNS), "/")[-1],
    "API": lambda ann: "/api/docs/",
    "calls of the API": lambda ann: "/api/docs/webhooks/",
    "a picture with attempts": lambda ann: picture(waiting(ann), OTHER_URL),
    "requests, none": lambda ann: "/requests/",
    "requests": lambda ann: (at_work(ann), finished(ann), "/requests/")[-1],
    "preview": lambda ann: draft(ann, ("SKU", "Name", "Images")),
    "preview of unknown columns": lambda ann: draft(ann, ("A", "B", LONG)),
    "request, unread": lambda ann: submit(ann).get_absolute_url(),
    "request at work": lambda ann: at_work(ann).get_absolute_url(),
    "request finished": lambda ann: finished(ann).get_absolute_url(),
    "rows behind a failure": lambda ann: f"{tab(finished(ann), 'products')}?code=dns&host=shop.example",
    "pictures": lambda ann: tab(finished(ann), "pictures"),
    "pictures, none found": lambda ann: f"{tab(finished(ann), 'pictures')}?q=nothing",
    "a picture": lambda ann: picture(finished(ann), URL),
    "a picture that failed": lambda ann: picture(finished(ann), LONG_URL),
    "changes between two runs": lambda ann: f"{tab(retried(ann), 'changes')}?run=2&against_run=1",
    "runs": lambda ann: tab(retried(ann), "runs"),
    "rename": lambda ann: tab(finished(ann), "details"),
    "run again": lambda ann: tab(finished(ann), "repeat"),
    "failures": lambda ann: f"{finished(ann).get_absolute_url()}failures/",
    "failures of a group": lambda ann: (
        f"{finished(ann).get_absolute_url()}failures/?code=dns&host=shop.example"
    ),
    "feeds, none": lambda ann: "/feeds/",
    "feeds": lambda ann: (feed(ann), "/feeds/")[-1],
    "feed, new": lambda ann: make_feed(ann).get_absolute_url(),
    "feed": feed,
    "changes of a feed": lambda ann: f"{feed(ann)}changes/",
    "webhooks, none": lambda ann: "/webhooks/",
    "webhooks": lambda ann: (endpoint(ann), "/webhooks/")[-1],
    "endpoint": lambda ann: endpoint(ann).get_absolute_url(),
    "delivery": lambda ann: endpoint(ann).deliveries.get(event="test").get_absolute_url(),
    "request with deliveries": lambda ann: (endpoint(ann), tab(Request.objects.get(), "deliveries"))[-1],
    "profiles, none": lambda ann: "/profiles/",
    "profiles": lambda ann: (profile(ann), "/profiles/")[-1],
    "profile": lambda ann: profile(ann).get_absolute_url(),
    "preview with a profile": lambda ann: (profile(ann), draft(ann, COLUMNS))[-1],
    "account": account,
    "password": lambda ann: "/account/password/",
    "login": lambda ann: "/login/?next=/",
    "setup": setup,
    "not found": lambda ann: "/nothing-here/",
}


def check(page: "Page") -> None:
    """The page as it is has no fault in light or dark and fits a phone."""
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        # What is not about colours is the same in both. The script is on the page since the first time.
        found = Axe().run(page) if scheme == "light" else Axe("null").run(page, options=COLOURS)
        violations = found.response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in violations] == [], scheme
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.title().endswith(" – Image Extractor")
    assert page.locator("h1").count() == 1


@pytest.mark.parametrize("state", PAGES)
def test_a_page_is_accessible_in_light_and_dark_and_fits_a_phone(
    site: "Page", live_server: LiveServer, ann: User, watch: Watch, state: str
) -> None:
    watch.expect("404 (Not Found)")
    site.goto(f"{live_server.url}{PAGES[state](ann)}")
    check(site)


# --- Pages that are no address but an answer ---


def test_so_is_the_answer_to_a_file_that_is_refused(
    site: "Page", live_server: LiveServer, watch: Watch
) -> None:
    watch.expect("400 (Bad Request)")
    site.goto(live_server.url)
    choose(site, b"nonsense")
    site.get_by_role("button", name="Upload and start").click()
    expect(site.locator(".errorlist")).to_be_visible()
    check(site)


def test_so_is_the_answer_to_a_file_that_is_too_large(
    site: "Page", live_server: LiveServer, watch: Watch, settings: Settings
) -> None:
    watch.expect("400 (Bad Request)")
    settings.UPLOAD_MAX_BYTES = 100_000
    site.goto(live_server.url)
    choose(site, b"x" * 200_000)
    site.locator("#upload").evaluate("form => form.submit()")  # past the scripts, which would not send it
    expect(site.get_by_role("heading", level=1)).to_have_text("File too large")
    check(site)


def test_so_are_new_secrets_and_tokens(site: "Page", live_server: LiveServer) -> None:
    site.goto(f"{live_server.url}/account/")
    site.get_by_role("button", name="Create token").click()
    expect(site.get_by_text("Copy your new token now.")).to_be_visible()
    check(site)
    site.goto(f"{live_server.url}/webhooks/")
    site.get_by_label("URL").fill(f"https://shop.example/{LONG}")
    site.get_by_role("button", name="Add endpoint").click()
    expect(site.get_by_role("heading", name="Copy it now")).to_be_visible()
    check(site)


def test_so_is_the_answer_to_a_form_of_another_site(
    site: "Page", live_server: LiveServer, watch: Watch
) -> None:
    watch.expect("403 (Forbidden)")
    site.goto(f"{live_server.url}/account/")
    site.context.clear_cookies(name="csrftoken")
    site.get_by_role("button", name="Create token").click()
    expect(site.get_by_role("heading", level=1)).to_have_text("Access denied")
    check(site)


def test_so_is_the_answer_to_who_is_not_allowed(
    page: "Page", live_server: LiveServer, watch: Watch, settings: Settings, transactional_db: None
) -> None:
    watch.expect("403 (Forbidden)")
    settings.OPEN_ACCESS = True
    page.set_extra_http_headers({"Via": "1.1 proxy"})
    page.goto(live_server.url)
    expect(page.get_by_role("heading", level=1)).to_have_text("Access denied")
    check(page)


def test_so_is_the_answer_when_something_goes_wrong(
    site: "Page", live_server: LiveServer, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.expect("500 (Internal Server Error)")
    monkeypatch.delattr("products.pages.home.UploadForm")
    site.goto(live_server.url)
    expect(site.get_by_role("heading", level=1)).to_have_text("Something went wrong")
    check(site)


def choose(page: "Page", data: bytes) -> None:
    file = {"name": "catalogue.csv", "mimeType": "text/csv", "buffer": data}
    page.get_by_label("Catalogue", exact=True).set_input_files(file)  # type: ignore[arg-type]
