"""Slices of endpoints: leases, retries, pauses, disabling. Long delays are skipped by changing the row."""

import datetime as dt
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django import Settings

from processing.webhooks import delivery_queue
from processing.webhooks.delivery_queue import drain, retry_delay
from processing.webhooks.models import SECRETS, DeliveryStatus, WebhookDelivery, WebhookEndpoint
from processing.webhooks.shares import Candidate, InHand
from processing.workers.clock import follow
from tests.processing.webhooks.conftest import OK, NewEndpoint, make_due, new_test_delivery, reload
from tests.support.batches import Gate
from tests.support.factories import make_user
from tests.support.names import Names
from tests.support.origin import Answer, Handler, Origin
from tests.support.parallel import together, wait_until
from tests.support.receivers import messages

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]


def delay_of(delivery: WebhookDelivery) -> float:
    """Seconds from the last attempt to the next one."""
    assert delivery.next_attempt_at
    last = dt.datetime.fromisoformat(delivery.attempts[-1]["at"])
    return (delivery.next_attempt_at - last).total_seconds()


@pytest.fixture
def standing_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time stands still, four minutes ahead: all that the test makes is due, and signatures are valid."""
    now = timezone.now() + timedelta(minutes=4)
    monkeypatch.setattr(timezone, "now", lambda: now)


# --- The retry schedule ---


def test_there_are_ten_attempts_at_the_times_of_the_specification_and_never_earlier() -> None:
    minute, hour = 60, 3600
    times = [5, 5 * minute, 30 * minute, *(hours * hour for hours in (2, 5, 10, 14, 20, 24))]
    for failures, time_ in enumerate(times, 1):
        delays = {retry_delay(failures, None) for _ in range(50)}
        assert len(delays) > 1
        assert all(delay is not None and time_ <= delay <= 1.2 * time_ for delay in delays)
    assert retry_delay(10, None) is None
    assert retry_delay(10, 60) is None


def test_a_longer_retry_after_counts() -> None:
    assert retry_delay(1, 600) == 600
    later = retry_delay(2, 10)
    assert later is not None and later >= 300


@pytest.mark.usefixtures("standing_clock")
def test_failures_are_retried_on_schedule_until_the_tenth(
    origin: Origin, http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(Answer(b"oh no", status=500))
    delivery = new_test_delivery(endpoint)
    delays = []
    for number in range(1, 11):
        drain(endpoint.pk, http)
        delivery = reload(delivery)
        assert len(origin.received) == len(delivery.attempts) == number
        if delivery.next_attempt_at:
            delays.append(delay_of(delivery))
            make_due(delivery)
    expected = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]
    for delay, least in zip(delays, expected, strict=True):
        assert least <= delay <= 1.2 * least
    assert (delivery.status, delivery.next_attempt_at) == (DeliveryStatus.FAILED, None)
    assert {m["id"] for m in messages(origin, "/hook", endpoint.secret)} == {str(delivery.pk)}
    assert {(a["status"], a["error"], a["answer"]) for a in delivery.attempts} == {(500, "http_500", "oh no")}
    assert drain(endpoint.pk, http) == {}


# --- Pauses ---


@pytest.mark.usefixtures("standing_clock")
def test_retry_after_pauses_all_deliveries_to_the_endpoint(
    origin: Origin, http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(Answer(status=429, headers={"Retry-After": "1000"}))
    first, second = new_test_delivery(endpoint), new_test_delivery(endpoint)
    assert drain(endpoint.pk, http) == {}
    assert len(origin.received) == 1
    first = reload(first)
    assert delay_of(first) == 1000
    endpoint.refresh_from_db()
    assert endpoint.resume_at == timezone.now() + timedelta(seconds=1000)
    assert reload(second).attempts == []
    assert origin.received[0].headers["webhook-id"] == str(first.pk)


@pytest.mark.usefixtures("standing_clock")
def test_a_timeout_pauses_the_endpoint(
    origin: Origin, http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(Answer(delay=60))
    first, second = new_test_delivery(endpoint), new_test_delivery(endpoint)
    following = drain(endpoint.pk, http)
    assert set(following) == {endpoint.pk} and 5 <= following[endpoint.pk] <= 6
    (attempt,) = reload(first).attempts
    assert (attempt["status"], attempt["error"]) == (None, "timeout")
    assert attempt["ms"] >= 900
    assert reload(second).attempts == []


# --- Disabling ---


def test_410_disables_the_endpoint_and_notifies_its_owner(
    origin: Origin, http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(Answer(status=410))
    first, second = new_test_delivery(endpoint), new_test_delivery(endpoint)
    drain(endpoint.pk, http)
    endpoint.refresh_from_db()
    assert (endpoint.enabled, endpoint.disabled_reason) == (False, "It responded with 410 Gone.")
    assert reload(first).status == DeliveryStatus.FAILED
    assert reload(second).status == DeliveryStatus.MISSED
    assert len(origin.received) == 1
    (letter,) = mail.outbox
    assert letter.to == ["ann@shop.example"]
    assert endpoint.url in letter.body and f"/webhooks/{endpoint.pk}/" in letter.body


def failing(endpoint: WebhookEndpoint, days: float) -> None:
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(failing_since=timezone.now() - timedelta(days=days))


@pytest.mark.parametrize(("days", "enabled"), [(4.9, True), (5, False)])
def test_an_endpoint_is_disabled_after_five_days_of_failure(
    http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint, days: float, enabled: bool
) -> None:
    endpoint = endpoint_for(Answer(status=500))
    failing(endpoint, days)
    new_test_delivery(endpoint)
    drain(endpoint.pk, http)
    endpoint.refresh_from_db()
    assert endpoint.enabled == enabled
    assert len(mail.outbox) == (not enabled)


def test_a_success_resets_the_time_of_failure(
    http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(OK)
    failing(endpoint, 6)
    new_test_delivery(endpoint)
    drain(endpoint.pk, http)
    endpoint.refresh_from_db()
    assert (endpoint.enabled, endpoint.failing_since) == (True, None)


def test_the_first_failure_starts_the_time_of_failure(
    http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(Answer(status=500))
    delivery = new_test_delivery(endpoint)
    drain(endpoint.pk, http)
    endpoint.refresh_from_db()
    began = endpoint.failing_since
    assert began
    make_due(delivery)
    drain(endpoint.pk, http)
    endpoint.refresh_from_db()
    assert endpoint.failing_since == began


def test_a_secret_that_cannot_be_decrypted_is_a_failure_with_a_code_of_its_own(
    http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint, origin: Origin
) -> None:
    endpoint = endpoint_for(OK)
    delivery = new_test_delivery(endpoint)
    WebhookEndpoint.objects.update(encrypted_secret=SECRETS.encrypt("x")[:-4])
    drain(endpoint.pk, http)
    assert [a["error"] for a in reload(delivery).attempts] == ["secret"]
    assert origin.received == []


# --- Concurrency ---


def test_concurrent_turns_send_each_delivery_once(
    origin: Origin, http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint
) -> None:
    endpoint = endpoint_for(Answer(delay=0.01))
    deliveries = {str(new_test_delivery(endpoint).pk) for _ in range(20)}
    together([lambda: drain(endpoint.pk, http)] * 8)
    assert sorted(m["id"] for m in messages(origin, "/hook", endpoint.secret)) == sorted(deliveries)


def test_a_delivery_that_falls_due_during_a_turn_is_sent_in_it(
    origin: Origin, http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint
) -> None:
    later: list[uuid.UUID] = []

    def answer(handler: Handler) -> None:
        from django.db import connection

        if not later:
            later.append(new_test_delivery(WebhookEndpoint.objects.get()).pk)
            connection.close()
        handler.answer(OK)

    endpoint = endpoint_for(answer)
    new_test_delivery(endpoint)
    drain(endpoint.pk, http)
    assert [m["id"] for m in messages(origin, "/hook", endpoint.secret)][1] == str(later[0])


def test_deleting_an_endpoint_during_an_attempt_is_no_error(
    http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint
) -> None:
    def answer(handler: Handler) -> None:
        from django.db import connection

        WebhookEndpoint.objects.get().delete()
        connection.close()
        handler.answer(OK)

    endpoint = endpoint_for(answer)
    new_test_delivery(endpoint)
    assert drain(endpoint.pk, http) == {}
    assert not WebhookDelivery.objects.exists()


# --- Shares ---


def new_due_endpoint(owner: User, url: str) -> WebhookEndpoint:
    endpoint = WebhookEndpoint.objects.create(owner=owner, url=url)
    new_test_delivery(endpoint)
    return endpoint


def is_delivered(endpoint: WebhookEndpoint) -> bool:
    return endpoint.deliveries.filter(status=DeliveryStatus.DELIVERED).exists()


def deliver_slice(preferred: uuid.UUID, http: httpx.AsyncBaseTransport) -> None:
    drain(preferred, http)
    connection.close()


@pytest.fixture
def patient_http(settings: Settings, http: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    settings.WEBHOOK_TIMEOUT = 60
    return http


@pytest.mark.parametrize("shared", ["owner", "receiver"])
def test_endpoints_in_hand_of_one_owner_or_receiver_are_bounded(
    origin: Origin, patient_http: httpx.AsyncBaseTransport, gate: Gate, names: Names, shared: str
) -> None:
    names.update({f"{number}.test": ["127.0.0.1"] for number in range(10)})
    origin.add("/held", gate)
    ann = make_user()
    if shared == "owner":
        endpoints = [
            new_due_endpoint(ann, origin.url("/held", host=f"{number}.test")) for number in range(10)
        ]
    else:
        users = [make_user(f"user-{number}") for number in range(10)]
        endpoints = [new_due_endpoint(user, origin.url("/held", host="0.TEST")) for user in users]
    other = new_due_endpoint(make_user("bob"), origin.add("/other", OK))
    with ThreadPoolExecutor(8) as threads:
        slices = [threads.submit(deliver_slice, endpoint.pk, patient_http) for endpoint in endpoints[:8]]
        wait_until(lambda: gate.waiting == 4 and sum(one.done() for one in slices) == 4)
        assert is_delivered(other)
        assert drain(endpoints[9].pk, patient_http) == {}
        assert gate.most_waiting == 4
        gate.open()
    assert [one.result() for one in slices] == [None] * 8
    assert all(map(is_delivered, endpoints))


def test_a_free_thread_goes_to_the_owner_who_has_the_fewest_in_hand() -> None:
    first, second, third = (
        Candidate(uuid.uuid4(), owner, f"https://{owner}.example/") for owner in (1, 2, 3)
    )
    in_hand = InHand.of([Candidate(uuid.uuid4(), 1, "https://a.example/"), second])
    assert in_hand.next([first, third], preferred=first.id) == third
    assert in_hand.next([first], preferred=None) == first
    assert in_hand.next([second, first], preferred=first.id) == first
    assert in_hand.next([]) is None


def test_an_endpoint_that_is_paused_while_it_is_chosen_leaves_the_turn_to_another(
    http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused, other = endpoint_for(OK, "/paused"), endpoint_for(OK, "/other")
    waiting, delivery = new_test_delivery(paused), new_test_delivery(other)
    next_endpoint = delivery_queue._next_endpoint

    def pause(preferred: uuid.UUID) -> Candidate | None:
        chosen = next_endpoint(preferred)
        WebhookEndpoint.objects.filter(pk=paused.pk).update(resume_at=timezone.now() + timedelta(hours=1))
        return chosen

    monkeypatch.setattr(delivery_queue, "_next_endpoint", pause)
    drain(paused.pk, http)
    assert reload(delivery).status == DeliveryStatus.DELIVERED
    assert reload(waiting).status == DeliveryStatus.PENDING


def test_a_lease_that_a_clock_set_back_has_moved_is_released(
    http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint
) -> None:
    def answer(handler: Handler) -> None:
        follow(-3600)
        connection.close()
        handler.answer(OK)

    endpoint = endpoint_for(answer)
    new_test_delivery(endpoint)
    drain(endpoint.pk, http)
    endpoint.refresh_from_db()
    assert endpoint.leased_until is None


def test_an_endpoint_that_another_worker_has_leased_meanwhile_is_left_to_it(
    http: httpx.AsyncBaseTransport, endpoint_for: NewEndpoint
) -> None:
    """As after a stop of this process for longer than its lease."""
    others, requests = uuid.uuid4(), list[str]()

    def answer(handler: Handler) -> None:
        requests.append(handler.received.target)
        WebhookEndpoint.objects.update(lease=others, leased_until=Now() + timedelta(seconds=1))
        connection.close()
        handler.answer(OK)

    endpoint = endpoint_for(answer)
    deliveries = [new_test_delivery(endpoint) for _ in range(2)]
    drain(endpoint.pk, http)
    assert len(requests) == 1
    assert [reload(delivery).status for delivery in deliveries].count(DeliveryStatus.PENDING) == 1
    endpoint.refresh_from_db()
    assert endpoint.lease == others
