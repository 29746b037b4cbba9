"""Signatures, compared with the specification and with the `standardwebhooks` package."""

import base64
import time
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from processing.webhooks.signing import InvalidSignature, key_of, new_secret, signed_headers, verify
from tests.support.receivers import signed

# The vector of Standard Webhooks 1.0.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_vector_of_the_specification_is_reproduced() -> None:
    assert signed_headers([SECRET], MESSAGE_ID, TIMESTAMP, BODY) == {
        "webhook-id": MESSAGE_ID,
        "webhook-timestamp": str(TIMESTAMP),
        "webhook-signature": SIGNATURE,
    }


def test_the_independent_package_has_the_same_signature() -> None:
    assert (
        Webhook(SECRET).sign(MESSAGE_ID, datetime.fromtimestamp(TIMESTAMP, UTC), BODY.decode()) == SIGNATURE
    )


def test_a_receiver_with_either_of_two_secrets_verifies_the_message() -> None:
    secrets = [new_secret(), new_secret()]
    body = '{"name": "Sessel “Ö”"}'.encode()
    headers = signed_headers(secrets, "m1", int(time.time()), body)
    for secret in secrets:
        assert Webhook(secret).verify(body, headers) == {"name": "Sessel “Ö”"}
    assert len(headers["webhook-signature"].split(" ")) == 2


def test_a_secret_is_random_and_as_long_as_the_specification_requires() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    for secret in secrets:
        assert secret.startswith("whsec_")
        assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64


@pytest.mark.parametrize("text", ["whsec_", "whsec_short", "whsec_!!!!", "whsec_" + "A" * 88 + "AAAA"])
def test_a_malformed_secret_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="it "):
        key_of(text)


# --- Verification ---


def test_a_message_signed_by_the_independent_package_is_accepted() -> None:
    headers = signed(SECRET, BODY, message_id="m1", timestamp=TIMESTAMP)
    for now in (TIMESTAMP - 299, TIMESTAMP, TIMESTAMP + 299):
        assert verify(SECRET, headers, BODY, now=now) == "m1"


def test_one_good_signature_among_others_is_enough() -> None:
    headers = dict(signed(SECRET, BODY, message_id="m1", timestamp=TIMESTAMP))
    headers["webhook-signature"] = f"v1a,xyz v1,AAAA {headers['webhook-signature']}"
    assert verify(SECRET, headers, BODY, now=TIMESTAMP) == "m1"


@pytest.mark.parametrize(
    "change",
    [
        *({"webhook-id": ""}, {"webhook-id": "m2"}, {"webhook-id": "m" * 256}),
        *({"webhook-timestamp": ""}, {"webhook-timestamp": "1e9"}, {"webhook-timestamp": "٣"}),
        *({"webhook-timestamp": str(TIMESTAMP + 1)}, {"webhook-timestamp": "9" * 400}),
        *({"webhook-signature": ""}, {"webhook-signature": "v1,"}, {"webhook-signature": "é"}),
        {"webhook-signature": SIGNATURE.replace("v1,", "v2,")},
    ],
)
def test_a_message_with_a_header_changed_is_rejected(change: dict[str, str]) -> None:
    headers = {**signed(SECRET, BODY, message_id="m1", timestamp=TIMESTAMP), **change}
    with pytest.raises(InvalidSignature):
        verify(SECRET, headers, BODY, now=TIMESTAMP)


@pytest.mark.parametrize("late_by", [-301, 301])
def test_a_message_from_another_time_is_rejected(late_by: int) -> None:
    headers = signed(SECRET, BODY, message_id="m1", timestamp=TIMESTAMP)
    with pytest.raises(InvalidSignature):
        verify(SECRET, headers, BODY, now=TIMESTAMP + late_by)


def test_a_message_with_another_body_or_secret_is_rejected() -> None:
    headers = signed(SECRET, BODY, message_id="m1", timestamp=TIMESTAMP)
    for secret, body in ((SECRET, BODY + b" "), (new_secret(), BODY)):
        with pytest.raises(InvalidSignature):
            verify(secret, headers, body, now=TIMESTAMP)
