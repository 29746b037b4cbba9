import base64
import time
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings
from standardwebhooks import Webhook

from processing.webhooks import schedule
from processing.webhooks.models import WebhookEndpoint
from processing.webhooks.secrets import SealBroken, seal, unseal
from processing.webhooks.signing import InvalidSignature, key_of, new_secret, signed_headers, verify
from tests.support.factories import make_user
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


def test_the_vector_is_what_the_independent_package_says_too() -> None:
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


def test_a_secret_is_random_and_as_long_as_the_specification_wants() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    for secret in secrets:
        assert secret.startswith("whsec_")
        assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64


@pytest.mark.parametrize("text", ["whsec_", "whsec_short", "whsec_!!!!", "whsec_" + "A" * 88 + "AAAA"])
def test_what_is_no_secret_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="it "):
        key_of(text)


# --- What others have signed ---


def test_a_message_that_the_independent_package_has_signed_is_accepted() -> None:
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
def test_a_message_with_a_header_changed_is_refused(change: dict[str, str]) -> None:
    headers = {**signed(SECRET, BODY, message_id="m1", timestamp=TIMESTAMP), **change}
    with pytest.raises(InvalidSignature):
        verify(SECRET, headers, BODY, now=TIMESTAMP)


@pytest.mark.parametrize("late_by", [-301, 301])
def test_a_message_from_another_time_is_refused(late_by: int) -> None:
    headers = signed(SECRET, BODY, message_id="m1", timestamp=TIMESTAMP)
    with pytest.raises(InvalidSignature):
        verify(SECRET, headers, BODY, now=TIMESTAMP + late_by)


def test_a_message_with_another_body_or_secret_is_refused() -> None:
    headers = signed(SECRET, BODY, message_id="m1", timestamp=TIMESTAMP)
    for secret, body in ((SECRET, BODY + b" "), (new_secret(), BODY)):
        with pytest.raises(InvalidSignature):
            verify(secret, headers, body, now=TIMESTAMP)


# --- Secrets at rest ---


@pytest.fixture
def ann(db: None) -> User:
    return make_user()


def test_a_secret_is_not_readable_in_the_database(ann: User) -> None:
    endpoint = WebhookEndpoint.objects.create(owner=ann, url="https://shop.example/hook")
    (row,) = WebhookEndpoint.objects.values()
    assert endpoint.secret not in str(row)
    assert WebhookEndpoint.objects.get().secret == endpoint.secret


def test_a_secret_survives_a_new_secret_key_as_long_as_the_old_one_is_a_fallback(settings: Settings) -> None:
    sealed = seal("whsec_abc")
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another"
    assert unseal(sealed) == "whsec_abc"
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(SealBroken):
        unseal(sealed)


# --- The schedule ---


def test_ten_attempts_at_the_times_of_the_specification_and_never_earlier() -> None:
    minute, hour = 60, 3600
    times = [5, 5 * minute, 30 * minute, *(hours * hour for hours in (2, 5, 10, 14, 20, 24))]
    for failures, time_ in enumerate(times, 1):
        delays = {schedule.delay_after(failures, None) for _ in range(50)}
        assert len(delays) > 1
        assert all(delay is not None and time_ <= delay <= 1.2 * time_ for delay in delays)
    assert schedule.delay_after(10, None) is None
    assert schedule.delay_after(10, 60) is None


def test_what_a_receiver_asks_for_counts_where_it_is_longer() -> None:
    assert schedule.delay_after(1, 600) == 600
    later = schedule.delay_after(2, 10)
    assert later is not None and later >= 300
