"""Figures that a Request derives from its row."""

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from products import lifecycle
from tests.support.batches import WORKER, claimed, complete, settle, working


@pytest.mark.django_db
def test_the_remaining_time_follows_from_the_last_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.time()
    batch = working(13)
    assert (batch.per_second, batch.eta_seconds) == (0, None)
    monkeypatch.setattr("products.models.request.time.time", lambda: start + 100)
    lifecycle.record(batch.pk, [complete(image) for image in claimed(batch, 3)], WORKER)
    batch.refresh_from_db()
    assert (batch.per_second, batch.eta_seconds) == (0.1, 100)
    monkeypatch.setattr("products.models.request.time.time", lambda: start + 140)
    assert (batch.per_second, batch.eta_seconds) == (0, None)
    batch = settle(batch)
    assert (batch.per_second, batch.eta_seconds) == (0, None)


@pytest.mark.django_db
def test_a_clock_that_is_set_back_counts_nothing_as_progress_of_the_future(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = time.time()
    batch = working(13)
    monkeypatch.setattr("products.models.request.time.time", lambda: start + 3600)
    lifecycle.record(batch.pk, [complete(image) for image in claimed(batch, 3)], WORKER)
    batch.refresh_from_db()
    monkeypatch.setattr("products.models.request.time.time", lambda: start)
    assert batch.per_second == 0
    lifecycle.record(batch.pk, [complete(image) for image in claimed(batch, 1)], WORKER)
    batch.refresh_from_db()
    assert [number for _, number in batch.recent_progress] == [1]


@pytest.mark.django_db
def test_a_run_does_not_end_before_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = working(1)
    an_hour_before = timezone.now() - timedelta(hours=1)
    monkeypatch.setattr("django.utils.timezone.now", lambda: an_hour_before)
    assert lifecycle.cancel(batch)
    batch.refresh_from_db()
    assert batch.seconds_taken == 0
