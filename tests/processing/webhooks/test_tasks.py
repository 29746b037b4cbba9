"""Messages: the workers that take them, and recovery of lost ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_network
from uuid import uuid4

import dramatiq
import pytest
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django import Settings

from processing.webhooks import delivery_attempt
from processing.webhooks.events import send_test_event
from processing.webhooks.models import DeliveryStatus, WebhookDelivery, WebhookEndpoint
from processing.webhooks.tasks import WEBHOOKS
from processing.work import pipeline
from processing.work.tasks import QUEUE
from processing.workers import worker
from processing.workers.models import Worker
from processing.workers.recovery import Recovered, recover, take_over
from tests.processing.conftest import Broker
from tests.support.batches import Gate
from tests.support.factories import make_user
from tests.support.names import Names
from tests.support.origin import Answer, Origin
from tests.support.parallel import together, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]

OK = Answer(b"thanks")


@pytest.fixture(autouse=True)
def loopback(settings: Settings) -> Iterator[None]:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    delivery_attempt.shared_transport.cache_clear()
    yield
    delivery_attempt.shared_transport.cache_clear()


@pytest.fixture(autouse=True)
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo at its end the role that a test gives this process."""
    monkeypatch.setattr(pipeline, "_current", None)


@pytest.fixture
def endpoint(origin: Origin) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(owner=make_user(), url=origin.add("/hook", OK))


@contextmanager
def worker_of(*queues: str, threads: int = 2) -> Iterator[None]:
    """Run a worker of these queues, or of all queues if none is given."""
    broker = dramatiq.get_broker()
    worker = dramatiq.Worker(broker, queues=set(queues), worker_threads=threads, worker_timeout=50)
    worker.start()
    try:
        yield
    finally:
        worker.stop()


def is_delivered() -> bool:
    return not WebhookDelivery.objects.exclude(status=DeliveryStatus.DELIVERED).exists()


@pytest.mark.needs("Redis")
@pytest.mark.parametrize("queues", [[WEBHOOKS], []])
def test_workers_of_the_queue_and_of_all_queues_deliver(endpoint: WebhookEndpoint, queues: list[str]) -> None:
    with worker_of(*queues):
        send_test_event(endpoint)
        wait_until(is_delivered)


@pytest.mark.needs("Redis")
def test_workers_for_pictures_do_not_deliver(endpoint: WebhookEndpoint, broker: Broker) -> None:
    with worker_of(QUEUE):
        send_test_event(endpoint)
        wait_until(Worker.objects.exists)
    assert set(broker.endpoints()) == {str(endpoint.pk)}
    assert WebhookDelivery.objects.get().attempts == []


@pytest.mark.needs("Redis")
def test_a_worker_of_webhooks_does_not_register_for_pictures(endpoint: WebhookEndpoint) -> None:
    with worker_of(WEBHOOKS):
        send_test_event(endpoint)
        wait_until(is_delivered)
        assert not Worker.objects.exists()
        assert not pipeline.is_worker()


@pytest.mark.needs("Redis")
def test_a_worker_of_webhooks_recovers_lost_messages(endpoint: WebhookEndpoint, broker: Broker) -> None:
    send_test_event(endpoint)
    broker.flush_all()
    with worker_of(WEBHOOKS):
        wait_until(is_delivered)


@pytest.mark.needs("Redis")
def test_deliveries_do_not_count_as_progress_of_the_picture_queue(
    endpoint: WebhookEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    monkeypatch.setattr(worker.QueueProgress, "begin", lambda self, timestamp: begun.append(timestamp))
    with worker_of():
        send_test_event(endpoint)
        wait_until(is_delivered)
    assert begun == []


@pytest.mark.needs("Redis")
def test_slow_receivers_of_one_user_do_not_keep_another_user_waiting(
    settings: Settings, origin: Origin, endpoint: WebhookEndpoint, gate: Gate, names: Names
) -> None:
    settings.WEBHOOK_TIMEOUT = 60
    bob = make_user("bob")
    origin.add("/slow", gate)
    for number in range(60):
        names[f"{number}.test"] = ["127.0.0.1"]
        url = origin.url("/slow", host=f"{number}.test")
        send_test_event(WebhookEndpoint.objects.create(owner=bob, url=url))
    send_test_event(endpoint)
    with worker_of(WEBHOOKS, threads=8):
        wait_until(lambda: endpoint.deliveries.get().status == DeliveryStatus.DELIVERED)
        assert WebhookDelivery.objects.pending().count() == 60
        gate.open()
        wait_until(is_delivered)


# --- Recovery ---


def lose_message(endpoint: WebhookEndpoint, broker: Broker) -> None:
    """Make a delivery due without a message."""
    send_test_event(endpoint)
    broker.flush_all()


def test_concurrent_recovery_enqueues_each_endpoint_once(endpoint: WebhookEndpoint, broker: Broker) -> None:
    for _ in range(3):
        lose_message(endpoint, broker)
    rounds = together([recover] * 4)
    assert sorted(one.endpoints_sent for one in rounds) == [0, 0, 0, 1]
    assert recover() == Recovered(0, 0, 0)
    assert broker.endpoints() == [str(endpoint.pk)]


@pytest.mark.parametrize(
    "change",
    [
        {"enabled": False},
        {"resume_at": timezone.now() + timedelta(hours=1)},
        {"leased_until": Now() + timedelta(seconds=10)},
    ],
)
def test_recovery_skips_endpoints_that_are_disabled_paused_or_leased(
    endpoint: WebhookEndpoint, broker: Broker, change: dict[str, object]
) -> None:
    lose_message(endpoint, broker)
    WebhookEndpoint.objects.update(**change)
    assert recover() == Recovered(0, 0, 0)
    WebhookEndpoint.objects.update(enabled=True, resume_at=None, leased_until=Now() - timedelta(seconds=1))
    assert recover() == Recovered(0, 0, 1)


def test_a_lease_is_by_the_clock_of_the_database(
    endpoint: WebhookEndpoint, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_message(endpoint, broker)
    assert WebhookEndpoint.objects.all().lease()
    an_hour_later = timezone.now() + timedelta(hours=1)
    monkeypatch.setattr("django.utils.timezone.now", lambda: an_hour_later)
    assert recover() == Recovered(0, 0, 0)


def test_a_lease_from_before_the_clock_of_the_database_was_set_back_is_none(
    endpoint: WebhookEndpoint, broker: Broker
) -> None:
    lose_message(endpoint, broker)
    WebhookEndpoint.objects.update(lease=uuid4(), leased_until=Now() + timedelta(hours=1))
    assert recover() == Recovered(0, 0, 1)


def test_recovery_skips_deliveries_that_are_not_due(endpoint: WebhookEndpoint, broker: Broker) -> None:
    lose_message(endpoint, broker)
    WebhookDelivery.objects.update(next_attempt_at=timezone.now() + timedelta(minutes=5))
    assert recover() == Recovered(0, 0, 0)


def test_taking_over_releases_leases_of_a_dead_process(endpoint: WebhookEndpoint, broker: Broker) -> None:
    lose_message(endpoint, broker)
    later = timezone.now() + timedelta(hours=1)
    WebhookEndpoint.objects.update(leased_until=later, enqueued_at=later)
    take_over()
    assert recover() == Recovered(0, 0, 1)
