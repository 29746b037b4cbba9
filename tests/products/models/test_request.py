"""Figures that a Request derives from its row."""

import time

import pytest

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
