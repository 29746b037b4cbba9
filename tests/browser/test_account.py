"""Webhook endpoints and API tokens, made in a browser and used."""

from ipaddress import ip_network
from typing import TYPE_CHECKING

import httpx
from playwright.sync_api import expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from processing.webhooks.delivery_queue import drain
from processing.webhooks.models import WebhookEndpoint
from tests.support.clients import transport
from tests.support.origin import Answer, Origin
from tests.support.receivers import messages

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_an_endpoint_is_added_tested_and_seen_to_have_got_the_test(
    site: "Page", live_server: LiveServer, origin: Origin, settings: Settings
) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    site.goto(f"{live_server.url}/webhooks/")
    site.get_by_label("URL").fill(origin.add("/hook", Answer(b"thank you")))
    site.get_by_role("button", name="Add endpoint").click()
    secret = site.locator("code").inner_text()
    site.get_by_role("link", name="Continue to the endpoint").click()
    site.get_by_role("button", name="Send test event").click()
    row = site.get_by_role("table", name="Newest first").get_by_role("row", name="test")
    expect(row).to_contain_text("Pending")
    with transport("127.0.0.0/8") as guarded:
        drain(WebhookEndpoint.objects.get().pk, guarded)
    expect(row).to_contain_text("Delivered")
    (message,) = messages(origin, "/hook", secret)
    assert message["type"] == "test"
    row.get_by_role("link").click()
    expect(site.get_by_role("heading", name="· 200 ·")).to_be_visible()


def test_a_token_is_made_used_and_revoked(site: "Page", live_server: LiveServer) -> None:
    site.goto(f"{live_server.url}/account/")
    site.get_by_label("Name").fill("nightly import")
    site.get_by_role("button", name="Create token").click()
    key = site.get_by_role("status").locator("code").inner_text()
    headers, url = {"Authorization": f"Token {key}"}, f"{live_server.url}/api/requests/"
    assert httpx.get(url, headers=headers).status_code == 200
    site.goto(f"{live_server.url}/account/")
    expect(site.get_by_text(key)).to_have_count(0)
    site.get_by_role("button", name="Revoke").click()
    expect(site.get_by_role("status").first).to_contain_text(" revoked.")
    assert httpx.get(url, headers=headers).status_code == 401


def test_an_endpoint_that_was_disabled_is_announced_and_listed_in_the_account(
    site: "Page", live_server: LiveServer
) -> None:
    from django.contrib.auth.models import User

    endpoint = WebhookEndpoint.objects.create(owner=User.objects.get(), url="https://shop.example/hook")
    endpoint.disable("It responded with 410 Gone.")
    site.goto(f"{live_server.url}/account/")
    text = "is disabled and receives no events. It responded with 410 Gone."
    expect(site.get_by_text(text)).to_be_visible()
    expect(site.get_by_role("row", name="https://shop.example/hook")).to_contain_text("Disabled")
