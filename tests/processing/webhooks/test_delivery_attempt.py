"""Attempts: what a receiver gets, and how its response is understood."""

import datetime as dt
import json
import socket
import ssl
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import Settings
from standardwebhooks import Webhook, WebhookVerificationError

from processing.webhooks import delivery_attempt
from processing.webhooks.delivery_queue import drain
from processing.webhooks.models import DeliveryStatus, Event, WebhookDelivery, WebhookEndpoint
from products import lifecycle
from tests.processing.webhooks.conftest import OK, NewEndpoint, new_test_delivery, reload
from tests.support.batches import make_urls, submitted
from tests.support.origin import Answer, Handler, Origin
from tests.support.receivers import messages, verified

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]


# --- Messages ---


def test_a_receiver_verifies_the_message_and_its_response_is_stored(
    origin: Origin, http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(Answer(b"thanks", status=204))
    delivery = new_test_delivery(endpoint)
    drain(endpoint.pk, http)
    (message,) = messages(origin, "/hook", endpoint.secret)
    assert message["id"] == str(delivery.pk) and "." not in message["id"]
    assert message["type"] == "test"
    assert message["data"]["endpoint_id"] == str(endpoint.pk)
    delivery = reload(delivery)
    assert (delivery.status, delivery.next_attempt_at) == (DeliveryStatus.DELIVERED, None)
    (attempt,) = delivery.attempts
    assert (attempt["status"], attempt["error"]) == (204, "")
    assert origin.received[0].body == delivery.body


def test_the_payload_is_sent_byte_for_byte_as_it_is_stored(
    origin: Origin, http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(OK, events=[Event.CANCELED])
    lifecycle.cancel(submitted(*make_urls(1), name="Möbel “neu”.csv"))
    drain(endpoint.pk, http)
    delivery = WebhookDelivery.objects.get()
    assert origin.received[0].body == delivery.payload.encode()
    assert json.loads(delivery.payload)["data"]["filename"] == "Möbel “neu”.csv"
    Webhook(endpoint.secret).verify(delivery.payload, dict(origin.received[0].headers))


def test_a_receiver_with_another_secret_rejects_the_message(
    origin: Origin, http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(OK)
    new_test_delivery(endpoint)
    drain(endpoint.pk, http)
    with pytest.raises(WebhookVerificationError):
        verified("whsec_" + "A" * 44, origin.received[0])


def test_after_a_rotation_both_the_old_and_the_new_secret_verify(
    origin: Origin, http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(OK)
    secrets = [endpoint.secret]
    for _ in range(2):
        endpoint.rotate_secret()
        secrets.append(endpoint.secret)
    assert len(set(secrets)) == 3
    new_test_delivery(endpoint)
    drain(endpoint.pk, http)
    for secret in secrets:
        verified(secret, origin.received[0])


def test_a_day_after_a_rotation_only_the_new_secret_signs(
    origin: Origin, http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = endpoint_for(OK)
    old = endpoint.secret
    with monkeypatch.context() as patch:
        patch.setattr(timezone, "now", lambda: dt.datetime.now(dt.UTC) - timedelta(hours=24))
        endpoint.rotate_secret()
    new_test_delivery(endpoint)
    drain(endpoint.pk, http)
    verified(endpoint.secret, origin.received[0])
    with pytest.raises(WebhookVerificationError):
        verified(old, origin.received[0])


# --- Responses ---


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304])
def test_a_redirect_is_a_failure_and_never_followed(
    origin: Origin, http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint, status: int
) -> None:
    elsewhere = origin.add("/elsewhere", OK)
    endpoint = endpoint_for(Answer(status=status, headers={"Location": elsewhere}))
    delivery = new_test_delivery(endpoint)
    drain(endpoint.pk, http)
    assert origin.count("/elsewhere") == 0
    assert [(a["status"], a["error"]) for a in reload(delivery).attempts] == [(status, "redirect")]


@pytest.mark.parametrize("location", ["http://[", "http://a:b:c/", "\x80//"])
def test_a_redirect_to_a_malformed_location_is_a_failure(
    origin: Origin, http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint, location: str
) -> None:
    endpoint = endpoint_for(Answer(status=302, headers={"Location": location}))
    delivery = new_test_delivery(endpoint)
    drain(endpoint.pk, http)
    assert [a["error"] for a in reload(delivery).attempts] == ["redirect"]


def test_no_more_of_a_large_response_is_read_than_is_stored(
    origin: Origin, http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint
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
    delivery = new_test_delivery(endpoint)
    drain(endpoint.pk, http)
    delivery = reload(delivery)
    assert delivery.status == DeliveryStatus.DELIVERED
    assert delivery.attempts[0]["answer"] == "é" * 1000
    assert sum(written) < size / 4


def test_the_beginning_of_a_response_of_a_megabyte_is_stored(
    origin: Origin, http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(Answer(b"\0\xff" + b"x" * 1_000_000))
    delivery = new_test_delivery(endpoint)
    drain(endpoint.pk, http)
    assert reload(delivery).attempts[0]["answer"] == "\N{REPLACEMENT CHARACTER}" + "x" * 999


def test_a_response_whose_body_never_ends_counts_by_its_status(
    http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(Answer(b"thank you", stall_after=5))
    delivery = new_test_delivery(endpoint)
    drain(endpoint.pk, http)
    delivery = reload(delivery)
    assert (delivery.status, delivery.attempts[0]["answer"]) == (DeliveryStatus.DELIVERED, "thank")


# --- Errors ---


def certificate(directory: Path, name: str) -> ssl.SSLContext:
    """Return a TLS context with a self-signed certificate."""
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


def test_nothing_is_sent_to_a_receiver_with_an_invalid_certificate(
    http: httpx.AsyncBaseTransport, ann: User, tmp_path: Path
) -> None:
    with Origin(tls=certificate(tmp_path, "shop.example")) as receiver:
        endpoint = WebhookEndpoint.objects.create(owner=ann, url=receiver.add("/hook", OK))
        delivery = new_test_delivery(endpoint)
        drain(endpoint.pk, http)
        assert receiver.received == []
    assert [a["error"] for a in reload(delivery).attempts] == ["tls"]


def test_a_closed_port_an_unknown_name_and_a_private_address_have_codes_of_their_own(
    http: httpx.AsyncBaseTransport, ann: User, origin: Origin
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
        delivery = new_test_delivery(endpoint)
        drain(endpoint.pk, http)
        assert [a["error"] for a in reload(delivery).attempts] == [code], url


def test_loopback_is_refused_unless_it_is_allowed(
    origin: Origin, endpoint_for: NewEndpoint, settings: Settings
) -> None:
    endpoint = endpoint_for(OK)
    delivery = new_test_delivery(endpoint)
    assert settings.WEBHOOK_ALLOWED_NETWORKS == ()
    delivery_attempt.shared_transport.cache_clear()
    drain(endpoint.pk, delivery_attempt.shared_transport())
    assert [a["error"] for a in reload(delivery).attempts] == ["blocked_address"]
    assert origin.clients == []
