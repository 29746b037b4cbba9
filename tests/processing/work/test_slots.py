"""The number of Images that a worker claims: by its throughput, and limited for one host."""

import uuid
from types import SimpleNamespace

import pytest
from pytest import MonkeyPatch

from processing.hosts.leases import Leases
from processing.hosts.rate_limit import RateLimiter
from processing.work import slots as module
from processing.work.claim import ClaimedImage
from processing.work.slots import MAX_AHEAD_PER_THREAD, Slots
from products.models import Request

THREADS, PER_HOST = 8, 4


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.fixture
def slots(clock: Clock) -> Slots:
    return Slots(THREADS, PER_HOST, RateLimiter(), Leases(None, uuid.uuid4()))


def images(host: str, count: int) -> list[ClaimedImage]:
    return [
        ClaimedImage(uuid.uuid4(), f"http://{host}/", host, attempts=0, crashes=0, batch=Request())
        for _ in range(count)
    ]


def work_fast(slots: Slots, clock: Clock) -> None:
    """Complete a hundred pictures within a second."""
    for _ in range(100):
        (image,) = slots.add(images("fast", 1))
        clock.now += 0.01
        slots.fetched(image)
        slots.done(image)


def room(slots: Slots) -> int:
    with slots.claiming(0) as count:
        return count


def claims(slots: Slots) -> int:
    """Fill the slots by claims that are each of another host. Return the number of claims."""
    count = 0
    while room(slots) == THREADS:
        slots.add(images(f"host {count}", THREADS))
        count += 1
    assert room(slots) == 0
    return count


def test_as_many_images_may_wait_as_there_are_threads(slots: Slots) -> None:
    assert claims(slots) == 2


def test_more_images_may_wait_while_the_work_is_fast(slots: Slots, clock: Clock) -> None:
    work_fast(slots, clock)
    assert claims(slots) == 1 + MAX_AHEAD_PER_THREAD


def test_the_throughput_of_a_minute_ago_does_not_count(slots: Slots, clock: Clock) -> None:
    work_fast(slots, clock)
    clock.now += 60
    assert claims(slots) == 2


def test_a_claim_of_one_slow_host_leaves_room_for_other_hosts(slots: Slots, clock: Clock) -> None:
    work_fast(slots, clock)
    assert len(slots.add(images("slow", room(slots)))) == PER_HOST
    clock.now += 0.9
    assert slots.busy_hosts() == ["slow"]
    clock.now += 60
    assert room(slots) >= THREADS - PER_HOST
