"""Every snippet of docs/webhooks.md, executed."""

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from processing.webhooks.models import WebhookDelivery, WebhookEndpoint
from processing.webhooks.signing import new_secret, signed_headers
from products.accounts.models import ApiToken
from tests.support.batches import ingested, make_urls, settle
from tests.support.factories import ingest, make_csv, submit
from tests.support.receivers import signed

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "webhooks.md").read_text(encoding="utf-8")
SECRET = new_secret()
BODY = '{"type": "test", "data": {"name": "Möbel"}}'.encode()


def snippets(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def run(script: str, directory: Path, **environment: str) -> str:
    """Return the output of a shell snippet, all of whose commands must succeed."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=directory,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def answers(printed: str) -> list[dict[str, Any]]:
    """The JSON answers, which curl prints without anything between them."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(printed.rstrip()):
        answer, at = decoder.raw_decode(printed, at)
        found.append(answer)
    return found


@pytest.fixture
def ann(transactional_db: None) -> User:
    return User.objects.create_user("ann")


@pytest.fixture
def service(live_server: LiveServer, ann: User) -> dict[str, str]:
    return {"SERVICE": live_server.url, "TOKEN": ApiToken.objects.issue(ann)}


def test_there_are_no_other_snippets_than_those_that_are_executed_here() -> None:
    assert [len(snippets(language)) for language in ("sh", "python", "json")] == [5, 2, 1]
    assert TEXT.count("```") == 2 * 8


def test_registering_answers_the_endpoint_with_its_secret(service: dict[str, str], tmp_path: Path) -> None:
    (answer,) = answers(run(snippets("sh")[0], tmp_path, **service))
    endpoint = WebhookEndpoint.objects.get()
    assert (answer["id"], answer["secret"]) == (str(endpoint.pk), endpoint.secret)


def test_an_upload_names_an_endpoint_of_its_own(service: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "catalogue.csv").write_bytes(make_csv())
    (answer,) = answers(run(snippets("sh")[1], tmp_path, **service))
    endpoint = WebhookEndpoint.objects.get()
    assert answer["webhook_secret"] == endpoint.secret
    assert endpoint.url == "https://shop.example/once"


def test_the_message_has_the_shape_that_is_sent(ann: User) -> None:
    def shape(value: Any, shown: Any) -> Any:
        """The part of `value` that `shown` shows, its leaves as types."""
        if isinstance(shown, dict):
            return {key: shape(value[key], part) for key, part in shown.items()}
        return type(value)

    (text,) = snippets("json")
    shown = json.loads(text)
    WebhookEndpoint.objects.create(owner=ann, url="https://shop.example/hook")
    settle(ingested(*make_urls(2)))
    sent = json.loads(WebhookDelivery.objects.get().payload)
    assert shape(sent, shown) == shape(shown, shown)
    assert sent["type"] == shown["type"]


def test_the_client_verifies_what_is_signed() -> None:
    headers = signed_headers([SECRET], "m1", int(time.time()), BODY)
    names: dict[str, Any] = {"SECRET": SECRET, "headers": headers, "body": BODY}
    exec(snippets("python")[0], names)  # noqa: S102 (our own document)
    assert names["event"] == json.loads(BODY)


def test_the_function_verifies_what_is_signed_and_nothing_else() -> None:
    names: dict[str, Any] = {}
    exec(snippets("python")[1], names)  # noqa: S102 (our own document)
    verify, now = names["verify"], int(time.time())
    for headers in (
        signed_headers([new_secret(), SECRET], "m1", now, BODY),
        dict(signed(SECRET, BODY, message_id="m1", timestamp=now)),
    ):
        verify(SECRET, headers, BODY)
        for secret, body in ((new_secret(), BODY), (SECRET, BODY + b" ")):
            with pytest.raises(ValueError, match="does not match"):
                verify(secret, headers, body)
    with pytest.raises(ValueError, match="too old"):
        verify(SECRET, signed_headers([SECRET], "m1", now - 301, BODY), BODY)


@pytest.mark.parametrize(
    ("secrets", "expected"), [([new_secret(), SECRET], "valid"), ([new_secret()], "invalid")]
)
def test_openssl_says_whether_a_message_is_valid(secrets: list[str], expected: str, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(BODY)
    headers = signed_headers(secrets, "m1", 1_700_000_000, BODY)
    printed = run(
        snippets("sh")[2],
        tmp_path,
        SECRET=SECRET,
        ID=headers["webhook-id"],
        TIMESTAMP=headers["webhook-timestamp"],
        SIGNATURE=headers["webhook-signature"],
    )
    assert printed == f"{expected}\n"


def test_looking_testing_and_sending_again(service: dict[str, str], ann: User, tmp_path: Path) -> None:
    endpoint = WebhookEndpoint.objects.create(owner=ann, url="https://shop.example/hook", enabled=False)
    settled = {"event": "test", "payload": "{}", "next_attempt_at": None}
    failed, _ = (endpoint.deliveries.create(status=status, **settled) for status in ("failed", "missed"))
    keys = {"ENDPOINT": str(endpoint.pk), "DELIVERY": str(failed.pk)}
    enabled, test, deliveries, again, since, missed, rotated = answers(
        run(snippets("sh")[3], tmp_path, **service, **keys)
    )
    assert enabled["enabled"] and test["event"] == "test"
    assert len(deliveries["results"]) == 3
    assert (again["id"], again["status"]) == (str(failed.pk), "pending")
    assert (since, missed) == ({"deliveries": 0}, {"deliveries": 1})
    endpoint.refresh_from_db()
    assert rotated["secret"] == endpoint.secret


def test_a_report_is_taken(service: dict[str, str], ann: User, tmp_path: Path, settings: Settings) -> None:
    settings.INBOUND_WEBHOOK_SECRET = SECRET
    product = ingest(submit(ann)).products.get()
    printed = run(
        snippets("sh")[4], tmp_path, **service, PRODUCT=str(product.pk), INBOUND_WEBHOOK_SECRET=SECRET
    )
    assert answers(printed) == [{"message": "Status updated successfully"}]
    assert product.images_in_order[0].output_url == "https://cdn.example/1.jpg"
