import logging
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Event, Thread
from threading import enumerate as living_threads

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from pytest import LogCaptureFixture, MonkeyPatch
from pytest_django import DjangoCaptureOnCommitCallbacks

from processing import runtime
from processing.timing import DEAD_AFTER
from processing.work import ingest as ingestion
from processing.work import lane, pipeline, tasks
from processing.work.claim import claim
from processing.work.pipeline import Pipeline
from processing.workers import worker
from processing.workers.models import Worker
from processing.workers.worker import Heartbeat, QueueProgress
from products import lifecycle
from products.models import Image, Request
from tests.processing.conftest import Broker, dramatiq_worker
from tests.support.batches import JPEG, Gate, completed, held, ingested, make_urls, settle, submitted
from tests.support.origin import Origin
from tests.support.parallel import together, wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("broker", "no_worker", "small_pool"),
]


@pytest.fixture
def working(pipeline: Pipeline, monkeypatch: MonkeyPatch) -> Pipeline:
    """This process as a worker's, without threads that consume messages."""
    monkeypatch.setattr("processing.work.pipeline._current", pipeline)
    return pipeline


def errors(caplog: LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


# --- Messages ---


@pytest.mark.django_db
def test_messages_are_sent_when_the_transaction_is_over_and_not_before(
    broker: Broker, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        batch = submitted(*make_urls(1))
        assert broker.messages() == []
    assert broker.messages() == [("ingest", str(batch.pk), 1)]


def test_no_message_is_sent_for_what_is_rolled_back(broker: Broker) -> None:
    with pytest.raises(ArithmeticError), transaction.atomic():
        submitted(*make_urls(1))
        raise ArithmeticError
    assert broker.messages() == []


def test_a_retry_sends_lanes_in_a_new_epoch(broker: Broker) -> None:
    batch = settle(ingested(*make_urls(3)), {1: "timeout"})
    broker.flush_all()
    before = batch.epoch
    lifecycle.retry(batch)
    batch.refresh_from_db()
    assert batch.epoch > before
    assert broker.messages() == [("work", str(batch.pk), batch.epoch)]


def test_only_one_of_two_that_dispatch_a_request_does(broker: Broker) -> None:
    batch = ingested(*make_urls(1))
    rival = Request.objects.get()
    broker.flush_all()
    assert tasks.dispatch(batch)
    assert not tasks.dispatch(rival)
    assert broker.counts() == {"work": 1}


@pytest.mark.parametrize(("running", "counts"), [(True, {"ingest": 1}), (False, {})])
def test_embedded_messages_are_sent_only_in_the_process_that_works(
    running: bool, counts: dict[str, int], broker: Broker, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "current", runtime.Embedded())
    monkeypatch.setattr(pipeline, "is_worker", lambda: running)
    submitted(*make_urls(1))
    assert broker.counts() == counts


# --- The actors ---


def test_messages_of_another_epoch_are_void(broker: Broker, working: Pipeline) -> None:
    fresh, batch = submitted(*make_urls(1)), ingested(*make_urls(1))
    broker.flush_all()
    for epoch in (0, 2):
        tasks.ingest.fn(str(fresh.pk), epoch)
        tasks.work.fn(str(batch.pk), epoch)
    assert broker.messages() == []
    fresh.refresh_from_db()
    assert (fresh.ingested_rows, held()) == (0, 0)


@pytest.mark.parametrize("end", [lifecycle.cancel, lifecycle.delete, settle])
def test_messages_for_requests_that_have_ended_are_void(
    end: Callable[[Request], object], broker: Broker, working: Pipeline
) -> None:
    batch = ingested(*make_urls(1))
    message = (str(batch.pk), batch.epoch)
    end(batch)
    broker.flush_all()
    tasks.ingest.fn(*message)
    tasks.work.fn(*message)
    assert broker.messages() == []


def test_an_ingest_starts_the_lanes_with_its_first_chunk_and_goes_on_behind_others(
    broker: Broker, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "INGEST_SECONDS", 0)
    monkeypatch.setattr(ingestion, "CHUNK_ROWS", 2)
    batch = submitted(*make_urls(5))
    sent = []
    while not Request.objects.get().ingested:
        broker.flush_all()
        tasks.ingest.fn(str(batch.pk), 1)
        sent.append(broker.counts())
    assert sent == [{"work": lane.LANES, "ingest": 1}, {"ingest": 1}, {}]
    assert Image.objects.count() == 5


def test_an_ingest_that_another_one_has_overtaken_sends_nothing(
    broker: Broker, monkeypatch: MonkeyPatch
) -> None:
    batch = submitted(*make_urls(5))
    broker.flush_all()
    monkeypatch.setattr(ingestion, "ingest_chunk", lambda *_: False)
    tasks.ingest.fn(str(batch.pk), 1)
    assert broker.messages() == []


def test_an_ingest_that_stumbles_is_left_to_recovery(
    broker: Broker, monkeypatch: MonkeyPatch, caplog: LogCaptureFixture
) -> None:
    batch = submitted(*make_urls(1))
    broker.flush_all()
    monkeypatch.setattr(ingestion, "ingest_chunk", lambda *_: 1 / 0)
    tasks.ingest.fn(str(batch.pk), 1)
    assert broker.messages() == []
    assert "ZeroDivisionError" in caplog.text


def test_a_lane_goes_to_the_end_of_the_queue_after_its_slice(
    broker: Broker, working: Pipeline, origin: Origin, gate: Gate, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "SLICE_SECONDS", 0.2)
    batch = ingested(*[origin.add(f"/{number}.jpg", gate) for number in range(40)])
    broker.flush_all()
    tasks.work.fn(str(batch.pk), batch.epoch)
    assert broker.messages() == [("work", str(batch.pk), batch.epoch)]
    assert broker.delayed() == []


def test_a_lane_with_nothing_to_do_comes_back_later(broker: Broker, working: Pipeline) -> None:
    batch = ingested(*make_urls(1))
    batch.images.update(due_at=timezone.now() + timedelta(seconds=30))
    broker.flush_all()
    tasks.work.fn(str(batch.pk), batch.epoch)
    assert broker.messages() == broker.delayed() == [("work", str(batch.pk), batch.epoch)]


def test_a_lane_that_stumbles_goes_on(
    broker: Broker, working: Pipeline, monkeypatch: MonkeyPatch, caplog: LogCaptureFixture
) -> None:
    batch = ingested(*make_urls(1))
    broker.flush_all()
    monkeypatch.setattr(lane, "run", lambda *_: 1 / 0)
    tasks.work.fn(str(batch.pk), batch.epoch)
    assert broker.delayed() == [("work", str(batch.pk), batch.epoch)]
    assert "ZeroDivisionError" in caplog.text


# --- The process ---


@pytest.mark.needs("Redis")
def test_a_worker_takes_a_request_from_its_upload_to_its_end(
    broker: Broker, origin: Origin, caplog: LogCaptureFixture
) -> None:
    with dramatiq_worker():
        batch = submitted(
            *[origin.add(f"/{number}.jpg", JPEG) for number in range(30)], origin.url("/no.jpg")
        )
        wait_until(lambda: not Request.objects.active().exists())
        assert Worker.objects.alive().count() == 1
    batch.refresh_from_db()
    assert (batch.status, batch.images_completed, batch.images_failed) == ("completed_with_errors", 30, 1)
    assert not Worker.objects.exists()
    assert errors(caplog) == []


@pytest.mark.needs("Redis")
def test_a_worker_that_finds_messages_at_its_start_is_ready_for_them(
    broker: Broker, origin: Origin, caplog: LogCaptureFixture, monkeypatch: MonkeyPatch
) -> None:
    start, there_before = pipeline.start, {*living_threads()}
    early: set[Thread] = set()

    def start_and_note(worker_id: uuid.UUID) -> Pipeline:
        early.update({*living_threads()} - there_before)
        return start(worker_id)

    monkeypatch.setattr(pipeline, "start", start_and_note)
    batch = ingested(*[origin.add(f"/{number}.jpg", JPEG) for number in range(10)])
    tasks.send_lanes(batch)
    with dramatiq_worker():
        wait_until(lambda: completed(batch) == 10)
    assert not [thread for thread in early if type(thread).__module__ == "dramatiq.worker"]
    assert errors(caplog) == []


@pytest.mark.needs("Redis")
def test_a_worker_that_is_stopped_gives_its_pictures_back_and_the_next_one_goes_on(
    broker: Broker, origin: Origin, gate: Gate, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "GRACE_SECONDS", 0.2)
    batch = submitted(*[origin.add(f"/{number}.jpg", gate) for number in range(30)])
    with dramatiq_worker():
        wait_until(lambda: gate.waiting == 4)
    assert held() == 0
    assert not Worker.objects.exists()
    rows = batch.images.values_list("status", "attempts", "crashes").distinct()
    assert list(rows.order_by()) == [("pending", 0, 0)]

    gate.open()
    with dramatiq_worker():
        wait_until(lambda: completed(batch) == 30)


@pytest.mark.needs("Redis")
def test_a_worker_recovers_at_its_start_what_others_have_lost(broker: Broker, origin: Origin) -> None:
    dead = Worker.objects.create(seen_at=timezone.now() - DEAD_AFTER)
    batch = ingested(*[origin.add(f"/{number}.jpg", JPEG) for number in range(5)])
    claim(batch, dead.pk, 3)
    Request.objects.update(dispatched_at=timezone.now() - timedelta(minutes=2))
    broker.flush_all()
    with dramatiq_worker():
        wait_until(lambda: completed(batch) == 5)
    assert batch.images.filter(crashes=1).count() == 3


@pytest.mark.needs("Redis")
def test_a_worker_whose_claims_cannot_be_released_stops_all_the_same(
    broker: Broker, monkeypatch: MonkeyPatch, caplog: LogCaptureFixture
) -> None:
    def fail(pipeline: Pipeline) -> None:
        raise OperationalError

    with dramatiq_worker():
        monkeypatch.setattr(Pipeline, "stop", fail)
    assert "OperationalError" in caplog.text
    assert not Worker.objects.exists()


# --- The heart ---


def test_a_heart_beats_until_it_is_stopped(working: Pipeline, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "HEARTBEAT", timedelta(0))
    heart = Heartbeat(Worker(), QueueProgress(1, oldest=lambda: None))
    heart.start()
    wait_until(Worker.objects.exists)
    first = Worker.objects.get().seen_at
    wait_until(lambda: Worker.objects.get().seen_at > first)
    heart.stop()
    assert not Worker.objects.exists()


def test_a_heart_goes_on_when_the_database_was_away(
    working: Pipeline, monkeypatch: MonkeyPatch, caplog: LogCaptureFixture
) -> None:
    beat = Worker.beat
    failures = iter([OperationalError("The server is starting up.")])

    def stumble(row: Worker, served_until: datetime | None) -> None:
        for failure in failures:
            raise failure
        beat(row, served_until)

    monkeypatch.setattr(Worker, "beat", stumble)
    heart = Heartbeat(Worker(), QueueProgress(1, oldest=lambda: None))
    heart.start()
    wait_until(Worker.objects.exists)
    heart.stop()
    assert "The server is starting up." in caplog.text


def test_a_heart_beats_on_while_recovery_hangs(working: Pipeline, monkeypatch: MonkeyPatch) -> None:
    """As it does while it sends, message by message, to a broker that does not answer."""
    hanging, released = Event(), Event()

    def hang() -> None:
        hanging.set()
        released.wait(60)

    monkeypatch.setattr(worker, "HEARTBEAT", timedelta(0))
    monkeypatch.setattr(worker, "recover", hang)
    heart = Heartbeat(Worker(), QueueProgress(1, oldest=lambda: None))
    heart.start()
    assert hanging.wait(60)
    seen_at = Worker.objects.get().seen_at
    wait_until(lambda: Worker.objects.get().seen_at > seen_at)
    released.set()
    heart.stop()


def test_recovery_runs_again_and_again(working: Pipeline, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "RECOVERY_EVERY", timedelta(0))
    batch = ingested(*make_urls(2))
    heart = Heartbeat(Worker(), QueueProgress(1, oldest=lambda: None))
    heart.start()
    wait_until(Worker.objects.exists)
    for _ in range(2):
        claim(batch, uuid.uuid4(), 2)
        wait_until(lambda: held() == 0)
    assert list(batch.images.values_list("crashes", flat=True)) == [2, 2]
    heart.stop()


def test_on_sqlite_recovery_runs_when_something_was_written_or_time_has_passed(
    monkeypatch: MonkeyPatch,
) -> None:
    rounds: list[bool] = []
    monkeypatch.setattr(worker, "recover", lambda: rounds.append(True))
    recovery = worker.RecoveryRounds()
    versions = iter([1, 1, 2, 2, 2, None, None])
    monkeypatch.setattr(worker, "_data_version", lambda: next(versions))
    done = []
    for number in range(7):
        recovery._due_at -= 3600 if number == 4 else 0
        recovery._recover_if_needed()
        done.append(len(rounds))
    assert done == [1, 1, 2, 2, 3, 4, 5]


def test_a_round_of_recovery_that_failed_is_made_again(monkeypatch: MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError

    monkeypatch.setattr(worker, "_data_version", lambda: 1)
    recovery = worker.RecoveryRounds()
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(worker, "recover", fail)
        recovery._recover_if_needed()
    rounds: list[bool] = []
    monkeypatch.setattr(worker, "recover", lambda: rounds.append(True))
    recovery._recover_if_needed()
    assert rounds == [True]


def test_what_another_connection_writes_changes_the_version_of_sqlite() -> None:
    version = worker._data_version()
    assert worker._data_version() == version
    together([Worker().beat])
    is_changed = worker._data_version() != version
    assert is_changed == (connection.vendor == "sqlite")


def test_a_worker_does_not_know_how_far_the_queue_is_after_a_clock_was_set_back() -> None:
    """Otherwise recovery would take every message for lost, again and again."""
    now = timezone.now()
    progress = QueueProgress(1, oldest=lambda: None)
    progress.begin(round((now + timedelta(hours=1)).timestamp() * 1000))
    assert progress.until() is None
    progress.end()
    progress.begin(round(now.timestamp() * 1000))
    until = progress.until()
    assert until is not None
    assert abs(until - now) < timedelta(milliseconds=1)
