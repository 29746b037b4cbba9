"""Cancel, retry and delete of a Request too large for its rows to follow at once."""

import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from processing.work import tasks
from processing.work.claim import claim
from processing.workers.recovery import recover
from products import lifecycle
from products.lifecycle.signals import request_finished
from products.models import Image, ImageStatus, Product, Request, RequestStatus, sweeping
from tests.support.factories import ingest, make_csv, submit

pytestmark = pytest.mark.django_db

IMAGES = 25
WORKER = uuid.uuid4()


@pytest.fixture
def few_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "SWEEP_ROWS", 10)


@pytest.fixture
def batch(ann: User, few_rows_at_once: None) -> Request:
    rows = [[str(number), "Lamp", f"https://example.com/{number}.jpg"] for number in range(IMAGES)]
    return ingest(submit(ann, make_csv(*rows)))


def counted(batch: Request) -> dict[str, int]:
    """Images by status as the rows have it, which the counters have to agree with."""
    batch.refresh_from_db()
    rows = {status: batch.images.filter(status=status).count() for status in ImageStatus.values}
    counters = {status: getattr(batch, f"images_{status}") for status in ImageStatus.values}
    assert rows == counters
    return {status: count for status, count in rows.items() if count}


def sweep(batch: Request) -> None:
    batch.refresh_from_db()
    tasks.sweep.fn(str(batch.pk), batch.epoch)


def fail_all(batch: Request) -> None:
    images = claim(batch, WORKER, IMAGES)
    for image in images:
        image.fail("http_404", "Gone.")
    lifecycle.record(batch.pk, images, WORKER)


def test_a_cancel_is_true_at_once_and_its_rows_follow(batch: Request) -> None:
    assert lifecycle.cancel(batch)
    assert counted(batch) == {"canceled": 10, "pending": 15}
    assert batch.status == RequestStatus.CANCELED
    assert claim(batch, WORKER, IMAGES) == []

    sweep(batch)
    assert counted(batch) == {"canceled": IMAGES}
    assert batch.sweep == ""


def test_a_retry_finishes_only_when_all_rows_have_followed(batch: Request) -> None:
    fail_all(batch)
    assert lifecycle.retry(batch) == IMAGES
    assert counted(batch) == {"pending": 10, "failed": 15}

    fail_all(batch)
    batch.refresh_from_db()
    assert batch.status == RequestStatus.PROCESSING  # though nothing is pending at the moment

    sweep(batch)
    while counted(batch).get("pending"):
        fail_all(batch)
    assert (batch.status, batch.run) == (RequestStatus.FAILED, 2)


def test_a_retry_takes_what_failed_by_a_clock_that_is_ahead(batch: Request) -> None:
    fail_all(batch)
    batch.images.update(settled_at=timezone.now() + timedelta(seconds=5))
    lifecycle.retry(batch)
    sweep(batch)
    assert counted(batch) == {"pending": IMAGES}


def test_a_retry_in_the_middle_of_a_cancel_wins(batch: Request) -> None:
    lifecycle.cancel(batch)
    assert lifecycle.retry(batch) == IMAGES
    sweep(batch)
    assert counted(batch) == {"pending": IMAGES}
    assert batch.status == RequestStatus.PROCESSING


def test_a_deleted_request_is_out_of_sight_at_once_and_then_gone(batch: Request, ann: User) -> None:
    lifecycle.delete(batch)
    assert not Request.objects.visible_to(ann).exists()
    assert lifecycle.retry(batch) == 0
    assert Product.objects.exists()

    sweep(batch)
    assert not Request.objects.exists()
    assert not Product.objects.exists()
    assert not Image.objects.exists()


@pytest.mark.parametrize("act", [lifecycle.cancel, lifecycle.delete], ids=["cancel", "delete"])
def test_what_a_sweep_has_left_is_found_by_recovery(batch: Request, act: Callable[[Request], object]) -> None:
    act(batch)
    Request.objects.update(dispatched_at=None)
    assert recover().requests_sent == 1


def test_each_run_finishes_once(batch: Request) -> None:
    finished: list[tuple[int, str]] = []

    def note(batch: Request, **_kwargs: object) -> None:
        finished.append((batch.run, batch.status))

    request_finished.connect(note)
    try:
        lifecycle.cancel(batch)
        sweep(batch)
        lifecycle.retry(batch)
        sweep(batch)
        fail_all(batch)
    finally:
        request_finished.disconnect(note)
    assert finished == [(1, "canceled"), (2, "failed")]
