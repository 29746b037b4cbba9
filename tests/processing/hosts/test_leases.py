"""Workers share the places at a host, in a real Redis."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from secrets import token_hex

import pytest
import redis
from pytest import LogCaptureFixture, MonkeyPatch

from processing.hosts import leases as module
from processing.hosts.leases import Leases, Share, Want
from processing.hosts.rate_limit import Pause
from tests.support.parallel import together, wait_until
from tests.support.servers import Redis


@pytest.fixture
def host() -> str:
    """A host of which no other test has leases."""
    return f"{token_hex(8)}.example"


def worker(url: str | None) -> Leases:
    return Leases(url, uuid.uuid4())


def ask(leases: Leases, host: str, wanted: int, used: int = 0, *, limit: int = 16) -> int:
    return leases.ask({host: Want(wanted, used)}, limit)[host].places


def test_who_is_alone_gets_what_it_wants_up_to_the_limit(redis_url: str, host: str) -> None:
    one = worker(redis_url)
    assert [ask(one, host, wanted) for wanted in (1, 16, 40)] == [1, 16, 16]


def test_a_second_worker_gets_its_half_when_the_first_has_given_it_back(redis_url: str, host: str) -> None:
    one, two = worker(redis_url), worker(redis_url)
    assert ask(one, host, 16) == 16
    assert ask(two, host, 16) == 0
    assert ask(one, host, 16, used=16) == 8
    assert ask(two, host, 16) == 0  # the first still uses all
    assert ask(one, host, 16, used=11) == 8
    assert ask(two, host, 16) == 5
    assert ask(one, host, 16, used=8) == 8
    assert ask(two, host, 16, used=5) == 8


def test_what_the_others_do_not_want_is_not_kept_for_them(redis_url: str, host: str) -> None:
    one, two = worker(redis_url), worker(redis_url)
    assert ask(one, host, 2) == 2
    assert ask(two, host, 16) == 14


def test_more_workers_than_places_share_them_one_each(redis_url: str, host: str) -> None:
    workers = [worker(redis_url) for _ in range(6)]
    assert sum(ask(one, host, 1, limit=4) for one in workers) == 4


def test_however_many_ask_at_once_all_together_keep_to_the_limit(redis_url: str, host: str) -> None:
    workers = [worker(redis_url) for _ in range(8)]
    shares = together([lambda one=one: ask(one, host, 16, limit=10) for one in workers])  # type: ignore[misc]
    assert 0 < sum(shares) <= 10


def test_hosts_do_not_share_their_places(redis_url: str, host: str) -> None:
    one, two = worker(redis_url), worker(redis_url)
    shares = one.ask({host: Want(16, 0), f"other.{host}": Want(3, 0)}, 16)
    assert shares == {host: Share(16), f"other.{host}": Share(3)}
    assert ask(two, f"other.{host}", 16) == 13


def test_a_share_can_be_given_back_at_once(redis_url: str, host: str) -> None:
    one, two = worker(redis_url), worker(redis_url)
    ask(one, host, 16)
    ask(one, host, 0)
    assert ask(two, host, 16) == 16


def test_nobody_gets_places_at_a_host_that_another_leaves_alone(redis_url: str, host: str) -> None:
    one, two = worker(redis_url), worker(redis_url)
    assert ask(one, host, 16) == 16
    pause = Pause(host, time.time() + 0.5, 2, "http_429")
    shorter = replace(pause, until=time.time() + 0.1, code="connect")
    for told in (pause, shorter):
        assert one.ask({host: Want(0, 0, told)}, 16) == {host: Share(0, pause)}
    assert two.ask({host: Want(16, 0)}, 16) == {host: Share(0, pause)}
    assert ask(two, f"other.{host}", 16) == 16
    wait_until(lambda: ask(two, host, 16) == 16)
    assert time.time() >= pause.until


def test_the_share_of_a_worker_that_says_nothing_any_more_is_others(
    redis_url: str, host: str, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEASE_SECONDS", 1)
    ask(worker(redis_url), host, 16)
    two = worker(redis_url)
    assert ask(two, host, 16) == 0
    wait_until(lambda: ask(two, host, 16) == 16)


def test_nothing_is_left_in_redis_of_hosts_that_nobody_asks(
    redis_url: str, host: str, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEASE_SECONDS", 1)
    ask(worker(redis_url), host, 16)
    client = redis.Redis.from_url(redis_url)
    assert client.keys(f"*{host}*")
    wait_until(lambda: not client.keys(f"*{host}*"))


def test_without_redis_a_worker_has_every_host_for_itself(host: str) -> None:
    assert ask(worker(None), host, 1) == 16


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


def test_a_redis_that_is_down_or_silent_stops_nobody_and_is_asked_again_later(
    own_redis: Redis, host: str, monkeypatch: MonkeyPatch, caplog: LogCaptureFixture
) -> None:
    one, two = worker(own_redis.url), worker(own_redis.url)
    assert ask(one, host, 16) == 16
    own_redis.pause()
    assert ask(two, host, 16) == 16
    assert "Redis does not answer" in caplog.text
    own_redis.resume()
    assert ask(two, host, 16) == 16  # not asked again so soon
    monkeypatch.setattr(module, "DOWN_SECONDS", 0)
    two._down_until = 0
    assert ask(two, host, 16, used=2) == 0
    own_redis.kill()
    assert ask(two, host, 16) == 16
