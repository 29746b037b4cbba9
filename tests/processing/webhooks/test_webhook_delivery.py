"""Deliveries to real receivers on loopback. Where a step of the schedule is long, the row is moved on."""

import datetime as dt
import json
import socket
import ssl
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.contrib.auth.models import User
from django.core import mail
from django.utils import timezone
from pytest_django import Settings
from standardwebhooks import Webhook, WebhookVerificationError

from processing.http.transport import guarded_client
from processing.webhooks import secrets as sealing
from processing.webhooks import sending
from processing.webhooks.delivering import drain
from processing.webhooks.events import ping
from processing.webhooks.models import DeliveryStatus, Event, WebhookDelivery, WebhookEndpoint
from products import lifecycle
from products.models import Request
from tests.support.batches import ingested, make_urls, settle, submitted
from tests.support.factories import make_user
from tests.support.origin import Answer, Handler, Origin, Route
from tests.support.parallel import together
from tests.support.receivers import messages, verified

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]

LOOPBACK = "127.0.0.0/8"


@pytest.fixture(autouse=True)
def impatient(settings: Settings) -> None:
    settings.WEBHOOK_TIMEOUT = 1


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """What the workers send with, where loopback is allowed."""
    from ipaddress import ip_network

    with guarded_client(
        allowed_networks=[ip_network(LOOPBACK)], user_agent=sending.USER_AGENT, max_connections=8
    ) as client:
        yield client


@pytest.fixture
def ann() -> User:
    return make_user(email="ann@shop.example")


NewEndpoint = Callable[..., WebhookEndpoint]


@pytest.fixture
def endpoint_for(ann: User, origin: Origin) -> NewEndpoint:
    """Registers an endpoint of Ann's that `route` answers."""

    def new(route: Route, path: str = "/hook", **fields: Any) -> WebhookEndpoint:
        return WebhookEndpoint.objects.create(owner=ann, url=origin.add(path, route), **fields)

    return new


def pinged(endpoint: WebhookEndpoint) -> WebhookDelivery:
    delivery = ping(endpoint)
    assert delivery
    return delivery


def hurry(delivery: WebhookDelivery) -> WebhookDelivery:
    """As if the time of the next attempt had come."""
    WebhookDelivery.objects.filter(pk=delivery.pk).update(next_attempt_at=timezone.now())
    WebhookEndpoint.objects.update(resume_at=None)
    return reread(delivery)


def reread(delivery: WebhookDelivery) -> WebhookDelivery:
    return WebhookDelivery.objects.select_related("endpoint").get(pk=delivery.pk)


def delay_of(delivery: WebhookDelivery) -> float:
    """Seconds from the last attempt to the next one."""
    assert delivery.next_attempt_at
    last = dt.datetime.fromisoformat(delivery.attempts[-1]["at"])
    return (delivery.next_attempt_at - last).total_seconds()


OK = Answer(b"thanks")


# --- What gets through ---


def test_a_message_is_verified_by_its_receiver_and_its_answer_kept(
    origin: Origin, client: httpx.Client, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(Answer(b"thanks", status=204))
    delivery = pinged(endpoint)
    drain(endpoint.pk, client)
    (message,) = messages(origin, "/hook", endpoint.secret)
    assert message["id"] == str(delivery.pk) and "." not in message["id"]
    assert message["type"] == "test"
    assert message["data"]["endpoint_id"] == str(endpoint.pk)
    delivery = reread(delivery)
    assert (delivery.status, delivery.next_attempt_at) == (DeliveryStatus.DELIVERED, None)
    (attempt,) = delivery.attempts
    assert (attempt["status"], attempt["error"]) == (204, "")
    assert origin.received[0].body == delivery.body


def test_a_receiver_with_another_secret_refuses_the_message(
    origin: Origin, client: httpx.Client, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(OK)
    pinged(endpoint)
    drain(endpoint.pk, client)
    with pytest.raises(WebhookVerificationError):
        verified("whsec_" + "A" * 44, origin.received[0])


def test_after_a_rotation_receivers_with_the_old_and_with_the_new_secret_verify(
    origin: Origin, client: httpx.Client, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(OK)
    secrets = [endpoint.secret]
    for _ in range(2):
        endpoint.rotate()
        secrets.append(endpoint.secret)
    assert len(set(secrets)) == 3
    pinged(endpoint)
    drain(endpoint.pk, client)
    for secret in secrets:
        verified(secret, origin.received[0])


def test_a_day_after_a_rotation_only_the_new_secret_signs(
    origin: Origin, client: httpx.Client, endpoint_for: NewEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = endpoint_for(OK)
    old = endpoint.secret
    with monkeypatch.context() as patch:
        patch.setattr(timezone, "now", lambda: dt.datetime.now(dt.UTC) - timedelta(hours=24))
        endpoint.rotate()
    pinged(endpoint)
    drain(endpoint.pk, client)
    verified(endpoint.secret, origin.received[0])
    with pytest.raises(WebhookVerificationError):
        verified(old, origin.received[0])


# --- Events ---


def test_the_end_of_a_request_is_told_once_with_the_request_as_the_api_shows_it(
    origin: Origin, client: httpx.Client, endpoint_for: NewEndpoint, settings: Settings
) -> None:
    endpoint = endpoint_for(OK)
    batch = settle(ingested(*make_urls(3)), failed={2: "timeout"})
    drain(endpoint.pk, client)
    (message,) = messages(origin, "/hook", endpoint.secret)
    assert message["type"] == "request.completed"
    data = message["data"]
    assert (data["id"], data["status"], data["run"]) == (str(batch.pk), "completed_with_errors", 1)
    assert data["images"]["completed"] == 2 and data["images"]["failed"] == 1
    assert data["urls"]["results_csv"] == f"{settings.PUBLIC_URL}/api/requests/{batch.pk}/results.csv"
    assert batch.finished_at
    assert dt.datetime.fromisoformat(message["timestamp"]) == batch.finished_at
    assert len(origin.received[0].body) < 20_000


def test_each_run_is_told_anew_and_a_cancel_only_to_who_wants_to_know(
    origin: Origin, client: httpx.Client, endpoint_for: NewEndpoint
) -> None:
    finishes, both = endpoint_for(OK, "/one"), endpoint_for(OK, "/two", events=[*Event.values[:2]])
    batch = settle(ingested(*make_urls(2)), failed={1: "timeout"})
    assert lifecycle.retry(batch) == 1
    batch.refresh_from_db()
    assert lifecycle.cancel(batch)
    for endpoint in (finishes, both):
        drain(endpoint.pk, client)
    told = [(m["type"], m["data"]["run"]) for m in messages(origin, "/one", finishes.secret)]
    assert told == [("request.completed", 1)]
    told = [(m["type"], m["data"]["run"]) for m in messages(origin, "/two", both.secret)]
    assert told == [("request.completed", 1), ("request.canceled", 2)]


def test_endpoints_of_others_are_told_nothing(endpoint_for: NewEndpoint, origin: Origin) -> None:
    stranger = endpoint_for(OK)
    WebhookEndpoint.objects.update(owner=make_user("bob"))
    settle(ingested(*make_urls(1)))
    assert not stranger.deliveries.exists()


def test_the_url_of_an_upload_is_told_of_that_request_alone(origin: Origin, client: httpx.Client) -> None:
    batch = submitted(*make_urls(1), webhook_url=origin.add("/once", OK))
    other = submitted(*make_urls(2))
    for one in (batch, other):
        lifecycle.cancel(one)
    endpoint = WebhookEndpoint.objects.get()
    drain(endpoint.pk, client)
    (message,) = messages(origin, "/once", endpoint.secret)
    assert (message["type"], message["data"]["id"]) == ("request.canceled", str(batch.pk))


def test_the_longest_file_name_leaves_the_payload_small(endpoint_for: NewEndpoint) -> None:
    endpoint_for(OK)
    batch = submitted(*make_urls(1))
    Request.objects.filter(pk=batch.pk).update(filename="“\u2028\U0001f600" * 85)
    assert lifecycle.cancel(Request.objects.get()) and not WebhookDelivery.objects.exists()
    WebhookEndpoint.objects.update(events=[Event.CANCELED])
    batch = submitted(*make_urls(1), name="“\u2028\U0001f600" * 80 + ".csv")
    lifecycle.cancel(batch)
    assert 0 < len(WebhookDelivery.objects.get().body) < 20_000


def test_an_end_that_is_rolled_back_leaves_no_delivery(endpoint_for: NewEndpoint) -> None:
    from django.db import transaction

    endpoint_for(OK, events=[Event.CANCELED])
    batch = submitted(*make_urls(1))
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        lifecycle.cancel(batch)
        assert WebhookDelivery.objects.count() == 1
        _ = 1 / 0
    assert not WebhookDelivery.objects.exists()


# --- What does not ---


def test_failures_are_tried_again_by_the_schedule_until_the_tenth(
    origin: Origin, client: httpx.Client, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(Answer(b"oh no", status=500))
    delivery = pinged(endpoint)
    delays = []
    for number in range(1, 11):
        drain(endpoint.pk, client)
        delivery = reread(delivery)
        assert len(origin.received) == len(delivery.attempts) == number
        if delivery.next_attempt_at:
            delays.append(delay_of(delivery))
            hurry(delivery)
    expected = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]
    for delay, least in zip(delays, expected, strict=True):
        assert least <= delay <= 1.2 * least + 1
    assert (delivery.status, delivery.next_attempt_at) == (DeliveryStatus.FAILED, None)
    assert {m["id"] for m in messages(origin, "/hook", endpoint.secret)} == {str(delivery.pk)}
    assert {(a["status"], a["error"], a["answer"]) for a in delivery.attempts} == {(500, "http_500", "oh no")}
    assert drain(endpoint.pk, client) is None


def test_a_receiver_that_asks_for_more_time_gets_it_with_all_its_deliveries(
    origin: Origin, client: httpx.Client, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(Answer(status=429, headers={"Retry-After": "1000"}))
    first, second = pinged(endpoint), pinged(endpoint)
    assert drain(endpoint.pk, client) is None
    assert len(origin.received) == 1
    first = reread(first)
    assert 999 < delay_of(first) < 1001
    endpoint.refresh_from_db()
    assert endpoint.resume_at and endpoint.resume_at > timezone.now() + timedelta(seconds=990)
    assert reread(second).attempts == []
    assert origin.received[0].headers["webhook-id"] == str(first.pk)


def test_a_receiver_that_hangs_costs_one_timeout_and_the_others_wait(
    origin: Origin, client: httpx.Client, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(Answer(delay=60))
    first, second = pinged(endpoint), pinged(endpoint)
    wait = drain(endpoint.pk, client)
    assert wait is not None and 3 < wait <= 6
    (attempt,) = reread(first).attempts
    assert (attempt["status"], attempt["error"]) == (None, "timeout")
    assert attempt["ms"] >= 900
    assert reread(second).attempts == []


def test_410_disables_the_endpoint_and_its_owner_is_told(
    origin: Origin, client: httpx.Client, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(Answer(status=410))
    first, second = pinged(endpoint), pinged(endpoint)
    drain(endpoint.pk, client)
    endpoint.refresh_from_db()
    assert (endpoint.enabled, endpoint.disabled_reason) == (False, "It answered 410 Gone.")
    assert reread(first).status == DeliveryStatus.FAILED
    assert reread(second).status == DeliveryStatus.MISSED
    assert len(origin.received) == 1
    (letter,) = mail.outbox
    assert letter.to == ["ann@shop.example"]
    assert endpoint.url in letter.body and f"/webhooks/{endpoint.pk}/" in letter.body


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304])
def test_a_redirect_is_a_failure_and_never_followed(
    origin: Origin, client: httpx.Client, endpoint_for: NewEndpoint, status: int
) -> None:
    elsewhere = origin.add("/elsewhere", OK)
    endpoint = endpoint_for(Answer(status=status, headers={"Location": elsewhere}))
    delivery = pinged(endpoint)
    drain(endpoint.pk, client)
    assert origin.count("/elsewhere") == 0
    assert [(a["status"], a["error"]) for a in reread(delivery).attempts] == [(status, "redirect")]


@pytest.mark.parametrize("location", ["http://[", "http://a:b:c/", "\x80//"])
def test_a_redirect_to_nowhere_is_a_failure(
    origin: Origin, client: httpx.Client, endpoint_for: NewEndpoint, location: str
) -> None:
    endpoint = endpoint_for(Answer(status=302, headers={"Location": location}))
    delivery = pinged(endpoint)
    drain(endpoint.pk, client)
    assert [a["error"] for a in reread(delivery).attempts] == ["redirect"]


def test_of_a_large_answer_no_more_is_read_than_is_kept(
    origin: Origin, client: httpx.Client, endpoint_for: NewEndpoint
) -> None:
    written: list[int] = []
    size = 200_000_000  # more than any buffer of a socket takes up

    def pour(handler: Handler) -> None:
        handler.send_response_only(200)
        handler.send_header("Content-Length", str(size))
        handler.end_headers()
        try:
            for _ in range(size // 1_000_000):
                handler.wfile.write("é".encode() * 500_000)
                written.append(1_000_000)
        except OSError:
            handler.close_connection = True

    endpoint = endpoint_for(pour)
    delivery = pinged(endpoint)
    drain(endpoint.pk, client)
    delivery = reread(delivery)
    assert delivery.status == DeliveryStatus.DELIVERED
    assert delivery.attempts[0]["answer"] == "é" * 1000
    assert sum(written) < size / 4


def test_an_answer_of_a_megabyte_is_a_success_of_which_the_beginning_is_kept(
    origin: Origin, client: httpx.Client, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(Answer(b"\0\xff" + b"x" * 1_000_000))
    delivery = pinged(endpoint)
    drain(endpoint.pk, client)
    assert reread(delivery).attempts[0]["answer"] == "\N{REPLACEMENT CHARACTER}" + "x" * 999


def test_an_answer_whose_body_never_ends_counts_by_its_status(
    client: httpx.Client, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(Answer(b"thank you", stall_after=5))
    delivery = pinged(endpoint)
    drain(endpoint.pk, client)
    delivery = reread(delivery)
    assert (delivery.status, delivery.attempts[0]["answer"]) == (DeliveryStatus.DELIVERED, "thank")


def certificate(directory: Path, name: str) -> ssl.SSLContext:
    """TLS with a certificate that nobody has vouched for."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = directory / "certificate.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def test_a_receiver_with_a_wrong_certificate_is_sent_nothing(
    client: httpx.Client, ann: User, tmp_path: Path
) -> None:
    with Origin(tls=certificate(tmp_path, "shop.example")) as receiver:
        endpoint = WebhookEndpoint.objects.create(owner=ann, url=receiver.add("/hook", OK))
        delivery = pinged(endpoint)
        drain(endpoint.pk, client)
        assert receiver.received == []
    assert [a["error"] for a in reread(delivery).attempts] == ["tls"]


def test_nobody_there_a_name_unknown_and_a_private_address_are_failures_that_say_so(
    client: httpx.Client, ann: User, origin: Origin
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    for url, code in [
        (f"http://127.0.0.1:{closed}/", "connect"),
        ("http://nobody.invalid/", "dns"),
        ("http://10.255.255.1/", "blocked_address"),
        (f"http://[::ffff:10.0.0.1]:{origin.port}/", "blocked_address"),
    ]:
        endpoint = WebhookEndpoint.objects.create(owner=ann, url=url)
        delivery = pinged(endpoint)
        drain(endpoint.pk, client)
        assert [a["error"] for a in reread(delivery).attempts] == [code], url


def test_loopback_is_refused_unless_it_is_allowed(
    origin: Origin, endpoint_for: NewEndpoint, settings: Settings
) -> None:
    endpoint = endpoint_for(OK)
    delivery = pinged(endpoint)
    assert settings.WEBHOOK_ALLOWED_NETWORKS == ()
    sending.shared_client.cache_clear()
    drain(endpoint.pk, sending.shared_client())
    assert [a["error"] for a in reread(delivery).attempts] == ["blocked_address"]
    assert origin.clients == []


def test_a_secret_that_cannot_be_read_any_more_is_a_failure_that_says_so(
    client: httpx.Client, endpoint_for: NewEndpoint, origin: Origin
) -> None:
    endpoint = endpoint_for(OK)
    delivery = pinged(endpoint)
    WebhookEndpoint.objects.update(sealed_secret=sealing.seal("x")[:-4])
    drain(endpoint.pk, client)
    assert [a["error"] for a in reread(delivery).attempts] == ["secret"]
    assert origin.received == []


# --- Five days ---


def failing(endpoint: WebhookEndpoint, days: float) -> None:
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(failing_since=timezone.now() - timedelta(days=days))


@pytest.mark.parametrize(("days", "enabled"), [(4.9, True), (5, False)])
def test_an_endpoint_is_disabled_after_five_days_of_failure(
    client: httpx.Client, endpoint_for: NewEndpoint, days: float, enabled: bool
) -> None:
    endpoint = endpoint_for(Answer(status=500))
    failing(endpoint, days)
    pinged(endpoint)
    drain(endpoint.pk, client)
    endpoint.refresh_from_db()
    assert endpoint.enabled == enabled
    assert len(mail.outbox) == (not enabled)


def test_a_success_ends_the_days_of_failure(client: httpx.Client, endpoint_for: NewEndpoint) -> None:
    endpoint = endpoint_for(OK)
    failing(endpoint, 6)
    pinged(endpoint)
    drain(endpoint.pk, client)
    endpoint.refresh_from_db()
    assert (endpoint.enabled, endpoint.failing_since) == (True, None)


def test_the_first_failure_is_when_the_days_begin(client: httpx.Client, endpoint_for: NewEndpoint) -> None:
    endpoint = endpoint_for(Answer(status=500))
    delivery = pinged(endpoint)
    drain(endpoint.pk, client)
    endpoint.refresh_from_db()
    began = endpoint.failing_since
    assert began
    hurry(delivery)
    drain(endpoint.pk, client)
    endpoint.refresh_from_db()
    assert endpoint.failing_since == began


# --- Once more ---


def test_a_replay_has_the_same_id_and_body_and_a_time_and_signature_of_its_own(
    origin: Origin, client: httpx.Client, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(OK)
    delivery = pinged(endpoint)
    drain(endpoint.pk, client)
    assert reread(delivery).redeliver()
    drain(endpoint.pk, client)
    first, second = messages(origin, "/hook", endpoint.secret)
    assert first == second
    assert len(reread(delivery).attempts) == 2


def test_all_that_failed_since_a_time_and_all_that_was_missed_go_out_again(
    origin: Origin, client: httpx.Client, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(OK)
    old, failed, missed = (pinged(endpoint) for _ in range(3))
    settled = {"next_attempt_at": None}
    day_ago = timezone.now() - timedelta(days=1)
    of = WebhookDelivery.objects.filter
    of(pk=old.pk).update(status="failed", created_at=day_ago - timedelta(hours=1), **settled)
    of(pk=failed.pk).update(status="failed", created_at=day_ago + timedelta(hours=1), **settled)
    of(pk=missed.pk).update(status="missed", **settled)
    assert drain(endpoint.pk, client) is None and origin.received == []
    assert endpoint.deliveries.settled("failed", day_ago).redeliver() == 1
    drain(endpoint.pk, client)
    assert [m["id"] for m in messages(origin, "/hook", endpoint.secret)] == [str(failed.pk)]
    assert endpoint.deliveries.settled("missed").redeliver() == 1
    drain(endpoint.pk, client)
    assert [m["id"] for m in messages(origin, "/hook", endpoint.secret)] == [str(failed.pk), str(missed.pk)]


def test_what_happens_while_an_endpoint_is_disabled_is_kept_as_missed(
    origin: Origin, client: httpx.Client, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(OK)
    waiting = pinged(endpoint)
    assert endpoint.disable() and not endpoint.disable()
    settle(ingested(*make_urls(1)))
    assert [*endpoint.deliveries.values_list("status", flat=True)] == ["missed", "missed"]
    assert ping(endpoint) is None and not reread(waiting).redeliver()
    assert drain(endpoint.pk, client) is None
    endpoint.enable()
    assert drain(endpoint.pk, client) is None and origin.received == []
    assert endpoint.deliveries.settled("missed").redeliver() == 2
    drain(endpoint.pk, client)
    assert {m["type"] for m in messages(origin, "/hook", endpoint.secret)} == {"test", "request.completed"}


# --- At the same time ---


def test_of_many_turns_at_the_same_time_each_delivery_is_made_once(
    origin: Origin, client: httpx.Client, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(Answer(delay=0.01))
    deliveries = {str(pinged(endpoint).pk) for _ in range(20)}
    together([lambda: drain(endpoint.pk, client)] * 8)
    assert sorted(m["id"] for m in messages(origin, "/hook", endpoint.secret)) == sorted(deliveries)


def test_what_falls_due_during_a_turn_is_delivered_in_it(
    origin: Origin, client: httpx.Client, endpoint_for: NewEndpoint
) -> None:
    later: list[uuid.UUID] = []

    def answer(handler: Handler) -> None:
        from django.db import connection

        if not later:
            later.append(pinged(WebhookEndpoint.objects.get()).pk)
            connection.close()
        handler.answer(OK)

    endpoint = endpoint_for(answer)
    pinged(endpoint)
    drain(endpoint.pk, client)
    assert [m["id"] for m in messages(origin, "/hook", endpoint.secret)][1] == str(later[0])


def test_an_endpoint_that_is_deleted_while_a_message_is_under_way_is_no_error(
    client: httpx.Client, endpoint_for: NewEndpoint
) -> None:
    def answer(handler: Handler) -> None:
        from django.db import connection

        WebhookEndpoint.objects.get().remove()
        connection.close()
        handler.answer(OK)

    endpoint = endpoint_for(answer)
    pinged(endpoint)
    assert drain(endpoint.pk, client) is None
    assert not WebhookDelivery.objects.exists()


def test_the_payload_is_sent_byte_for_byte_as_it_is_kept(
    origin: Origin, client: httpx.Client, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(OK, events=[Event.CANCELED])
    lifecycle.cancel(submitted(*make_urls(1), name="Möbel “neu”.csv"))
    drain(endpoint.pk, client)
    delivery = WebhookDelivery.objects.get()
    assert origin.received[0].body == delivery.payload.encode()
    assert json.loads(delivery.payload)["data"]["filename"] == "Möbel “neu”.csv"
    Webhook(endpoint.secret).verify(delivery.payload, dict(origin.received[0].headers))
