"""The text of /metrics, read by Prometheus's own parser."""

from datetime import timedelta
from secrets import token_hex
from typing import Any

import dramatiq
import pytest
import redis
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from pytest import MonkeyPatch
from pytest_django import DjangoAssertNumQueries

from processing import measurements
from processing.webhooks.tasks import deliver
from processing.work.tasks import work
from processing.workers.models import Maintenance, Worker
from processing.workers.recovery import recover
from products import lifecycle
from products.accounts.models import ApiToken
from products.models import Image, Request
from tests.processing.conftest import Broker
from tests.support.batches import ingested, make_urls, settle, submitted
from tests.support.factories import client_of, make_user

pytestmark = pytest.mark.django_db(transaction=True)

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def scraper() -> Client:
    """Prometheus, with the token of a user who has no rights."""
    return Client(headers={"Authorization": f"Token {ApiToken.objects.issue(make_user('prometheus'))}"})


def scrape(client: Client) -> Values:
    """All values by name and labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.content.decode())
    samples = [sample for family in families for sample in family.samples]
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}


def value(values: Values, name: str, **labels: str) -> float:
    return values[f"imageextractor_{name}", frozenset(labels.items())]


def test_pictures_by_outcome_and_cause_and_their_bytes(scraper: Client) -> None:
    settle(ingested(*make_urls(4)), {1: "timeout", 2: "http_404", 3: "timeout"})
    lifecycle.cancel(ingested(*make_urls(2)))
    submitted(*make_urls(1))
    values = scrape(scraper)
    assert value(values, "images", status="completed") == 1
    assert value(values, "images", status="failed") == 3
    assert value(values, "images", status="canceled") == 2
    assert value(values, "images_failed", code="timeout") == 2
    assert value(values, "images_failed", code="http_404") == 1
    assert value(values, "requests", status="completed_with_errors") == 1
    assert value(values, "requests", status="canceled") == 1
    assert value(values, "requests", status="pending") == 1
    done = Image.objects.get(status="completed")
    assert value(values, "bytes", direction="in") == (done.source_bytes or 0)
    assert value(values, "bytes", direction="out") == (done.output_bytes or 0)


def test_pictures_that_are_left_out_do_not_wait(scraper: Client) -> None:
    batch = settle(ingested(*make_urls(3)), {1: "timeout", 2: "http_404"})
    assert lifecycle.set_ignored(batch, batch.images.all()) == 2
    values = scrape(scraper)
    assert value(values, "images", status="ignored") == 2
    assert value(values, "images", status="failed") == value(values, "images", status="pending") == 0


def test_the_oldest_picture_that_waits(scraper: Client) -> None:
    assert value(scrape(scraper), "oldest_waiting_image_seconds") == 0
    batch = ingested(*make_urls(3))
    now = timezone.now()
    for number, seconds in ((1, 100), (2, 50), (3, -100)):
        batch.images.filter(number=number).update(due_at=now - timedelta(seconds=seconds))
    assert 100 <= value(scrape(scraper), "oldest_waiting_image_seconds") < 200
    batch.images.filter(number=1).update(claimed_by=Worker.objects.create().pk)
    assert 50 <= value(scrape(scraper), "oldest_waiting_image_seconds") < 100


@pytest.mark.needs("Redis")
def test_what_is_in_the_queues(scraper: Client, broker: Broker) -> None:
    for _ in range(3):
        work.send("a", 1)
    work.send_with_options(args=("a", 1), delay=60_000)
    deliver.send("b")
    values = scrape(scraper)
    assert value(values, "queue_messages", queue="images", state="waiting") == 3
    assert value(values, "queue_messages", queue="images", state="delayed") == 1
    assert value(values, "queue_messages", queue="images", state="in_hand") == 0
    assert value(values, "queue_messages", queue="webhooks", state="waiting") == 1


@pytest.mark.needs("Redis")
def test_a_message_that_a_worker_has_taken_is_in_hand(scraper: Client, broker: Broker) -> None:
    work.send("a", 1)
    consumer = dramatiq.get_broker().consume("images", prefetch=1, timeout=5000)
    assert next(consumer) is not None
    values = scrape(scraper)
    assert value(values, "queue_messages", queue="images", state="in_hand") == 1
    assert value(values, "queue_messages", queue="images", state="waiting") == 0
    consumer.close()


@pytest.mark.needs("Redis")
def test_while_redis_is_down_the_rest_is_there(scraper: Client, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(dramatiq.get_broker(), "client", redis.Redis.from_url("redis://127.0.0.1:1/0"))
    values = scrape(scraper)
    assert value(values, "workers") == 0
    assert not any(name == "imageextractor_queue_messages" for name, _ in values)


def test_workers_and_what_recovery_has_sent_again(scraper: Client, broker: Broker) -> None:
    batch = ingested(*make_urls(1))
    type(batch).objects.update(dispatched_at=None)
    Worker.objects.create()
    recover()
    values = scrape(scraper)
    assert value(values, "workers") == 1
    assert value(values, "recovery_resends_total") == 1
    Maintenance.count_resent(2)
    assert value(scrape(scraper), "recovery_resends_total") == 3


def test_an_error_code_cannot_break_the_text(scraper: Client) -> None:
    settle(ingested(*make_urls(1)), {1: "timeout"})
    Image.objects.update(error_code='a"b\\c\nd')
    assert value(scrape(scraper), "images_failed", code='a"b\\c\nd') == 1


@pytest.mark.parametrize("bytes_source", [1_234_567, 10**15 + 1])
def test_a_value_is_exact_however_large(bytes_source: int, scraper: Client) -> None:
    settle(ingested(*make_urls(1)))
    Request.objects.update(bytes_source=bytes_source)
    assert value(scrape(scraper), "bytes", direction="in") == bytes_source


@pytest.mark.needs("Redis")
def test_the_measurements_of_workers_are_among_them(scraper: Client, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(measurements, "TOTALS_KEY", key := f"test:{token_hex(8)}")
    before = scrape(scraper)
    assert ("imageextractor_store_seconds_count", frozenset()) not in before
    measurements.observe_store(0.02)
    measurements.publish()
    after = scrape(scraper)
    broker: Any = dramatiq.get_broker()
    broker.client.delete(key)
    assert value(after, "store_seconds_count") >= 1
    assert value(after, "store_seconds_bucket", le="0.025") >= 1


def test_staff_and_tokens_see_them_and_nobody_else(scraper: Client, client: Client) -> None:
    assert client.get("/metrics").status_code == 401
    assert client_of(make_user("ann")).get("/metrics").status_code == 403
    assert client_of(make_user("bob", is_staff=True)).get("/metrics").status_code == 200
    answer: Any = scraper.get("/metrics", headers={"Accept": "text/plain;version=0.0.4"})
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain; version=0.0.4")


def test_it_asks_as_much_however_many_requests_there_are(
    scraper: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(5):
        ingested(*make_urls(2))
    with django_assert_max_num_queries(12):
        scrape(scraper)
