import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from pytest import MonkeyPatch

from processing.storage.outputs import StorageError
from processing.work import attempt, lane, slots, tasks
from processing.work.claim import ClaimedImage, claim
from processing.work.lane import NextSlice
from processing.work.pipeline import Pipeline
from processing.work.tasks import dispatch
from products import lifecycle
from products.models import Image, Request
from tests.processing.conftest import Broker
from tests.support.batches import JPEG, Gate, chunk, completed, held, ingested, make_urls, settle, submitted
from tests.support.origin import Origin
from tests.support.parallel import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("small_pool")]

OTHER_WORKER = uuid.UUID("00000000-0000-4000-8000-000000000002")


@pytest.fixture
def endless(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "SLICE_SECONDS", 60)


def run_in_thread(batch: Request, pipeline: Pipeline) -> Thread:
    """Run a lane beside the test."""

    def run() -> None:
        lane.run(batch, pipeline)
        connection.close()

    thread = Thread(target=run)
    thread.start()
    return thread


def pictures(origin: Origin, count: int, *, prefix: str = "picture") -> list[str]:
    return [origin.add(f"/{prefix}/{number}.jpg", JPEG) for number in range(count)]


def test_a_lane_that_fails_runs_again_in_the_turn_of_its_owner(
    pipeline: Pipeline, broker: Broker, monkeypatch: MonkeyPatch
) -> None:
    def fail(*_: object) -> NextSlice:
        raise OperationalError

    batch = ingested("http://example.com/1.jpg")
    broker.flush_all()
    monkeypatch.setattr(lane, "run", fail)
    tasks.work.fn(str(batch.pk), batch.epoch)
    (message,) = broker._waiting(f"{tasks.QUEUE}.DQ")
    assert message.args == (str(batch.pk), batch.epoch)
    assert message.options["owner"] == batch.owner_id


# --- The number of lanes ---


@pytest.mark.parametrize(("pending", "lanes"), [(1, 1), (8, 1), (9, 2), (64, 8), (1000, 8)])
def test_a_request_has_as_many_lanes_as_pools_that_it_could_fill(
    pending: int, lanes: int, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "LANES", 8)  # as in a cluster
    batch = Request(products_total=1, ingested_rows=1, images_total=pending + 5, images_failed=5)
    assert lane.lanes_for(batch) == lanes


def test_a_request_that_is_still_ingested_has_all_its_lanes() -> None:
    assert lane.lanes_for(Request(products_total=2, ingested_rows=1, images_total=1)) == lane.LANES


# --- A slice ---


def test_one_lane_is_enough_for_the_whole_work(pipeline: Pipeline, origin: Origin, endless: None) -> None:
    batch = ingested(*pictures(origin, 60))
    lane.run(batch, pipeline)
    wait_until(lambda: completed(batch) == 60)
    batch.refresh_from_db()
    assert batch.status == Request.Status.COMPLETED
    assert lane.run(batch, pipeline) is None


def test_a_lane_frees_its_thread_after_a_slice_while_pictures_are_still_held(
    pipeline: Pipeline, origin: Origin, gate: Gate, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "SLICE_SECONDS", 0.3)
    batch = ingested(*[origin.add(f"/{number}.jpg", gate) for number in range(40)])
    assert lane.run(batch, pipeline) == NextSlice(0)
    assert 8 <= held() <= 16


def test_a_lane_claims_no_more_images_than_there_are_slots(
    pipeline: Pipeline, origin: Origin, gate: Gate, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "SLICE_SECONDS", 0.3)
    pipeline.slots.per_host = 100
    batch = ingested(*[origin.add(f"/{number}.jpg", gate) for number in range(40)])
    lane.run(batch, pipeline)
    lane.run(batch, pipeline)
    assert held() == 16


def test_a_lane_claims_nothing_once_the_worker_stops(pipeline: Pipeline) -> None:
    batch = ingested(*make_urls(3))
    pipeline.stop()
    assert lane.run(batch, pipeline) == NextSlice(0)
    assert held() == 0


def test_images_claimed_while_the_worker_stops_are_released(pipeline: Pipeline) -> None:
    batch = ingested(*make_urls(3))
    images = claim(batch, pipeline.worker_id, 3)
    pipeline.stop()
    pipeline.submit(batch, images)
    assert held() == 0


def test_while_storage_takes_nothing_one_picture_at_a_time_tries_it(
    pipeline: Pipeline, origin: Origin, monkeypatch: MonkeyPatch
) -> None:
    def refuse(data: bytes, extension: str, name: str) -> str:
        raise StorageError("No space left on device")

    monkeypatch.setattr(lane, "SLICE_SECONDS", 0.1)
    monkeypatch.setattr(slots, "FIRST_CLAIM_PAUSE_SECONDS", 0.3)
    monkeypatch.setattr(slots, "MAX_CLAIM_PAUSE_SECONDS", 0.3)
    batch = ingested(*pictures(origin, 60))

    def fetched(at_least: int) -> int:
        while len(origin.received) < at_least:
            lane.run(batch, pipeline)
        wait_until(lambda: not held())
        return len(origin.received)

    with monkeypatch.context() as patch:
        patch.setattr(attempt, "store", refuse)
        at_first = fetched(8)
        assert at_first <= 16
        assert fetched(at_first + 1) == at_first + 1
        assert fetched(at_first + 2) == at_first + 2
        assert {image.error_code for image in batch.images.all()} == {"storage", ""}
    batch.images.update(due_at=timezone.now())
    fetched(60 + at_first + 2)
    assert completed(batch) == 60


def test_a_lane_does_not_repeat_a_claim_that_found_only_images_of_busy_hosts(
    pipeline: Pipeline, origin: Origin, monkeypatch: MonkeyPatch
) -> None:
    empty: list[list[str]] = []

    def claim_and_note(*arguments: Any) -> list[ClaimedImage]:
        images = claim(*arguments)
        *_, busy = arguments
        # At the end there is nothing to claim, however often a lane looks.
        if busy and not images and Image.objects.due().filter(request=batch).exists():
            empty.append(busy)
        return images

    monkeypatch.setattr(lane, "SLICE_SECONDS", 0.2)
    monkeypatch.setattr(lane, "EMPTY_CLAIM_BACKOFF_FACTOR", 10_000)
    monkeypatch.setattr(lane, "claim", claim_and_note)
    batch = ingested(*pictures(origin, 100))
    while completed(batch) < 100:
        lane.run(batch, pipeline)
    assert len(empty) == 1


# --- Nothing to do ---


@pytest.mark.parametrize("forwards", range(lane.MAX_FORWARDS + 1))
def test_a_lane_does_not_wait_for_another_that_feeds_this_process(
    forwards: int, pipeline: Pipeline, origin: Origin, endless: None, gate: Gate
) -> None:
    batch = ingested(*[origin.add(f"/{number}.jpg", gate) for number in range(40)])
    first = run_in_thread(batch, pipeline)
    wait_until(lambda: gate.waiting == 4)
    following = lane.run(batch, pipeline, forwards)
    pipeline.stop()
    first.join(100)
    if forwards < lane.MAX_FORWARDS:
        assert following == NextSlice(0, forwards + 1)
    else:
        assert following == NextSlice(lane.SLICE_SECONDS)


@pytest.mark.parametrize(("due_in", "delay"), [(20, 20), (3600, 60)])
def test_a_lane_with_nothing_due_comes_back_when_something_is(
    due_in: float, delay: float, pipeline: Pipeline, monkeypatch: MonkeyPatch
) -> None:
    batch = ingested(*make_urls(3))
    claim(batch, OTHER_WORKER, 1)
    now = timezone.now()
    batch.images.filter(number=2).update(due_at=now + timedelta(seconds=due_in))
    batch.images.filter(number=3).update(due_at=now + timedelta(hours=3))
    clock = SimpleNamespace(time=now.timestamp, monotonic=time.monotonic)
    monkeypatch.setattr(lane, "time", clock)  # it stands still, however long the claim takes
    following = lane.run(batch, pipeline)
    assert following is not None
    assert following.delay_seconds == pytest.approx(delay)
    assert held() == 1


def test_a_lane_whose_images_are_all_claimed_comes_back_soon(pipeline: Pipeline) -> None:
    batch = ingested(*make_urls(2))
    claim(batch, OTHER_WORKER, 2)
    assert lane.run(batch, pipeline) == NextSlice(lane.IDLE_SECONDS)


def test_a_lane_waits_for_a_request_that_is_still_ingested(pipeline: Pipeline) -> None:
    batch = submitted(*make_urls(2))
    lifecycle.ingest_chunk(batch, chunk(batch, 0, 1))
    assert settle(batch).images_pending == 0
    assert lane.run(batch, pipeline) == NextSlice(lane.IDLE_SECONDS)


@pytest.mark.parametrize("end", [dispatch, lifecycle.cancel, lifecycle.delete, settle])
def test_a_lane_ends_with_its_epoch(end: Callable[[Request], object], pipeline: Pipeline) -> None:
    batch = ingested(*make_urls(2))
    end(Request.objects.get(pk=batch.pk))
    assert lane.run(batch, pipeline) is None
    assert held() == 0


# --- Several ---


def test_a_small_request_gets_its_turn_while_a_large_one_could_fill_all_slots(
    pipeline: Pipeline, origin: Origin, endless: None, gate: Gate
) -> None:
    pipeline.slots.per_host = 100
    large, small = (
        ingested(*[origin.add(f"/{count}/{number}.jpg", gate) for number in range(count)])
        for count in (100, 10)
    )
    lanes = [run_in_thread(large, pipeline)]
    wait_until(lambda: held() == 16)
    lanes.append(run_in_thread(small, pipeline))
    wait_until(lambda: len(pipeline._waiting_lanes) == 2)
    gate.let_through(16)  # one claim is for 8 Images at most
    wait_until(lambda: small.images.due().count() < 10)
    assert large.images.due().exists()

    pipeline.stop()
    for thread in lanes:
        thread.join(100)


def test_a_slow_host_at_the_head_of_a_catalogue_idles_no_other(
    pipeline: Pipeline, origin: Origin, endless: None, gate: Gate
) -> None:
    slow = [origin.add(f"/slow/{number}.jpg", gate) for number in range(40)]
    with Origin() as other:
        batch = ingested(*slow, *pictures(other, 20))
        threads = [run_in_thread(batch, pipeline) for _ in range(3)]
        wait_until(lambda: completed(batch) == 20)
        gate.open()
        wait_until(lambda: completed(batch) == 60)
        for thread in threads:
            thread.join(100)
