"""Recording the outcomes of attempts, and the end of a Request that follows from them."""

import uuid
from collections.abc import Callable
from dataclasses import replace

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from processing.work.claim import release
from products import lifecycle
from products.lifecycle import Outcome
from products.lifecycle.signals import request_finished
from products.models import Image, Request
from tests.support.batches import (
    OTHER_WORKER,
    WORKER,
    chunk,
    claimed,
    complete,
    counters,
    fail,
    make_urls,
    settle,
    submitted,
    working,
)

pytestmark = pytest.mark.django_db

Status = Request.Status


def took_over(outcome: Outcome, source: Image) -> Outcome:
    """Return the completed outcome as if its output were that of `source`."""
    return replace(outcome, output_key=source.output_key, taken_from=source.pk, unchanged=True)


def facts(image: Image, of: str) -> tuple[object, ...]:
    """Return the stored facts of the `source` or the `output`."""
    return tuple(getattr(image, f"{of}_{name}") for name in ("bytes", "width", "height", "format"))


# --- Outcomes ---


def plans_of(queries: CaptureQueriesContext) -> list[str]:
    """Return how the database finds Images in each of the SELECTs."""
    explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    plans = []
    with connection.cursor() as cursor:
        for query in queries:
            if '"products_image"' in query["sql"] and query["sql"].startswith("SELECT"):
                cursor.execute(f"{explain} {query['sql']}")
                plans += [row[-1] for row in cursor.fetchall()]
    return plans


def test_a_flush_reads_no_more_rows_than_it_writes() -> None:
    """Without statistics, as in a new database."""
    batch = working(3)
    outcomes = [complete(image) for image in claimed(batch)]
    with CaptureQueriesContext(connection) as queries:
        lifecycle.record(batch.pk, outcomes, WORKER)
    plans = [plan for plan in plans_of(queries) if "products_image" in plan]
    assert plans
    if connection.vendor == "sqlite":
        assert all("(id=?)" in plan or "(claimed_by=?)" in plan for plan in plans), plans


def test_recorded_outcomes_are_stored_and_counted() -> None:
    batch = working(4)
    done, failed, later, _ = claimed(batch)
    outcomes = [
        complete(done),
        Outcome.failed(failed.id, 5, "timeout", "shop.example took longer than 30 seconds."),
        Outcome.postponed(later.id, 1, 5, "http_503", "shop.example answered 503."),
    ]
    assert lifecycle.record(batch.pk, outcomes, WORKER) == outcomes

    stored = {image.number: image for image in batch.images.all()}
    assert (stored[1].status, stored[1].output_key) == ("completed", outcomes[0].output_key)
    assert (stored[1].attempts, stored[1].settled_at) == (1, outcomes[0].settled_at)
    assert facts(stored[1], "source") == (1000, 40, 30, "png")
    assert facts(stored[1], "output") == (400, 40, 30, "jpeg")
    assert (stored[2].status, stored[2].error_code, stored[2].attempts) == ("failed", "timeout", 5)
    assert stored[2].error_detail == "shop.example took longer than 30 seconds."
    assert stored[2].settled_at == outcomes[1].settled_at
    assert facts(stored[2], "source") == facts(stored[2], "output") == (None, None, None, "")
    assert (stored[3].status, stored[3].error_code, stored[3].attempts) == ("pending", "http_503", 1)
    assert (stored[3].due_at, stored[3].settled_at) == (outcomes[2].due_at, None)
    assert outcomes[2].due_at > timezone.now()
    assert [stored[number].claimed_by for number in (1, 2, 3, 4)] == [None, None, None, WORKER]
    assert counters(batch) == {"total": 4, "completed": 1, "failed": 1, "pending": 2}
    assert (batch.images_unchanged, batch.bytes_source, batch.bytes_output) == (0, 1000, 400)
    assert batch.last_progress_at is not None


def test_an_output_at_an_external_url_is_stored_and_counted() -> None:
    batch = working(1)
    [image] = claimed(batch)
    outcome = Outcome.completed_elsewhere(image.id, 1, "https://cdn.example/1.jpg")
    assert lifecycle.record(batch.pk, [outcome], WORKER) == [outcome]
    stored = batch.images.get()
    assert (stored.status, stored.external_url) == ("completed", "https://cdn.example/1.jpg")
    assert counters(batch) == {"total": 1, "completed": 1}
    assert (batch.bytes_source, batch.bytes_output) == (0, 0)


def test_an_outcome_that_is_only_postponed_is_no_progress() -> None:
    batch = working(1)
    before = batch.last_progress_at
    [image] = claimed(batch)
    outcome = Outcome.postponed(image.id, 1, 5, "timeout", "Too slow.")
    assert lifecycle.record(batch.pk, [outcome], WORKER) == [outcome]
    assert counters(batch) == {"total": 1, "pending": 1}
    assert batch.last_progress_at == before


def test_an_outcome_does_not_change_what_identifies_an_image() -> None:
    batch = working(2)
    batch.images.update(crashes=2)
    names = ("id", "request", "number", "url", "host", "crashes")
    before = list(batch.images.values_list(*names))
    first, second = claimed(batch)
    assert len(lifecycle.record(batch.pk, [complete(first), fail(second, "timeout")], WORKER)) == 2
    assert list(batch.images.values_list(*names)) == before


def test_outcomes_recorded_twice_count_once() -> None:
    batch = working(3)
    outcomes = [complete(image) for image in claimed(batch, 2)]
    assert lifecycle.record(batch.pk, outcomes, WORKER) == outcomes
    assert lifecycle.record(batch.pk, outcomes, WORKER) == []
    assert counters(batch) == {"total": 3, "completed": 2, "pending": 1}
    assert batch.bytes_output == 800


def test_error_details_may_contain_null_characters() -> None:
    batch = working(2)
    failed, later = claimed(batch)
    outcomes = [
        Outcome.failed(failed.id, 1, "connect", "The answer was \0."),
        Outcome.postponed(later.id, 1, 5, "connect", "The answer was \0."),
    ]
    assert len(lifecycle.record(batch.pk, outcomes, WORKER)) == 2
    assert set(batch.images.values_list("error_detail", flat=True)) == {"The answer was ."}


def test_a_record_takes_few_queries(django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    batch = working(65)
    outcomes = [complete(image) for image in claimed(batch, 64)]
    with django_assert_max_num_queries(8):
        assert lifecycle.record(batch.pk, outcomes, WORKER) == outcomes


# --- Outcomes that come too late ---


def test_an_outcome_after_a_cancel_is_not_counted(finished: list[tuple[object, ...]]) -> None:
    batch = working(3)
    first, second = [complete(image) for image in claimed(batch, 2)]
    lifecycle.record(batch.pk, [first], WORKER)
    assert lifecycle.cancel(batch)

    assert lifecycle.record(batch.pk, [second], WORKER) == []
    assert counters(batch) == {"total": 3, "completed": 1, "canceled": 2}
    assert finished == [(batch.pk, 1, Status.CANCELED)]


def test_an_outcome_from_before_a_cancel_and_a_retry_counts_once() -> None:
    batch = working(1)
    [before] = claimed(batch)
    lifecycle.cancel(batch)
    lifecycle.retry(batch)
    batch.refresh_from_db()
    [now] = claimed(batch)
    late, current = complete(before), complete(now)
    written = [*lifecycle.record(batch.pk, [late], WORKER), *lifecycle.record(batch.pk, [current], WORKER)]
    assert len(written) == 1
    assert counters(batch) == {"total": 1, "completed": 1}


def test_an_outcome_of_a_worker_that_lost_its_claim_is_not_written() -> None:
    batch = working(1)
    [image] = claimed(batch)
    assert release(Image.objects.filter(claimed_by=WORKER), crashed=True) == 1
    [again] = claimed(batch, worker=OTHER_WORKER)
    assert again.crashes == 1

    assert lifecycle.record(batch.pk, [fail(image, "timeout", "Too late.")], WORKER) == []
    assert batch.images.get().claimed_by == OTHER_WORKER
    assert len(lifecycle.record(batch.pk, [complete(again)], OTHER_WORKER)) == 1
    assert counters(batch) == {"total": 1, "completed": 1}


def test_an_outcome_of_a_deleted_request_is_not_written() -> None:
    batch = working(1)
    outcomes = [complete(image) for image in claimed(batch)]
    lifecycle.delete(batch)
    assert lifecycle.record(batch.pk, outcomes, WORKER) == []
    assert not Image.objects.exists()


def test_an_outcome_of_another_request_is_not_written() -> None:
    batch, other = working(1), working(1)
    [image] = claimed(other)
    assert lifecycle.record(batch.pk, [complete(image)], WORKER) == []
    assert counters(other) == {"total": 1, "pending": 1}


# --- Outputs used again ---


def test_an_outcome_whose_output_is_still_there_is_written_as_completed() -> None:
    [source] = settle(working(1)).images.all()
    batch = working(1)
    [image] = claimed(batch)
    outcome = took_over(complete(image), source)
    assert lifecycle.record(batch.pk, [outcome], WORKER) == [outcome]
    stored = batch.images.get()
    assert (stored.status, stored.unchanged, stored.output_key) == ("completed", True, source.output_key)
    assert counters(batch) == {"total": 1, "completed": 1}
    assert (batch.images_unchanged, batch.bytes_source, batch.bytes_output) == (1, 1000, 400)


@pytest.mark.parametrize(
    "lose",
    [
        lifecycle.delete,
        lambda batch: batch.images.update(status=Image.Status.FAILED),
        lambda batch: batch.images.update(output_key="", external_url="https://cdn.example/1.jpg"),
    ],
    ids=["its Request is deleted", "its Image is not completed", "its Image has another output"],
)
def test_an_outcome_whose_output_has_vanished_is_written_as_pending(
    lose: Callable[[Request], object], finished: list[tuple[object, ...]]
) -> None:
    kept, lost = settle(working(1)), settle(working(1))
    sources = [kept.images.get(), lost.images.get()]
    lose(lost)
    batch = working(3)
    first, second, third = [complete(image) for image in claimed(batch)]
    outcomes = [took_over(first, sources[0]), took_over(second, sources[1]), third]
    finished.clear()

    written = lifecycle.record(batch.pk, outcomes, WORKER)

    assert written == [outcomes[0], outcomes[1].without_output(), outcomes[2]]
    assert (written[1].status, written[1].taken_from) == ("pending", None)
    stored = batch.images.get(number=2)
    assert (stored.status, stored.unchanged, stored.output_key) == ("pending", False, "")
    assert (stored.claimed_by, stored.settled_at, stored.error_code) == (None, None, "")
    assert facts(stored, "source") == facts(stored, "output") == (None, None, None, "")
    assert counters(batch) == {"total": 3, "completed": 2, "pending": 1}
    assert (batch.images_unchanged, batch.bytes_source, batch.bytes_output) == (1, 2000, 800)
    assert (batch.status, finished) == (Status.PROCESSING, [])

    [again] = claimed(batch)  # due at once
    lifecycle.record(batch.pk, [complete(again)], WORKER)
    assert counters(batch) == {"total": 3, "completed": 3}
    assert finished == [(batch.pk, 1, Status.COMPLETED)]


# --- The end of a Request ---


@pytest.mark.parametrize(
    ("failed", "status"),
    [
        ({}, Status.COMPLETED),
        ({1: "http_404"}, Status.COMPLETED_WITH_ERRORS),
        ({1: "http_404", 2: "timeout"}, Status.FAILED),
    ],
)
def test_the_final_status_depends_on_the_failures(
    failed: dict[int, str], status: str, finished: list[tuple[object, ...]]
) -> None:
    batch = settle(working(2), failed)
    assert batch.status == status
    assert batch.finished_at is not None
    assert finished == [(batch.pk, 1, status)]


def test_a_request_does_not_finish_before_its_whole_file_is_ingested(
    finished: list[tuple[object, ...]],
) -> None:
    batch = submitted(*make_urls(3))
    lifecycle.ingest_chunk(batch, chunk(batch, 0, 2))
    settle(batch)
    assert (batch.status, batch.images_pending, finished) == (Status.PROCESSING, 0, [])

    lifecycle.ingest_chunk(batch, chunk(batch, 2))
    assert settle(batch).status == Status.COMPLETED
    assert len(finished) == 1


def test_a_receiver_of_the_end_that_raises_rolls_the_outcomes_back() -> None:
    batch = working(1)
    outcomes = [complete(image) for image in claimed(batch)]

    def refuse(**_: object) -> None:
        raise ArithmeticError

    request_finished.connect(refuse)
    try:
        with pytest.raises(ArithmeticError):
            lifecycle.record(batch.pk, outcomes, WORKER)
    finally:
        request_finished.disconnect(refuse)
    assert counters(batch) == {"total": 1, "pending": 1}
    assert batch.images.get().claimed_by == WORKER

    assert lifecycle.record(batch.pk, outcomes, WORKER) == outcomes
    assert counters(batch) == {"total": 1, "completed": 1}


def test_no_outcome_is_written_for_a_request_that_does_not_exist() -> None:
    assert lifecycle.record(uuid.uuid4(), [], WORKER) == []


def test_attempts_that_are_repeated_are_remembered_the_latest_five_of_them() -> None:
    batch = working(1)
    for number in range(1, 8):
        [image] = claimed(batch)
        outcome = Outcome.postponed(image.id, number, 0, "timeout", f"Attempt {number}.")
        lifecycle.record(batch.pk, [outcome], WORKER)
        batch.images.update(claimed_by=None, due_at=timezone.now())
    [image] = claimed(batch)
    lifecycle.record(batch.pk, [fail(image, "http_404", "The last.")], WORKER)
    details = [one.detail for one in batch.images.get().failed_tries]
    assert details == [*(f"Attempt {number}." for number in range(3, 8)), "The last."]


def test_a_retry_remembers_how_the_run_before_ended() -> None:
    batch = working(1)
    [image] = claimed(batch)
    lifecycle.record(batch.pk, [fail(image, "http_404", "Not there.")], WORKER)
    batch.refresh_from_db()
    lifecycle.retry(batch)
    while lifecycle.sweep(batch):
        pass
    batch.refresh_from_db()
    [image] = claimed(batch)
    lifecycle.record(batch.pk, [complete(image)], WORKER)
    assert [one.detail for one in batch.images.get().failed_tries] == ["Not there."]


def test_outcomes_of_a_first_attempt_read_and_write_no_earlier_ones() -> None:
    batch = working(3)
    first, second, third = claimed(batch)
    with CaptureQueriesContext(connection) as queries:
        lifecycle.record(batch.pk, [complete(first), complete(second), fail(third, "http_404")], WORKER)
    assert not [query for query in queries if "tries" in query["sql"]]
