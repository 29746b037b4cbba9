"""Leases of host slots that workers share in a real Redis."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from secrets import token_hex

import pytest
import redis
from pytest import LogCaptureFixture, MonkeyPatch

from processing.hosts import leases as module
from processing.hosts.leases import Lease, LeaseRequest, Leases
from processing.hosts.rate_limit import MAX_PAUSE_SECONDS, Pause
from tests.support.parallel import together, wait_until
from tests.support.servers import Redis


@pytest.fixture
def host() -> str:
    """A host of which no other test has leases."""
    return f"{token_hex(8)}.example"


def worker(url: str | None) -> Leases:
    return Leases(url, uuid.uuid4())


def renew(leases: Leases, host: str, wanted: int, used: int = 0, *, limit: int = 16) -> int:
    """Return the number of slots that the worker gets."""
    return leases.renew({host: LeaseRequest(wanted, used)}, limit)[host].slots


def test_a_single_worker_gets_the_slots_that_it_wants_up_to_the_limit(redis_url: str, host: str) -> None:
    one = worker(redis_url)
    assert [renew(one, host, wanted) for wanted in (1, 16, 40)] == [1, 16, 16]


def test_a_second_worker_gets_half_of_the_slots_when_the_first_has_returned_them(
    redis_url: str, host: str
) -> None:
    one, two = worker(redis_url), worker(redis_url)
    assert renew(one, host, 16) == 16
    assert renew(two, host, 16) == 0
    assert renew(one, host, 16, used=16) == 8
    assert renew(two, host, 16) == 0  # the first still uses all
    assert renew(one, host, 16, used=11) == 8
    assert renew(two, host, 16) == 5
    assert renew(one, host, 16, used=8) == 8
    assert renew(two, host, 16, used=5) == 8


def test_slots_that_other_workers_do_not_want_are_not_reserved(redis_url: str, host: str) -> None:
    one, two = worker(redis_url), worker(redis_url)
    assert renew(one, host, 2) == 2
    assert renew(two, host, 16) == 14


def test_more_workers_than_slots_get_one_slot_each(redis_url: str, host: str) -> None:
    workers = [worker(redis_url) for _ in range(6)]
    assert sum(renew(one, host, 1, limit=4) for one in workers) == 4


def test_many_workers_that_ask_at_once_keep_to_the_limit(redis_url: str, host: str) -> None:
    workers = [worker(redis_url) for _ in range(8)]
    slots = together([lambda one=one: renew(one, host, 16, limit=10) for one in workers])  # type: ignore[misc]
    assert 0 < sum(slots) <= 10


def test_each_host_has_slots_of_its_own(redis_url: str, host: str) -> None:
    one, two = worker(redis_url), worker(redis_url)
    leases = one.renew({host: LeaseRequest(16, 0), f"other.{host}": LeaseRequest(3, 0)}, 16)
    assert leases == {host: Lease(16), f"other.{host}": Lease(3)}
    assert renew(two, f"other.{host}", 16) == 13


def test_a_lease_can_be_returned_at_once(redis_url: str, host: str) -> None:
    one, two = worker(redis_url), worker(redis_url)
    renew(one, host, 16)
    renew(one, host, 0)
    assert renew(two, host, 16) == 16


def test_no_worker_gets_slots_of_a_host_that_another_has_paused(redis_url: str, host: str) -> None:
    one, two = worker(redis_url), worker(redis_url)
    assert renew(one, host, 16) == 16
    pause = Pause(host, time.time() + 60, 2, "http_429")
    shorter = replace(pause, until=time.time() + 30, code="connect")
    answers = [one.renew({host: LeaseRequest(0, 0, told)}, 16)[host] for told in (pause, shorter)]
    answers += [two.renew({host: LeaseRequest(16, 0)}, 16)[host]]
    for slots, told in answers:
        assert told
        assert (slots, replace(told, until=pause.until)) == (0, pause)
        assert told.until > pause.until - 5, "not that of the shorter one"
    assert renew(two, f"other.{host}", 16) == 16


def test_after_a_pause_workers_get_slots_again(redis_url: str, host: str) -> None:
    one, two = worker(redis_url), worker(redis_url)
    pause = Pause(host, time.time() + 0.5, 1, "http_429")
    one.renew({host: LeaseRequest(0, 0, pause)}, 16)
    wait_until(lambda: renew(two, host, 16) == 16)
    assert time.time() > pause.until - 0.1


def test_a_lease_that_is_not_renewed_expires(redis_url: str, host: str, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEASE_SECONDS", 1)
    renew(worker(redis_url), host, 16)
    two = worker(redis_url)
    assert renew(two, host, 16) == 0
    wait_until(lambda: renew(two, host, 16) == 16)


def test_a_lease_from_before_the_clock_of_redis_was_set_back_expires(
    redis_url: str, host: str, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEASE_SECONDS", 1)
    client = redis.Redis.from_url(redis_url)
    client.hset(module.KEY_PREFIX + host, "dead worker", f"16 16 {int(time.time()) + 3600}")
    one = worker(redis_url)
    assert renew(one, host, 16) == 0
    wait_until(lambda: renew(one, host, 16) == 16)


def test_a_pause_does_not_depend_on_the_clocks_of_the_workers(
    redis_url: str, host: str, monkeypatch: MonkeyPatch
) -> None:
    one, two = worker(redis_url), worker(redis_url)
    one.renew({host: LeaseRequest(0, 0, Pause(host, time.time() + 60, 1, "http_429"))}, 16)
    an_hour_earlier = time.time() - 3600
    monkeypatch.setattr("processing.hosts.leases.time.time", lambda: an_hour_earlier)
    pause = two.renew({host: LeaseRequest(1, 0)}, 16)[host].pause
    assert pause
    assert an_hour_earlier < pause.until <= an_hour_earlier + 60


def test_a_pause_does_not_grow_by_being_told(redis_url: str, host: str, monkeypatch: MonkeyPatch) -> None:
    """However long Redis takes to answer: here a second, by the clock of the worker."""
    one = worker(redis_url)
    now = time.time()
    first = pause = Pause(host, now + 60, 1, "http_429")
    for _ in range(10):
        times = count(now)
        monkeypatch.setattr("processing.hosts.leases.time.time", times.__next__)
        told = one.renew({host: LeaseRequest(0, 0, pause)}, 16)[host].pause
        assert told
        pause = told
    assert pause.until < first.until + 0.1


def test_a_pause_from_before_the_clock_of_redis_was_set_back_is_the_longest_at_most(
    redis_url: str, host: str
) -> None:
    client = redis.Redis.from_url(redis_url)
    client.set(f"{module.KEY_PREFIX}{host}:pause", "1 http_429", px=3_600_000)
    pause = worker(redis_url).renew({host: LeaseRequest(1, 0)}, 16)[host].pause
    assert pause
    assert pause.until <= time.time() + MAX_PAUSE_SECONDS


def test_redis_keeps_nothing_of_hosts_that_are_no_longer_requested(
    redis_url: str, host: str, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEASE_SECONDS", 1)
    renew(worker(redis_url), host, 16)
    client = redis.Redis.from_url(redis_url)
    assert client.keys(f"*{host}*")
    wait_until(lambda: not client.keys(f"*{host}*"))


def test_without_redis_a_worker_gets_all_slots_of_a_host(host: str) -> None:
    assert renew(worker(None), host, 1) == 16


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


def test_a_redis_that_is_down_or_silent_stops_no_worker_and_is_asked_again_later(
    own_redis: Redis, host: str, monkeypatch: MonkeyPatch, caplog: LogCaptureFixture
) -> None:
    one, two = worker(own_redis.url), worker(own_redis.url)
    assert renew(one, host, 16) == 16
    own_redis.pause()
    assert renew(two, host, 16) == 16
    assert "Redis does not answer" in caplog.text
    own_redis.resume()
    assert renew(two, host, 16) == 16  # Redis is not asked again so soon
    monkeypatch.setattr(module, "REDIS_DOWN_SECONDS", 0)
    two._down_until = 0
    assert renew(two, host, 16, used=2) == 0
    own_redis.kill()
    assert renew(two, host, 16) == 16
