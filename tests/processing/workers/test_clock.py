"""A clock that is set while the service runs."""

from datetime import timedelta

import pytest
from django.db import DatabaseError
from django.utils import timezone
from pytest import MonkeyPatch

from processing.hosts.models import PausedHost
from processing.hosts.rate_limit import Pause
from processing.webhooks.events import send_test_event
from processing.webhooks.models import WebhookEndpoint
from processing.work.attempt import has_lost_patience
from processing.workers import clock
from processing.workers.clock import ClockWatch, follow
from products.models import Image, Request
from products.models.request import RequestQuerySet
from tests.support.batches import WORKER, claimed, ingested, make_urls
from tests.support.factories import make_user

HOUR = timedelta(hours=1)


class Clock:
    def __init__(self) -> None:
        self.now = self.set_by = 0.0

    def time(self) -> float:
        return self.now + self.set_by

    def monotonic(self) -> float:
        return self.now


def test_a_clock_that_is_set_is_noticed_until_it_is_acknowledged(monkeypatch: MonkeyPatch) -> None:
    times = Clock()
    monkeypatch.setattr(clock, "time", times)
    watch = ClockWatch()
    times.now += 40  # the process was stopped
    assert watch.moved_by() == 0
    times.set_by = -3600
    assert watch.moved_by() == -3600
    assert watch.moved_by() == -3600, "until it is acknowledged"
    times.set_by += 60  # once more, meanwhile
    watch.acknowledge(-3600)
    assert watch.moved_by() == 60
    watch.acknowledge(60)
    assert watch.moved_by() == 0
    times.set_by += 0.5  # a correction
    assert watch.moved_by() == 0


@pytest.mark.django_db
@pytest.mark.usefixtures("broker")
def test_what_waits_follows_a_clock_that_is_set_back() -> None:
    before = timezone.now() + HOUR  # by the clock as it was, from which an hour was taken
    batch = ingested(*make_urls(3))
    Image.objects.update(due_at=before)
    Image.objects.filter(number=3).update(due_at=before + HOUR)
    Request.objects.update(dispatched_at=before)
    PausedHost.objects.tell([Pause("shop.example", before.timestamp(), 1, "http_429")])
    endpoint = WebhookEndpoint.objects.create(owner=make_user("bob"), url="https://shop.example/")
    delivery = send_test_event(endpoint)
    assert delivery
    endpoint.deliveries.update(next_attempt_at=before)
    WebhookEndpoint.objects.update(resume_at=before, leased_until=before, enqueued_at=before)
    assert claimed(batch, worker=WORKER) == []

    follow(-HOUR.total_seconds())

    assert [image.url for image in claimed(batch, worker=WORKER)] == make_urls(2)
    assert Image.objects.get(number=3).due_at == before
    assert Request.objects.get().dispatched_at is None
    assert not PausedHost.objects.exists()
    assert WebhookEndpoint.objects.due().get() == endpoint
    assert WebhookEndpoint.objects.get().enqueued_at is None


@pytest.mark.django_db
@pytest.mark.usefixtures("broker")
def test_what_waits_follows_a_clock_all_or_nothing(monkeypatch: MonkeyPatch) -> None:
    ingested(*make_urls(1))
    later = timezone.now() + HOUR
    Image.objects.update(due_at=later)

    def fail(*_arguments: object) -> None:
        raise DatabaseError

    monkeypatch.setattr(RequestQuerySet, "unsettled", fail)
    with pytest.raises(DatabaseError):
        follow(-HOUR.total_seconds())
    assert Image.objects.get().due_at == later


@pytest.mark.django_db
@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("days_since_progress", [None, 30])
def test_time_for_which_a_machine_slept_is_no_time_without_progress(days_since_progress: int | None) -> None:
    """Progress from before the start was made by an earlier run."""
    batch = ingested(*make_urls(1))
    three_days_ago = timezone.now() - timedelta(days=3)
    progress = days_since_progress and timezone.now() - timedelta(days=days_since_progress)
    Request.objects.update(started_at=three_days_ago, last_progress_at=progress)
    batch.refresh_from_db()
    assert has_lost_patience(batch)
    follow(timedelta(days=3).total_seconds())
    batch.refresh_from_db()
    assert not has_lost_patience(batch)
    assert batch.started_at == three_days_ago
