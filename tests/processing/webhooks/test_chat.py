"""Messages of Slack, Teams and Discord: in the form that these take, unsigned, with what happened."""

import json
from typing import Any

import httpx
import jsonschema
import pytest
from django.contrib.auth.models import User
from django.test import Client

from processing.webhooks.chat import BODIES, message_of
from processing.webhooks.delivery_queue import drain
from processing.webhooks.events import send_test_event
from processing.webhooks.models import DeliveryStatus, Kind, WebhookDelivery, WebhookEndpoint
from products.feeds import runs
from products.feeds.models import FeedRunStatus
from products.models import Request
from tests.processing.webhooks.conftest import OK, NewEndpoint, reload
from tests.support.batches import WORKER
from tests.support.factories import client_of, make_user, three_outcomes
from tests.support.feeds import make_feed
from tests.support.origin import Origin

pytestmark = pytest.mark.django_db(transaction=True)

CHATS = ["slack", "teams", "discord"]
URI = {"type": "string", "pattern": "^https?://"}


def text(length: int) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": length}


def closed(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


#: What each service accepts of what is sent to it, with its limits.
SLACK = closed(
    ["text", "blocks"],
    text=text(40_000),
    unfurl_links={"type": "boolean"},
    blocks={
        "type": "array",
        "maxItems": 50,
        "items": closed(
            ["type", "text"],
            type={"const": "section"},
            text=closed(["type", "text"], type={"const": "mrkdwn"}, text=text(3000)),
        ),
    },
)
BLOCKS = {
    "anyOf": [
        closed(
            ["type", "text"],
            type={"const": "TextBlock"},
            text=text(5000),
            weight={"enum": ["Default", "Lighter", "Bolder"]},
            size={"enum": ["Default", "Small", "Medium", "Large", "ExtraLarge"]},
            wrap={"type": "boolean"},
        ),
        closed(
            ["type", "facts"],
            type={"const": "FactSet"},
            facts={
                "type": "array",
                "minItems": 1,
                "items": closed(["title", "value"], title=text(100), value=text(1000)),
            },
        ),
    ]
}
CARD = closed(
    ["type", "version", "body"],
    **{"$schema": URI, "type": {"const": "AdaptiveCard"}, "version": {"enum": ["1.2", "1.3", "1.4"]}},
    body={"type": "array", "minItems": 1, "items": BLOCKS},
    actions={
        "type": "array",
        "items": closed(["type", "title", "url"], type={"const": "Action.OpenUrl"}, title=text(100), url=URI),
    },
)
TEAMS = closed(
    ["type", "attachments"],
    type={"const": "message"},
    attachments={
        "type": "array",
        "minItems": 1,
        "maxItems": 1,
        "items": closed(
            ["contentType", "content"],
            contentType={"const": "application/vnd.microsoft.card.adaptive"},
            contentUrl={"type": "null"},
            content=CARD,
        ),
    },
)
DISCORD = closed(
    ["embeds"],
    embeds={
        "type": "array",
        "minItems": 1,
        "maxItems": 10,
        "items": closed(
            ["title"],
            title=text(256),
            description=text(4096),
            url=URI,
            fields={
                "type": "array",
                "maxItems": 25,
                "items": closed(
                    ["name", "value"], name=text(256), value=text(1024), inline={"type": "boolean"}
                ),
            },
        ),
    },
    allowed_mentions=closed(["parse"], parse={"type": "array", "maxItems": 0}),
)
SCHEMAS = {"slack": SLACK, "teams": TEAMS, "discord": DISCORD}


@pytest.fixture
def ann() -> User:
    return make_user()


def endpoint(owner: User, kind: str, *events: str) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(owner=owner, url="https://chat.example/x", kind=kind, events=events)


def body_of(kind: str) -> str:
    payload = WebhookDelivery.objects.get().payload
    jsonschema.validate(json.loads(payload), SCHEMAS[kind])
    return payload


@pytest.mark.parametrize("kind", CHATS)
def test_a_finished_request_is_a_sentence_with_counts_and_a_link(ann: User, kind: str) -> None:
    endpoint(ann, kind, "request.completed")
    three_outcomes(ann)
    body = body_of(kind)
    assert "has completed with errors" in body
    assert Request.objects.get().get_absolute_url() in body
    assert "Completed" in body and "Failed" in body


@pytest.mark.parametrize("kind", CHATS)
def test_a_failed_feed_is_a_sentence_with_the_reason(ann: User, kind: str) -> None:
    endpoint(ann, kind, "feed.failed")
    feed = make_feed(ann, name="Spring")
    run = runs.start(feed)
    assert run
    claimed = runs.claim(run.pk, WORKER, 1)
    assert claimed and runs.fail(claimed, "The host is gone.")
    body = body_of(kind)
    assert "Feed Spring could not be run" in body
    assert "The host is gone." in body and feed.get_absolute_url() in body
    run.refresh_from_db()
    assert run.status == FeedRunStatus.FAILED


@pytest.mark.parametrize("kind", CHATS)
def test_texts_of_users_are_cut_and_no_markup(kind: str) -> None:
    hostile = "<!channel> @everyone [x](https://evil.example) **x** " * 300
    data = {"name": hostile, "last_run": {"error": hostile}}
    body = BODIES[kind](message_of("feed.held", data, "https://images.example/feeds/1/"))
    jsonschema.validate(body, SCHEMAS[kind])
    assert "<!channel>" not in str(body)


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("kind", CHATS)
def test_a_message_to_a_chat_is_not_signed(
    origin: Origin, http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint, kind: str
) -> None:
    chat = endpoint_for(OK, kind=kind)
    delivery = send_test_event(chat)
    assert delivery
    drain(chat.pk, http)
    assert reload(delivery).status == DeliveryStatus.DELIVERED
    (received,) = origin.received
    assert not [name for name in received.headers if name.startswith("webhook-")]
    jsonschema.validate(json.loads(received.body), SCHEMAS[kind])


@pytest.mark.parametrize("kind", CHATS)
def test_an_endpoint_of_a_chat_has_no_secret(ann: User, kind: str) -> None:
    api = client_of(ann)
    answer = api.post("/api/webhooks/", {"url": "https://chat.example/x", "kind": kind}, "application/json")
    assert answer.status_code == 201
    made = answer.json()
    assert made["kind"] == kind and "secret" not in made
    rotated = api.post(f"/api/webhooks/{made['id']}/rotate/")
    assert "secret" not in rotated.json()


def test_an_endpoint_is_standard_unless_said_otherwise(ann: User) -> None:
    api = client_of(ann)
    made = api.post("/api/webhooks/", {"url": "https://shop.example/x"}, "application/json").json()
    assert made["kind"] == Kind.STANDARD and made["secret"].startswith("whsec_")
    wrong = api.post("/api/webhooks/", {"url": "https://a.example/", "kind": "irc"}, "application/json")
    assert wrong.status_code == 400


def test_the_page_of_a_chat_offers_no_secret(ann: User) -> None:
    page: Client = client_of(ann)
    form = {"url": "https://chat.example/x", "kind": "slack", "description": "", "events": ["feed.failed"]}
    answer = page.post("/webhooks/", form, follow=True)
    assert "Endpoint added." in answer.content.decode()
    assert "Rotate secret" not in answer.content.decode()
    assert WebhookEndpoint.objects.get().events == ["feed.failed"]
