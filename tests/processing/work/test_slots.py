"""The number of Images that a worker claims, in all and of one host, and which of them start."""

import uuid
from types import SimpleNamespace

import pytest
from pytest import MonkeyPatch

from processing.hosts.leases import Lease
from processing.hosts.rate_limit import RateLimiter
from processing.work import slots as module
from processing.work.claim import ClaimedImage
from processing.work.slots import BUSY_FACTOR, CLAIM_FACTOR, STALLED_SECONDS, Slots
from products.catalogue import ARCHIVE_URL, host_of
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


def test_a_claim_is_for_a_few_times_the_slots_of_a_host(slots: Slots) -> None:
    assert slots.room() == CLAIM_FACTOR * PER_HOST


def test_a_claim_of_one_slow_host_leaves_room_for_other_hosts(slots: Slots, clock: Clock) -> None:
    slots._rate_limiter.answered("slow")
    assert len(add(slots, "slow", slots.room())) == PER_HOST
    clock.now += 0.9
    assert slots.busy_hosts() == ["slow"]
    clock.now += 60
    assert slots.room() > 0


def test_more_images_of_a_host_are_claimed_before_its_slots_run_dry(slots: Slots) -> None:
    slots._rate_limiter.answered("fast")
    running = add(slots, "fast", slots.room())
    while slots.is_busy("fast"):
        image = running.pop()
        slots.fetched(image)
        slots.done(image)
        running += slots.start()
    assert len(running) == PER_HOST
    assert sum(map(len, slots._waiting.values())) == (BUSY_FACTOR - 1) * PER_HOST - 1


def test_hosts_that_hang_leave_room_for_others_after_a_while(slots: Slots, clock: Clock) -> None:
    hosts = [f"host {number}" for number in range(PLACES // PER_HOST)]
    for host in hosts:
        slots._rate_limiter.answered(host)
        add(slots, host, slots.room())
    assert slots.room() == 0
    assert slots._running < PLACES // 2
    clock.now += STALLED_SECONDS + 0.1
    assert len(slots.drop_stalled()) == PLACES + WAITING - slots._running
    assert slots.room() == WAITING


def test_a_stalled_host_is_busy_until_one_of_its_fetches_ends(slots: Slots, clock: Clock) -> None:
    slots._rate_limiter.answered("slow")
    running = add(slots, "slow", PER_HOST + 1)
    clock.now += STALLED_SECONDS + 0.1
    assert len(slots.drop_stalled()) == 1
    assert slots.busy_hosts(1) == ["slow"]
    slots.fetched(running[0])
    assert not slots.busy_hosts(1)


def test_hosts_that_wait_for_a_share_are_busy_for_their_owner_until_a_silent_fetch_ends(
    slots: Slots, clock: Clock
) -> None:
    running = [image for number in range(PLACES) for image in add(slots, f"host {number}", 1)]
    without_share = {f"host {number}" for number in range(3 * PLACES // 4, PLACES)}
    clock.now += STALLED_SECONDS + 0.1
    assert {image.host for image in slots.drop_stalled()} == without_share
    assert set(slots.busy_hosts(1)) == without_share
    assert not slots.busy_hosts(2)
    slots.fetched(running[0])
    assert not slots.busy_hosts(1)


def test_an_image_that_is_claimed_again_while_it_is_fetched_frees_both_shares(slots: Slots) -> None:
    """As when another worker took this one for dead and released the Image."""
    for number in range(PLACES):
        image = images(f"silent {number}", 1)[0]
        for _ in range(2):
            requests = slots.lease_requests(slots.add([image]))
            slots.keep_to(requests, {host: Lease(PER_HOST) for host in requests})
            assert slots.start() == [image]
        for _ in range(2):
            slots.fetched(image)
            slots.done(image)


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


def test_pictures_of_zips_take_no_slots_of_a_host(slots: Slots) -> None:
    host = host_of(ARCHIVE_URL)
    assert slots.add(images(host, PLACES)) == {}
    assert host not in slots.wanted()
    assert len(slots.start()) == PLACES
    assert host not in slots.busy_hosts()


def test_pictures_of_zips_count_as_none_of_a_silent_host(slots: Slots) -> None:
    for image in images(host_of(ARCHIVE_URL), PLACES - 1):
        slots.add([image])
    for image in slots.start():
        slots.fetched(image)
    assert len(add(slots, "shop.example", 1)) == 1
