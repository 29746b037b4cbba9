"""Signatures of webhooks, as Standard Webhooks 1.0 defines them."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

#: How old, or how far in the future, a signature may be.
TOLERANCE_SECONDS = 300


class InvalidSignature(Exception):
    """The message does not come from the service, or it is too old."""


def verify_webhook(
    secret: str, headers: Mapping[str, str], body: bytes, *, tolerance_seconds: float = TOLERANCE_SECONDS
) -> dict[str, Any]:
    """Return the event in a message. Raises InvalidSignature unless it was signed with the secret just now.

    `body` is the raw request body; header names may have any case.
    """
    given = {name.lower(): value for name, value in headers.items()}
    message_id, timestamp, signatures = (
        given.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")
    )
    if not (message_id and timestamp.isascii() and timestamp.isdecimal()):
        raise InvalidSignature("The headers webhook-id and webhook-timestamp are missing or malformed.")
    if abs(time.time() - int(timestamp)) > tolerance_seconds:
        raise InvalidSignature(f"The message was signed more than {tolerance_seconds:g} seconds ago.")
    content = b".".join([message_id.encode(), timestamp.encode(), body])
    expected = b"v1," + base64.b64encode(hmac.digest(_key(secret), content, hashlib.sha256))
    if not any(hmac.compare_digest(expected, one.encode()) for one in signatures.split(" ")):
        raise InvalidSignature("The signature does not match.")
    event: dict[str, Any] = json.loads(body)
    return event


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError as error:
        raise ValueError("The secret must be whsec_ and base64.") from error
