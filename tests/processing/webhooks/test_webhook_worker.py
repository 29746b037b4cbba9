"""Who delivers: workers of the webhooks' own queue, and recovery where messages are missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_network

import dramatiq
import pytest
from django.utils import timezone
from pytest_django import Settings

from processing.webhooks import sending
from processing.webhooks.events import ping
from processing.webhooks.models import DeliveryStatus, WebhookDelivery, WebhookEndpoint
from processing.webhooks.tasks import WEBHOOKS
from processing.work import pipeline
from processing.work.tasks import QUEUE
from processing.workers import worker
from processing.workers.models import Worker
from processing.workers.recovery import Recovered, recover, take_over
from tests.processing.conftest import Broker
from tests.support.factories import make_user
from tests.support.origin import Answer, Origin
from tests.support.parallel import together, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]

OK = Answer(b"thanks")


@pytest.fixture(autouse=True)
def loopback(settings: Settings) -> Iterator[None]:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    sending.shared_client.cache_clear()
    yield
    sending.shared_client.cache_clear()


@pytest.fixture(autouse=True)
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test makes of this process ends with it."""
    monkeypatch.setattr(pipeline, "_current", None)


@pytest.fixture
def endpoint(origin: Origin) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(owner=make_user(), url=origin.add("/hook", OK))


@contextmanager
def worker_of(*queues: str) -> Iterator[None]:
    """A worker of these queues, of all if there are none."""
    worker = dramatiq.Worker(dramatiq.get_broker(), queues=set(queues), worker_threads=2, worker_timeout=50)
    worker.start()
    try:
        yield
    finally:
        worker.stop()


def is_delivered() -> bool:
    return not WebhookDelivery.objects.exclude(status=DeliveryStatus.DELIVERED).exists()


@pytest.mark.parametrize("queues", [[WEBHOOKS], []])
def test_a_message_is_taken_up_by_workers_of_the_queue_and_of_all(
    endpoint: WebhookEndpoint, queues: list[str]
) -> None:
    with worker_of(*queues):
        ping(endpoint)
        wait_until(is_delivered)


def test_workers_for_pictures_leave_deliveries_to_others(endpoint: WebhookEndpoint, broker: Broker) -> None:
    with worker_of(QUEUE):
        ping(endpoint)
        wait_until(Worker.objects.exists)
    assert set(broker.endpoints()) == {str(endpoint.pk)}
    assert WebhookDelivery.objects.get().attempts == []


def test_a_worker_that_only_delivers_is_none_for_pictures(endpoint: WebhookEndpoint) -> None:
    with worker_of(WEBHOOKS):
        ping(endpoint)
        wait_until(is_delivered)
        assert not Worker.objects.exists()
        assert not pipeline.is_worker()


def test_a_worker_that_only_delivers_finds_what_no_message_names(
    endpoint: WebhookEndpoint, broker: Broker
) -> None:
    ping(endpoint)
    broker.flush_all()
    with worker_of(WEBHOOKS):
        wait_until(is_delivered)


def test_how_far_pictures_have_come_says_no_delivery(
    endpoint: WebhookEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    monkeypatch.setattr(worker.Served, "begin", lambda self, timestamp: begun.append(timestamp))
    with worker_of():
        ping(endpoint)
        wait_until(is_delivered)
    assert begun == []


# --- Recovery ---


def lost(endpoint: WebhookEndpoint, broker: Broker) -> None:
    """A delivery that is due, without a message."""
    ping(endpoint)
    broker.flush_all()


def test_recovery_calls_each_endpoint_once_however_many_rounds_there_are(
    endpoint: WebhookEndpoint, broker: Broker
) -> None:
    for _ in range(3):
        lost(endpoint, broker)
    rounds = together([recover] * 4)
    assert sorted(one.endpoints_sent for one in rounds) == [0, 0, 0, 1]
    assert recover() == Recovered(0, 0, 0)
    assert broker.endpoints() == [str(endpoint.pk)]


@pytest.mark.parametrize(
    "change",
    [
        {"enabled": False},
        {"resume_at": timezone.now() + timedelta(hours=1)},
        {"leased_until": timezone.now() + timedelta(hours=1)},
    ],
)
def test_recovery_calls_nobody_who_cannot_be_delivered_to_now(
    endpoint: WebhookEndpoint, broker: Broker, change: dict[str, object]
) -> None:
    lost(endpoint, broker)
    WebhookEndpoint.objects.update(**change)
    assert recover() == Recovered(0, 0, 0)
    WebhookEndpoint.objects.update(enabled=True, resume_at=None, leased_until=timezone.now())
    assert recover() == Recovered(0, 0, 1)


def test_what_is_not_due_yet_is_not_called(endpoint: WebhookEndpoint, broker: Broker) -> None:
    lost(endpoint, broker)
    WebhookDelivery.objects.update(next_attempt_at=timezone.now() + timedelta(minutes=5))
    assert recover() == Recovered(0, 0, 0)


def test_who_takes_over_lets_go_of_what_a_dead_process_had_in_hand(
    endpoint: WebhookEndpoint, broker: Broker
) -> None:
    lost(endpoint, broker)
    later = timezone.now() + timedelta(hours=1)
    WebhookEndpoint.objects.update(leased_until=later, called_at=later)
    take_over()
    assert recover() == Recovered(0, 0, 1)
