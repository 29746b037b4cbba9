"""Sign and verify messages by Standard Webhooks 1.0. Pure: no Django, no I/O."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping

PREFIX = "whsec_"
MIN_KEY_BYTES, MAX_KEY_BYTES, NEW_KEY_BYTES = 24, 64, 32
#: A timestamp may differ from our clock by this much, either way.
TOLERANCE_SECONDS = 300
MAX_ID_LENGTH = 255


class InvalidSignature(Exception):
    """The message was not signed with the secret, or not within the tolerance; the text says why."""


def new_secret() -> str:
    """Return `whsec_` and the base64 of random bytes."""
    return PREFIX + base64.b64encode(secrets.token_bytes(NEW_KEY_BYTES)).decode()


def key_of(secret: str) -> bytes:
    """Return the key that a secret encodes. Raises ValueError if it is malformed."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("it is not base64") from error
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise ValueError(f"it has {len(key)} bytes")
    return key


def signed_headers(secrets_: Iterable[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers of a message sent at `timestamp` (Unix seconds), signed with each secret."""
    signatures = [_signature(secret, message_id, str(timestamp), body) for secret in secrets_]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def verify(secret: str, headers: Mapping[str, str], body: bytes, *, now: float) -> str:
    """Verify a message and return its id. Raises InvalidSignature.

    `headers` have lower-case names; `now` is the time of arrival in Unix seconds.
    """
    message_id, timestamp, signatures = (
        headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")
    )
    if not (message_id and timestamp and signatures):
        raise InvalidSignature(
            "The headers webhook-id, webhook-timestamp and webhook-signature are required."
        )
    if len(message_id) > MAX_ID_LENGTH:
        raise InvalidSignature(f"The webhook-id has more than {MAX_ID_LENGTH} characters.")
    if not (timestamp.isascii() and timestamp.isdecimal()):
        raise InvalidSignature("The webhook-timestamp is not a number of seconds.")
    # Twenty digits are enough to be out of range; int() refuses thousands of them.
    if abs(now - int(timestamp[:20])) > TOLERANCE_SECONDS:
        raise InvalidSignature("The webhook-timestamp differs from our clock by more than five minutes.")
    expected = _signature(secret, message_id, timestamp, body).encode()
    if not any(hmac.compare_digest(expected, one.encode()) for one in signatures.split(" ")):
        raise InvalidSignature("The signature does not match.")
    return message_id


def _signature(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    content = b".".join([message_id.encode(), timestamp.encode(), body])
    return "v1," + base64.b64encode(hmac.digest(key_of(secret), content, hashlib.sha256)).decode()
