"""Cancel, retry and delete of a Request too large for all rows to follow at once."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from processing.work import tasks
from processing.workers.recovery import recover
from products import lifecycle
from products.models import Image, Product, Request, RequestStatus
from tests.support.batches import WORKER, claimed, counters, fail, working

pytestmark = pytest.mark.django_db

IMAGES = 25
SWEEP_ROWS = 10


@pytest.fixture(autouse=True)
def small_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("products.lifecycle.sweeps.SWEEP_ROWS", SWEEP_ROWS)


@pytest.fixture
def batch(small_sweeps: None) -> Request:
    return working(IMAGES)


def sweep(batch: Request) -> None:
    """Sweep as a worker does that received the message."""
    batch.refresh_from_db()
    tasks.sweep.fn(str(batch.pk), batch.epoch)


def sweep_all(batch: Request) -> None:
    while lifecycle.sweep(batch):
        pass


def fail_all(batch: Request) -> None:
    """Let all Images that can be claimed fail."""
    lifecycle.record(batch.pk, [fail(image, "http_404", "Gone.") for image in claimed(batch)], WORKER)


# --- Rows ---


def test_a_cancel_takes_effect_at_once_and_its_rows_follow(batch: Request) -> None:
    assert lifecycle.cancel(batch)
    assert counters(batch) == {"total": IMAGES, "canceled": 10, "pending": 15}
    assert batch.status == RequestStatus.CANCELED
    assert claimed(batch) == []

    sweep(batch)
    assert counters(batch) == {"total": IMAGES, "canceled": IMAGES}
    assert batch.sweep == ""


def test_each_sweep_changes_a_limited_number_of_rows(batch: Request) -> None:
    lifecycle.cancel(batch)
    assert lifecycle.sweep(batch)
    assert counters(batch) == {"total": IMAGES, "canceled": 20, "pending": 5}
    assert not lifecycle.sweep(batch)
    assert counters(batch) == {"total": IMAGES, "canceled": IMAGES}
    assert not lifecycle.sweep(batch)


def test_a_transaction_of_a_sweep_ends_by_time(batch: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("products.lifecycle.sweeps.SWEEP_STEP_ROWS", 3)
    monkeypatch.setattr("products.lifecycle.sweeps.SWEEP_TRANSACTION_SECONDS", 0)
    lifecycle.cancel(batch)
    assert counters(batch) == {"total": IMAGES, "canceled": 3, "pending": 22}
    assert lifecycle.sweep(batch)
    assert counters(batch) == {"total": IMAGES, "canceled": 6, "pending": 19}
    sweep_all(batch)
    assert counters(batch) == {"total": IMAGES, "canceled": IMAGES}


def test_a_process_sweeps_one_request_at_a_time(batch: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    sent_again: list[tuple[object, ...]] = []
    monkeypatch.setattr(tasks, "_send_again", lambda *arguments: sent_again.append(arguments))
    lifecycle.cancel(batch)
    with tasks._sweeping:
        sweep(batch)
        assert counters(batch) == {"total": IMAGES, "canceled": 10, "pending": 15}
    assert sent_again == [(tasks.sweep, batch, tasks.SWEEP_SECONDS)]
    sweep(batch)
    assert counters(batch) == {"total": IMAGES, "canceled": IMAGES}


def test_a_retry_finishes_only_when_all_rows_have_followed(batch: Request) -> None:
    fail_all(batch)
    assert lifecycle.retry(batch) == IMAGES
    assert counters(batch) == {"total": IMAGES, "pending": 10, "failed": 15}

    fail_all(batch)
    assert counters(batch) == {"total": IMAGES, "failed": IMAGES}
    assert batch.status == RequestStatus.PROCESSING  # though nothing is pending at the moment

    sweep(batch)
    while counters(batch).get("pending"):
        fail_all(batch)
    assert (batch.status, batch.run) == (RequestStatus.FAILED, 2)


def test_a_retry_includes_failures_that_were_settled_by_a_fast_clock(batch: Request) -> None:
    fail_all(batch)
    batch.images.update(settled_at=timezone.now() + timedelta(seconds=5))
    lifecycle.retry(batch)
    sweep(batch)
    assert counters(batch) == {"total": IMAGES, "pending": IMAGES}


def test_a_retry_supersedes_the_sweep_of_a_cancel(batch: Request) -> None:
    lifecycle.cancel(batch)
    assert lifecycle.retry(batch) == IMAGES
    sweep(batch)
    assert counters(batch) == {"total": IMAGES, "pending": IMAGES}
    assert batch.status == RequestStatus.PROCESSING


def test_a_deleted_request_is_hidden_at_once_and_then_gone(batch: Request) -> None:
    lifecycle.delete(batch)
    assert not Request.objects.visible_to(batch.owner).exists()
    with pytest.raises(lifecycle.StillActive):
        lifecycle.retry(batch)
    assert not lifecycle.delete(batch)
    assert Product.objects.exists()

    sweep(batch)
    assert not Request.objects.exists()
    assert not Product.objects.exists()
    assert not Image.objects.exists()


@pytest.mark.parametrize("act", [lifecycle.cancel, lifecycle.delete], ids=["cancel", "delete"])
def test_recovery_resumes_an_unfinished_sweep(batch: Request, act: Callable[[Request], object]) -> None:
    act(batch)
    Request.objects.update(dispatched_at=None)
    assert recover().requests_sent == 1


# --- Signals ---


def test_each_run_finishes_once(batch: Request, finished: list[tuple[object, ...]]) -> None:
    lifecycle.cancel(batch)
    sweep(batch)
    lifecycle.retry(batch)
    sweep(batch)
    fail_all(batch)
    assert finished == [(batch.pk, 1, "canceled"), (batch.pk, 2, "failed")]


@pytest.mark.parametrize(
    ("act", "images", "signals"),
    [
        (lifecycle.cancel, SWEEP_ROWS - 1, ["request_finished"]),
        (lifecycle.cancel, SWEEP_ROWS + 1, ["sweep_started", "request_finished"]),
        (lambda batch: lifecycle.abort_ingest(batch, "Gone."), SWEEP_ROWS - 1, ["request_finished"]),
        (
            lambda batch: lifecycle.abort_ingest(batch, "Gone."),
            SWEEP_ROWS + 1,
            ["sweep_started", "request_finished"],
        ),
        (lifecycle.delete, SWEEP_ROWS // 2 - 1, []),  # each Image has a Product
        (lifecycle.delete, SWEEP_ROWS // 2 + 1, ["sweep_started"]),
        (lifecycle.delete, SWEEP_ROWS + 1, ["sweep_started"]),
    ],
)
def test_a_sweep_in_the_background_is_announced_exactly_when_rows_are_left(
    act: Callable[[Request], object], images: int, signals: list[str], sent: list[str]
) -> None:
    batch = working(images)
    sent.clear()
    assert act(batch)
    assert sent == signals
    is_left = Request.objects.exclude(sweep="").exists()
    assert is_left == ("sweep_started" in signals)
    sweep_all(batch)
    assert sent == signals, "later sweeps are not announced again"


@pytest.mark.parametrize("images", [SWEEP_ROWS - 1, SWEEP_ROWS + 1])
def test_a_retry_is_announced_once_whether_rows_are_left_or_not(images: int, sent: list[str]) -> None:
    batch = working(images)
    fail_all(batch)
    sent.clear()
    assert lifecycle.retry(batch) == images
    assert sent == ["request_submitted"]
    sweep_all(batch)
    assert sent == ["request_submitted"]
