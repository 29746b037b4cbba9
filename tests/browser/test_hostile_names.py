"""Names that are scripts, in a real browser: on every page and in the admin they are text.

A script that ran would raise an alert or leave a mark. One that the policy stopped would be reported: no
success either, since nothing unescaped should be there to be stopped.
"""

from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from playwright.sync_api import expect
from pytest_django.live_server_helper import LiveServer

from products import lifecycle
from products.accounts.models import ApiToken
from products.models import Draft, Image, Product, Request
from tests.support.factories import HEADER, JPEG, OTHER_URL, ingest, make_csv, make_user, settle, submit
from tests.support.watching import Watch, log_in

if TYPE_CHECKING:
    from playwright.sync_api import Page

SCRIPTS = (
    "<script>mark()</script>",
    "<img src=x onerror=mark()>",
    "\"'><svg onload=mark()>",
    "</title></textarea><script>mark()</script>",
    "{{ mark }}<a href='javascript:mark()'>x</a>",
)
HOSTILE = "".join(SCRIPTS)
HOSTILE_NAME = HOSTILE.replace("/", "\N{FRACTION SLASH}") + "<script>mark()<script>.csv"
HOSTILE_URL = "https://shop.example/<script>mark()</script>\"'><img src=x onerror=mark()>.jpg"


@pytest.fixture
def boss(transactional_db: None) -> User:
    return make_user(HOSTILE[:150], is_staff=True, is_superuser=True)


@pytest.fixture
def batch(boss: User) -> Request:
    """A finished Request of which every text is hostile."""
    rows = ((HOSTILE, HOSTILE, f"{HOSTILE_URL} {OTHER_URL}"), (HOSTILE, HOSTILE, HOSTILE))
    batch = ingest(submit(boss, make_csv(*rows), HOSTILE_NAME))
    urls = [image.url for image in batch.images.pending().order_by("number")]
    settle(batch, {urls[0]: "<script>mark()"} | dict.fromkeys(urls[1:], JPEG))
    batch.images.update(error_detail=HOSTILE)
    Request.objects.update(error=HOSTILE, name=HOSTILE[:200], note=HOSTILE[:500])
    ApiToken.objects.issue(boss, HOSTILE[:100])
    hostile = make_csv((HOSTILE, HOSTILE, HOSTILE_URL), header=(*HEADER[:2], f"{HOSTILE}{HEADER[2]}"))
    lifecycle.keep_draft(boss, ContentFile(hostile, HOSTILE_NAME))
    batch.refresh_from_db()
    return batch


@pytest.fixture
def site(page: "Page", live_server: LiveServer, boss: User, watch: Watch) -> "Page":
    log_in(page.context, boss, live_server.url)
    return page


def test_the_browser_would_say_if_a_script_ran_or_was_stopped(
    page: "Page", live_server: LiveServer, watch: Watch
) -> None:
    page.goto(f"{live_server.url}/login/")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=mark()>')")
    page.wait_for_event("console")
    assert any("policy: script-src" in complaint for complaint in watch.complaints)
    page.evaluate("mark()")
    assert page.evaluate("marks") == ["a script ran"]
    watch.complaints.clear()


def test_a_hostile_file_is_uploaded_and_followed_as_text(site: "Page", live_server: LiveServer) -> None:
    site.goto(live_server.url)
    data = make_csv((HOSTILE, HOSTILE, HOSTILE_URL))
    site.get_by_label("Catalogue", exact=True).set_input_files(
        {"name": HOSTILE_NAME, "mimeType": "text/csv", "buffer": data}
    )
    site.get_by_role("button", name="Upload and start").click()
    expect(site.get_by_role("heading", level=1)).to_contain_text("<img src=x onerror=mark()>")
    batch = ingest(Request.objects.get())
    expect(site.get_by_label("0 of 1 picture done")).to_be_visible()
    settle(batch, {batch.images.get().url: "<script>mark()"})
    expect(site.get_by_role("heading", name="Failures")).to_be_visible()
    site.get_by_role("link", name="Pictures").click()
    site.get_by_role("link", name="Rows").click()
    expect(site.get_by_role("rowheader", name="<script>mark()</script>").first).to_be_visible()
    assert site.evaluate("marks") == []


def test_a_hostile_file_that_is_refused_is_answered_as_text(
    site: "Page", live_server: LiveServer, watch: Watch
) -> None:
    watch.expect("400 (Bad Request)")
    site.goto(live_server.url)
    data = make_csv((1, 2, 3), header=(HOSTILE, "B", "C"))
    site.get_by_label("Catalogue", exact=True).set_input_files(
        {"name": HOSTILE_NAME, "mimeType": "text/csv", "buffer": data}
    )
    site.get_by_role("button", name="Upload and start").click()
    expect(site.locator(".errorlist")).to_contain_text("<script>mark()</script>")
    assert site.evaluate("marks") == []


def addresses(batch: Request) -> list[str]:
    """Every page that shows something of the Request or its owner; a part of one is seen in the page."""
    rows = {
        "products/request": batch.pk,
        "products/image": Image.objects.failed().order_by("number")[0].pk,
        "products/product": Product.objects.order_by("row_number")[0].pk,
        "accounts/apitoken": ApiToken.objects.get().pk,
        "auth/user": batch.owner.pk,
    }
    draft = Draft.objects.get()
    lists = [f"/admin/{model}/" for model in rows]
    changes = [f"/admin/{model}/{pk}/{page}/" for model, pk in rows.items() for page in ("change", "history")]
    group = batch.images.failed().order_by("number").values("error_code", "host")[0]
    failures = f"{batch.get_absolute_url()}failures/"
    group_page = f"{failures}?{urlencode({'code': group['error_code'], 'host': group['host']})}"
    token = f"/admin/accounts/apitoken/{rows['accounts/apitoken']}/delete/"
    return [
        *(failures, group_page),
        *(
            f"{batch.get_absolute_url()}{tab}/"
            for tab in ("pictures", "products", "changes", "runs", "details")
        ),
        f"{batch.get_absolute_url()}pictures/{rows['products/image']}/",
        *("/", "/requests/", batch.get_absolute_url(), draft.get_absolute_url(), "/account/", "/admin/"),
        *(*lists, *changes, token, "/admin/accounts/apitoken/add/", "/admin/processing/worker/"),
    ]


def test_hostile_names_are_text_on_every_page(site: "Page", live_server: LiveServer, batch: Request) -> None:
    for path in addresses(batch):
        answer = site.goto(f"{live_server.url}{path}", wait_until="load")
        assert answer is not None
        assert answer.status == 200, path
        assert site.evaluate("marks") == [], path


def test_the_admins_confirmations_and_messages_are_text(
    site: "Page", live_server: LiveServer, batch: Request
) -> None:
    site.goto(f"{live_server.url}/admin/products/request/")
    site.locator("#result_list .action-select").first.check()
    site.get_by_label("Action:").select_option("retry")
    site.get_by_role("button", name="Go", exact=False).click()
    expect(site.locator(".messagelist")).to_contain_text("Retrying ")
    site.goto(f"{live_server.url}/admin/accounts/apitoken/")
    site.locator("#result_list .action-select").first.check()
    site.get_by_label("Action:").select_option("delete_selected")
    site.get_by_role("button", name="Go", exact=False).click()
    site.get_by_role("button", name="Yes").click()
    expect(site.locator(".messagelist")).to_contain_text("Successfully deleted 1 API token")
    assert site.evaluate("marks") == []


def test_what_is_handed_out_beside_pages_is_no_page(
    site: "Page", live_server: LiveServer, batch: Request
) -> None:
    for part in ("", "products/", "images/"):
        site.goto(f"{live_server.url}/api/requests/{batch.pk}/{part}")
        assert site.evaluate("document.contentType") == "application/json"
        assert site.evaluate("marks") == []


def test_the_documentation_works_under_the_policy(site: "Page", live_server: LiveServer) -> None:
    site.goto(f"{live_server.url}/api/docs/")
    site.get_by_role("link", name="/api/requests/{id}/results.csv").click()
    expect(
        site.get_by_role("heading", name="Download the catalogue with the output URLs")
    ).to_be_in_viewport()


def test_a_picture_that_is_opened_is_shown_under_its_policy(
    site: "Page", live_server: LiveServer, batch: Request
) -> None:
    path = Image.objects.exclude(output_key="")[0].output_path
    site.goto(f"{live_server.url}{path}")
    assert site.evaluate("document.images[0].naturalWidth") == 32
