"""Signatures of Standard Webhooks 1.0, made and checked. Pure: no Django, no I/O."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping

PREFIX = "whsec_"
#: Bytes that a secret may have, and that ours have.
SHORTEST, LONGEST, OURS = 24, 64, 32
#: Seconds by which the sender's clock may differ from ours, either way.
TOLERANCE = 300
#: Characters that the id of a message from outside may have.
LONGEST_ID = 255


class InvalidSignature(Exception):
    """The message is not the holder's of the secret, or not of these minutes; the text says why."""


def new_secret() -> str:
    """`whsec_` and the base64 of random bytes."""
    return PREFIX + base64.b64encode(secrets.token_bytes(OURS)).decode()


def key_of(secret: str) -> bytes:
    """The bytes that a secret stands for. Raises ValueError where it is none."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("it is not base64") from error
    if not SHORTEST <= len(key) <= LONGEST:
        raise ValueError(f"it has {len(key)} bytes")
    return key


def signed_headers(secrets_: Iterable[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of a message sent at `timestamp` (Unix seconds), signed with each of the secrets."""
    signatures = [_signature(secret, message_id, str(timestamp), body) for secret in secrets_]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def verify(secret: str, headers: Mapping[str, str], body: bytes, *, now: float) -> str:
    """The id of a message that was signed with `secret` lately. Raises InvalidSignature.

    `now` is the Unix time of its arrival; `headers` are looked up in lower case.
    """
    message_id, timestamp, given = (
        headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")
    )
    if not (message_id and timestamp and given):
        raise InvalidSignature("A header is missing: webhook-id, webhook-timestamp and webhook-signature.")
    if len(message_id) > LONGEST_ID:
        raise InvalidSignature(f"The id has more than {LONGEST_ID} characters.")
    if not (timestamp.isascii() and timestamp.isdecimal()) or abs(now - int(timestamp[:20])) > TOLERANCE:
        raise InvalidSignature("The timestamp is not of these minutes.")
    expected = _signature(secret, message_id, timestamp, body).encode()
    if not any(hmac.compare_digest(expected, one.encode()) for one in given.split(" ")):
        raise InvalidSignature("The signature does not match.")
    return message_id


def _signature(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    content = b".".join([message_id.encode(), timestamp.encode(), body])
    return "v1," + base64.b64encode(hmac.digest(key_of(secret), content, hashlib.sha256)).decode()
