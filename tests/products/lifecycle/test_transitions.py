"""Cancel, retry and delete of a Request small enough for all rows to follow at once."""

from collections.abc import Callable

import pytest

from products import lifecycle
from products.models import Image, Product, ProductImage, Request
from tests.support.batches import (
    OTHER_WORKER,
    WORKER,
    chunk,
    claimed,
    complete,
    counters,
    fail,
    ingest,
    ingested,
    make_urls,
    settle,
    submitted,
    working,
)

pytestmark = pytest.mark.django_db

Status = Request.Status


# --- Cancel ---


def test_a_cancel_keeps_completed_images_and_stops_the_rest(finished: list[tuple[object, ...]]) -> None:
    batch = working(3)
    lifecycle.record(batch.pk, [complete(image) for image in claimed(batch, 1)], WORKER)
    claimed(batch, 1)
    assert lifecycle.cancel(batch)
    assert not lifecycle.cancel(batch)
    assert counters(batch) == {"total": 3, "completed": 1, "canceled": 2}
    assert not Image.objects.exclude(claimed_by=None).exists()
    assert finished == [(batch.pk, 1, Status.CANCELED)]


def test_a_finished_request_cannot_be_canceled() -> None:
    batch = settle(working(1))
    assert not lifecycle.cancel(batch)
    batch.refresh_from_db()
    assert batch.status == Status.COMPLETED


# --- Retry ---


def test_a_retry_resets_failed_and_canceled_images(finished: list[tuple[object, ...]]) -> None:
    batch = ingested("chair.jpg", *make_urls(4))
    first, second, third, _ = claimed(batch)
    outcomes = [
        lifecycle.Outcome.failed(first.id, 5, "timeout", "Too slow."),
        fail(second, "http_404", "Not there."),
        complete(third),
    ]
    lifecycle.record(batch.pk, outcomes, WORKER)
    lifecycle.cancel(batch)
    batch.images.update(crashes=1)

    assert lifecycle.retry(batch) == 3
    assert counters(batch) == {"total": 5, "completed": 1, "failed": 1, "pending": 3}
    assert (batch.status, batch.run, batch.run_by) == (Status.PROCESSING, 2, "retry")
    again = batch.images.get(pk=first.id)
    assert (again.attempts, again.error_code, again.error_detail, again.crashes) == (0, "", "", 1)
    assert again.settled_at is None
    assert batch.finished_at is None

    assert settle(batch).status == Status.COMPLETED_WITH_ERRORS
    assert finished == [
        (batch.pk, 1, Status.CANCELED),
        (batch.pk, 2, Status.COMPLETED_WITH_ERRORS),
    ]


def test_a_retry_of_one_error_code_leaves_other_failures() -> None:
    batch = settle(working(3), {1: "http_404", 2: "timeout"})
    assert lifecycle.retry(batch, [("timeout", "")]) == 1
    assert list(batch.images.pending().values_list("number", flat=True)) == [2]
    assert counters(batch) == {"total": 3, "completed": 1, "failed": 1, "pending": 1}


def test_a_retry_of_one_error_code_and_host_leaves_other_hosts() -> None:
    batch = ingested(*make_urls(2, "shop.example"), *make_urls(1, "other.example"))
    settle(batch, dict.fromkeys((1, 2, 3), "timeout"))
    assert lifecycle.retry(batch, [("timeout", "other.example")]) == 1
    assert list(batch.images.pending().values_list("number", flat=True)) == [3]
    assert counters(batch) == {"total": 3, "failed": 2, "pending": 1}


def test_a_retry_leaves_invalid_urls_failed() -> None:
    batch = ingested("chair.jpg")
    assert lifecycle.retry(batch) == 0
    assert lifecycle.retry(batch, [("invalid_url", "")]) == 0
    batch.refresh_from_db()
    assert (batch.status, batch.run) == (Status.FAILED, 1)


def test_a_request_that_is_active_or_has_no_failures_is_not_retried() -> None:
    batch = working(2)
    with pytest.raises(lifecycle.StillActive):
        lifecycle.retry(batch)
    assert lifecycle.retry(settle(batch)) == 0
    batch.refresh_from_db()
    assert (batch.status, batch.run) == (Status.COMPLETED, 1)


def test_a_retry_resumes_an_ingest_that_was_canceled() -> None:
    batch = submitted(*make_urls(3))
    lifecycle.ingest_chunk(batch, chunk(batch, 0, 1))
    lifecycle.cancel(batch)
    assert lifecycle.retry(batch) == 1
    batch.refresh_from_db()
    assert settle(ingest(batch)).status == Status.COMPLETED
    assert counters(batch) == {"total": 3, "completed": 3}


# --- Delete ---


def test_a_delete_leaves_no_rows_and_does_not_touch_other_requests() -> None:
    kept, deleted = working(2), ingested(make_urls(3), make_urls(2))
    claimed(deleted, 1, OTHER_WORKER)
    assert lifecycle.delete(deleted)
    assert not lifecycle.delete(deleted)
    assert list(Request.objects.all()) == [kept]
    assert set(Image.objects.values_list("request", flat=True)) == {kept.pk}
    assert set(Product.objects.values_list("request", flat=True)) == {kept.pk}
    assert ProductImage.objects.count() == 2


def test_a_delete_of_finished_requests_only_leaves_an_active_one() -> None:
    batch = working(1)
    assert not lifecycle.delete(batch, only_finished=True)
    assert counters(batch) == {"total": 1, "pending": 1}
    assert lifecycle.delete(settle(batch), only_finished=True)
    assert not Request.objects.exists()


# --- Epochs ---


@pytest.mark.parametrize("act", [lifecycle.cancel, lambda batch: lifecycle.abort_ingest(batch, "Gone.")])
def test_messages_sent_before_the_work_was_stopped_are_void(act: Callable[[Request], object]) -> None:
    batch = working(1)
    before = batch.epoch
    assert act(batch)
    batch.refresh_from_db()
    assert batch.epoch > before


def test_claims_of_the_epoch_before_a_retry_take_nothing() -> None:
    batch = working(1)
    stale = Request.objects.get(pk=batch.pk)
    lifecycle.cancel(batch)
    assert lifecycle.retry(batch) == 1
    assert claimed(stale) == []
    batch.refresh_from_db()
    assert len(claimed(batch)) == 1


# --- Signals ---


def test_a_cancel_is_announced_as_an_end_only(sent: list[str]) -> None:
    batch = working(2)
    sent.clear()
    lifecycle.cancel(batch)
    assert sent == ["request_finished"]


@pytest.mark.parametrize("is_settled", [False, True])
def test_a_delete_is_not_announced(is_settled: bool, sent: list[str]) -> None:
    batch = settle(working(2)) if is_settled else working(2)
    sent.clear()
    assert lifecycle.delete(batch)
    assert sent == []


def test_a_retry_is_announced_as_work(sent: list[str]) -> None:
    batch = settle(working(2), {1: "timeout"})
    sent.clear()
    assert lifecycle.retry(batch) == 1
    assert sent == ["request_submitted"]


def test_a_transition_that_does_not_happen_is_not_announced(sent: list[str]) -> None:
    batch = settle(working(1))
    sent.clear()
    assert not lifecycle.cancel(batch)
    assert not lifecycle.retry(batch)
    assert not lifecycle.abort_ingest(batch, "It is gone.")
    assert sent == []
