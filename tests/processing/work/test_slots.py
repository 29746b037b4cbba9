"""The number of Images that a worker claims: by its throughput, and limited for one host."""

import uuid
from types import SimpleNamespace

import pytest
from pytest import MonkeyPatch

from processing.hosts.leases import Lease
from processing.hosts.rate_limit import RateLimiter
from processing.work import slots as module
from processing.work.claim import ClaimedImage
from processing.work.slots import CLAIM_FACTOR, Slots
from products.models import Request

PLACES, PER_HOST = 64, 4


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
    return Slots(PLACES, PER_HOST, RateLimiter())


def images(host: str, count: int) -> list[ClaimedImage]:
    return [
        ClaimedImage(uuid.uuid4(), f"http://{host}/", host, attempts=0, crashes=0, batch=Request(owner_id=1))
        for _ in range(count)
    ]


def add(slots: Slots, host: str, count: int) -> list[ClaimedImage]:
    """Hold Images of a host, with a lease of all its slots. Return those that start."""
    requests = slots.lease_requests(slots.add(images(host, count)))
    slots.keep_to(requests, {host: Lease(PER_HOST) for host in requests})
    return slots.start()


def work_fast(slots: Slots, clock: Clock) -> None:
    """Complete a hundred pictures within a second."""
    for _ in range(100):
        (image,) = add(slots, "fast", 1)
        clock.now += 0.01
        slots._rate_limiter.answered("fast")
        slots.fetched(image)
        slots.done(image)


def claims(slots: Slots) -> int:
    """Fill the slots by claims that are each of another host. Return the number of Images."""
    count = 0
    while room := slots.room():
        add(slots, f"host {count}", room)
        count += room
    return count


WAITING = CLAIM_FACTOR * PER_HOST


def test_as_many_images_wait_as_one_claim_may_bring(slots: Slots) -> None:
    assert claims(slots) == PLACES + WAITING


def test_more_images_may_wait_while_the_work_is_fast(slots: Slots, clock: Clock) -> None:
    work_fast(slots, clock)
    assert PLACES + WAITING < claims(slots) <= PLACES + 100


def test_the_throughput_of_a_minute_ago_does_not_count(slots: Slots, clock: Clock) -> None:
    work_fast(slots, clock)
    clock.now += 60
    assert claims(slots) == PLACES + WAITING


def test_a_claim_while_the_work_is_slow_is_for_a_few_times_the_slots_of_a_host(slots: Slots) -> None:
    assert slots.room() == CLAIM_FACTOR * PER_HOST


def test_a_claim_of_one_slow_host_leaves_room_for_other_hosts(slots: Slots, clock: Clock) -> None:
    work_fast(slots, clock)
    assert len(add(slots, "slow", slots.room())) == PER_HOST
    clock.now += 0.9
    assert slots.busy_hosts() == ["slow"]
    clock.now += 60
    assert slots.room() > 0


def test_silent_hosts_of_one_owner_leave_places_to_others(slots: Slots) -> None:
    for number in range(PLACES + WAITING):
        add(slots, f"host {number}", 1)
    assert slots._running == 3 * PLACES // 4
    assert slots.room(owner=1) == 0
    assert slots.room(owner=2) == WAITING


def test_owners_of_images_of_one_host_take_turns(slots: Slots) -> None:
    waiting = images("host", 12)
    for number, image in enumerate(waiting):
        image.batch.owner_id = 1 if number < 8 else 2
    slots.per_host = 12
    requests = slots.lease_requests(slots.add(waiting))
    slots.keep_to(requests, {host: Lease(8) for host in requests})
    assert [image.batch.owner_id for image in slots.start()] == [1, 2] * 4


def test_a_picture_of_an_owner_without_a_share_holds_up_nobody_elses_of_the_same_host(slots: Slots) -> None:
    for number in range(PLACES):
        add(slots, f"host {number}", 1)
    mine, others = images("host", 1), images("host", 1)
    others[0].batch.owner_id = 2
    requests = slots.lease_requests(slots.add(mine + others))
    slots.keep_to(requests, {host: Lease(PER_HOST) for host in requests})
    assert slots.start() == others
