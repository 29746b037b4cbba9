"""Receivers of webhooks: what they got, verified by the `standardwebhooks` package."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook

from tests.support.origin import Origin, Received


def verified(secret: str, message: Received) -> dict[str, Any]:
    """The message as its receiver understands it; raises where the signature is not right."""
    assert message.method == "POST"
    assert message.headers["content-type"] == "application/json"
    Webhook(secret).verify(message.body, dict(message.headers))
    body: dict[str, Any] = json.loads(message.body)
    assert set(body) == {"type", "timestamp", "data"}
    return body


def messages(origin: Origin, path: str, secret: str) -> list[dict[str, Any]]:
    """Everything that has come to `path`, each verified, with its `webhook-id` as `id`."""
    return [
        {"id": one.headers["webhook-id"], **verified(secret, one)}
        for one in origin.received
        if one.target == path
    ]


def signed(secret: str, body: bytes, *, message_id: str, timestamp: float) -> Mapping[str, str]:
    """The headers of a message that is sent to us, signed by the `standardwebhooks` package."""
    at = datetime.fromtimestamp(int(timestamp), UTC)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(timestamp)),
        "webhook-signature": Webhook(secret).sign(message_id, at, body.decode()),
    }
