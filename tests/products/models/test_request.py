"""Figures that a Request derives from its row."""

from datetime import timedelta

import pytest
from django.utils import timezone

from products import lifecycle
from products.models import Request
from tests.support.batches import WORKER, claimed, complete, settle, working


@pytest.mark.django_db
def test_the_remaining_time_follows_from_the_pace_of_this_run() -> None:
    batch = working(4)
    assert batch.eta_seconds is None
    lifecycle.record(batch.pk, [complete(image) for image in claimed(batch, 1)], WORKER)
    started = timezone.now() - timedelta(seconds=100)
    Request.objects.filter(pk=batch.pk).update(started_at=started)
    batch.refresh_from_db()
    assert batch.eta_seconds == pytest.approx(300, rel=0.1)
    assert settle(batch).eta_seconds is None
