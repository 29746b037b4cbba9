"""How much is taken in hand: by the pace of the work, and never so much of one host that others wait."""

import uuid
from types import SimpleNamespace

import pytest
from pytest import MonkeyPatch

from processing.hosts.leases import Leases
from processing.hosts.rate_limit import Hosts
from processing.work import places
from processing.work.slots import MOST_AHEAD, Places
from products.models import Image

THREADS, PER_HOST = 8, 4


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(places, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.fixture
def hands(clock: Clock) -> Places:
    return Places(THREADS, PER_HOST, Hosts(), Leases(None, uuid.uuid4()))


def images(host: str, count: int) -> list[Image]:
    return [Image(id=uuid.uuid4(), request_id=uuid.uuid4(), host=host) for _ in range(count)]


def work_fast(hands: Places, clock: Clock) -> None:
    """A second in which a hundred pictures are done."""
    for _ in range(100):
        (image,) = hands.add(images("fast", 1))
        clock.now += 0.01
        hands.fetched(image)
        hands.done(image)


def room(hands: Places) -> int:
    with hands.turn(0) as count:
        return count


def claims(hands: Places) -> int:
    """How many claims there is room for, each of another host."""
    count = 0
    while room(hands) == THREADS:
        hands.add(images(f"host {count}", THREADS))
        count += 1
    assert room(hands) == 0
    return count


def test_as_many_may_wait_as_there_are_threads(hands: Places) -> None:
    assert claims(hands) == 2


def test_while_the_work_is_fast_more_may_wait(hands: Places, clock: Clock) -> None:
    work_fast(hands, clock)
    assert claims(hands) == 1 + MOST_AHEAD


def test_the_pace_of_long_ago_counts_for_nothing(hands: Places, clock: Clock) -> None:
    work_fast(hands, clock)
    clock.now += 60
    assert claims(hands) == 2


def test_a_claim_that_is_all_of_one_slow_host_keeps_no_others_out(hands: Places, clock: Clock) -> None:
    work_fast(hands, clock)
    assert len(hands.add(images("slow", room(hands)))) == PER_HOST
    clock.now += 0.9
    assert hands.busy_hosts() == ["slow"]
    clock.now += 60
    assert room(hands) >= THREADS - PER_HOST
