import uuid
from datetime import timedelta
from unittest.mock import ANY

import dramatiq
import pytest
import redis
from django.core.management import call_command
from django.utils import timezone
from pytest import CaptureFixture, MonkeyPatch

from processing.timing import DEAD_AFTER, MESSAGE_LOST_AFTER
from processing.work import ingest as ingestion
from processing.work.claim import claim
from processing.work.lane import LANES
from processing.work.pipeline import Pipeline
from processing.workers.models import Worker
from processing.workers.recovery import Recovered, recover, take_over
from products import lifecycle
from products.models import Request
from tests.processing.conftest import Broker
from tests.support.batches import complete, ingested, make_urls, settle, submitted
from tests.support.parallel import together

pytestmark = pytest.mark.django_db(transaction=True)

URL = "http://shop.example/1.jpg"
LONG_AGO = MESSAGE_LOST_AFTER + timedelta(seconds=1)
EVERYTHING_SENT = Recovered(0, 0, 0)


def living_worker() -> Worker:
    return Worker.objects.create()


def dead_worker() -> Worker:
    return Worker.objects.create(seen_at=timezone.now() - DEAD_AFTER - timedelta(seconds=1))


def silent(batch: Request) -> Request:
    """As if its messages had been sent long ago, nothing had come in since, and a worker were idle."""
    long_ago = timezone.now() - LONG_AGO
    Worker.objects.get_or_create(host="idle", defaults={"served_until": timezone.now()})
    Request.objects.filter(pk=batch.pk).update(dispatched_at=long_ago)
    Request.objects.filter(pk=batch.pk).exclude(last_progress_at=None).update(last_progress_at=long_ago)
    batch.refresh_from_db()
    return batch


# --- Workers ---


def test_images_of_a_dead_worker_are_released_and_counted_as_crashes() -> None:
    batch = ingested(*make_urls(5))
    living, dead = living_worker(), dead_worker()
    claim(batch, living.pk, 2)
    claim(batch, dead.pk, 2)
    assert recover() == Recovered(2, 0, 0)
    rows = batch.images.values_list("claimed_by", "crashes", "attempts", "status")
    assert list(rows) == [
        *[(living.pk, 0, 0, "pending")] * 2,
        *[(None, 1, 0, "pending")] * 2,
        (None, 0, 0, "pending"),
    ]
    assert list(Worker.objects.all()) == [living]


@pytest.mark.usefixtures("no_worker")
def test_a_process_that_was_stopped_does_not_count_itself_dead(
    pipeline: Pipeline, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr("processing.work.pipeline._current", pipeline)
    batch = ingested(*make_urls(2))
    me = Worker.objects.create(pk=pipeline.worker_id, seen_at=timezone.now() - 2 * DEAD_AFTER)
    claim(batch, me.pk, 2)
    assert recover() == EVERYTHING_SENT
    assert Worker.objects.get() == me
    assert set(batch.images.values_list("claimed_by", "crashes")) == {(me.pk, 0)}


def test_images_of_a_worker_without_a_row_are_released() -> None:
    batch = ingested(*make_urls(1))
    claim(batch, uuid.uuid4(), 1)
    assert recover() == Recovered(1, 0, 0)


def test_a_worker_taken_for_dead_loses_its_claims_but_not_its_row() -> None:
    batch = ingested(*make_urls(1))
    worker = dead_worker()
    images = claim(batch, worker.pk, 1)
    recover()
    worker.beat()
    assert Worker.objects.alive().get() == worker
    assert lifecycle.record(batch.pk, [complete(image) for image in images], worker.pk) == []


# --- Messages ---


def test_lost_lanes_are_sent_again_in_a_new_epoch(broker: Broker) -> None:
    batch = silent(ingested(*make_urls(3)))
    epoch = batch.epoch
    broker.flush_all()
    assert recover() == Recovered(0, 1, 0)
    batch.refresh_from_db()
    assert batch.epoch == epoch + 1
    assert broker.messages() == [("work", str(batch.pk), epoch + 1)]
    assert recover() == EVERYTHING_SENT


def test_a_lost_ingest_is_sent_again_in_a_new_epoch(broker: Broker) -> None:
    batch = silent(submitted(*make_urls(3)))
    broker.flush_all()
    assert recover() == Recovered(0, 1, 0)
    assert broker.messages() == [("ingest", str(batch.pk), batch.epoch + 1)]


def test_an_ingest_that_stopped_half_way_is_sent_again_with_its_lanes(
    broker: Broker, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestion, "CHUNK_ROWS", 2)
    batch = submitted(*make_urls(5))
    next(ingestion.run(batch))
    silent(batch)
    broker.flush_all()
    assert recover() == Recovered(0, 1, 0)
    assert broker.counts() == {"ingest": 1, "work": LANES}


def test_nothing_is_sent_for_requests_that_are_worked_on(broker: Broker) -> None:
    silent(settle(ingested(*make_urls(1))))  # is finished
    ingested(*make_urls(1))  # its messages are fresh
    claim(silent(ingested(*make_urls(2))), living_worker().pk, 1)  # an image is claimed
    waiting = silent(ingested(*make_urls(2)))
    waiting.images.update(due_at=timezone.now() + timedelta(minutes=5))
    ingesting = silent(submitted(*make_urls(1)))
    Request.objects.filter(pk=ingesting.pk).update(last_progress_at=timezone.now())
    broker.flush_all()
    assert recover() == EVERYTHING_SENT
    assert broker.messages() == []


def test_what_a_dead_worker_left_is_sent_again_in_the_same_round(broker: Broker) -> None:
    batch = silent(ingested(*make_urls(2)))
    claim(batch, dead_worker().pk, 2)
    broker.flush_all()
    assert recover() == Recovered(2, 1, 0)
    assert broker.counts() == {"work": 1}


def test_an_ingest_that_a_dead_worker_may_have_had_is_sent_again_at_once(
    broker: Broker, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestion, "CHUNK_ROWS", 2)
    batch = submitted(*make_urls(5))
    next(ingestion.run(batch))
    ingested(*make_urls(1))  # has nothing left to ingest
    dead_worker()
    broker.flush_all()
    assert recover() == Recovered(0, 1, 0)
    assert broker.counts() == {"ingest": 1, "work": LANES}
    assert recover() == EVERYTHING_SENT


def test_who_has_waited_longest_is_sent_first(broker: Broker) -> None:
    new, stopped, moved = silent(submitted(URL)), silent(ingested(URL)), silent(ingested(URL))
    longer_ago = timezone.now() - 2 * LONG_AGO
    Request.objects.filter(pk=stopped.pk).update(last_progress_at=longer_ago)
    recover()
    assert list(Request.objects.order_by("dispatched_at")) == [new, stopped, moved]


def test_two_recoveries_at_the_same_time_send_once(broker: Broker) -> None:
    for _ in range(5):
        silent(ingested(*make_urls(2)))
    broker.flush_all()
    assert sum(done.requests_sent for done in together([recover] * 4)) == 5
    assert broker.counts() == {"work": 5}


def test_messages_do_not_pile_up_however_often_recovery_runs(broker: Broker) -> None:
    batch = silent(ingested(*make_urls(200)))
    broker.flush_all()
    for _ in range(10):
        recover()
    assert broker.counts() == {"work": 1}
    batch.refresh_from_db()
    assert {epoch for _, _, epoch in broker.messages()} == {batch.epoch}


def test_messages_that_no_worker_has_come_to_are_waited_for(broker: Broker) -> None:
    batch = silent(ingested(*make_urls(1000)))
    sent_at = batch.dispatched_at
    assert sent_at
    Worker.objects.update(served_until=sent_at + MESSAGE_LOST_AFTER)  # as far as it has come in a long queue
    broker.flush_all()
    for _ in range(10):
        assert recover() == EVERYTHING_SENT
    assert broker.messages() == []


def test_where_no_worker_lives_nothing_counts_as_lost(broker: Broker) -> None:
    silent(ingested(*make_urls(1)))
    Worker.objects.all().delete()
    assert recover() == EVERYTHING_SENT


def test_what_a_broker_that_is_down_did_not_take_is_sent_in_the_next_round(
    broker: Broker, monkeypatch: MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise redis.ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(dramatiq.get_broker(), "enqueue", refuse)
        batch = submitted(*make_urls(1))
        recover()
    assert broker.messages() == []
    assert recover() == Recovered(0, 1, 0)
    assert broker.counts() == {"ingest": 1}
    assert Request.objects.get().epoch == batch.epoch + 2


def test_the_command_says_what_it_has_done(capsys: CaptureFixture[str]) -> None:
    batch = silent(ingested(*make_urls(3)))
    claim(batch, dead_worker().pk, 3)
    call_command("recover")
    assert (
        capsys.readouterr().out
        == "images released: 3, requests sent again: 1, webhook endpoints enqueued: 0\n"
    )


# --- Taking over ---


def test_who_takes_over_counts_all_others_dead_and_all_messages_lost(broker: Broker) -> None:
    batch = ingested(*make_urls(2))
    fresh = submitted(*make_urls(1))
    claim(batch, living_worker().pk, 2)
    broker.flush_all()
    take_over()
    assert recover() == Recovered(2, 2, 0)
    assert sorted(broker.messages()) == [("ingest", str(fresh.pk), ANY), ("work", str(batch.pk), ANY)]
    assert recover() == EVERYTHING_SENT
