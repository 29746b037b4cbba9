"""Hosts that have had enough are left alone or asked more slowly; a clock that the test sets."""

import pytest
from pytest import MonkeyPatch

from processing.hosts import backoff as module
from processing.hosts.rate_limit import (
    CAREFUL,
    FAILURES,
    FORGET_AFTER,
    GAP,
    MOST_PAUSED,
    PAUSES,
    SLOWER,
    SLOWEST,
    SOONER,
    Hosts,
)

HOST, OTHER = "shop.example", "other.example"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def hosts(clock: Clock) -> Hosts:
    return Hosts()


def pause_of(hosts: Hosts, clock: Clock, host: str = HOST) -> float:
    """For how many seconds it is left alone."""
    pause = hosts.paused().get(host)
    return round(pause.until - clock.now, 3) if pause else 0


def fail(hosts: Hosts, times: int = FAILURES) -> None:
    for _ in range(times):
        hosts.failed(HOST, "connect")


def test_a_host_is_left_alone_for_as_long_as_it_asks_and_others_are_not(hosts: Hosts, clock: Clock) -> None:
    hosts.refused(HOST, 40, "http_429")
    assert pause_of(hosts, clock) == hosts.ready_in(HOST) == 40
    assert not hosts.begin(HOST)
    assert hosts.begin(OTHER)
    clock.now += 39.9
    assert not hosts.begin(HOST)
    clock.now += 0.2
    assert hosts.begin(HOST)


def test_who_does_not_say_how_long_is_left_alone_for_longer_each_time(hosts: Hosts, clock: Clock) -> None:
    pauses = []
    for _ in range(len(PAUSES) + 2):
        hosts.refused(HOST, None, "http_429")
        pauses.append(pause_of(hosts, clock))
        clock.now += pauses[-1]
    assert pauses == [*PAUSES, PAUSES[-1], PAUSES[-1]]
    hosts.answered(HOST)
    hosts.refused(HOST, None, "http_429")
    assert pause_of(hosts, clock) == PAUSES[0]


def test_what_was_on_its_way_when_a_host_refused_makes_it_no_worse(hosts: Hosts, clock: Clock) -> None:
    for _ in range(16):
        hosts.refused(HOST, None, "http_429")
    assert pause_of(hosts, clock) == PAUSES[0]
    hosts.refused(HOST, 5, "http_429")
    assert pause_of(hosts, clock) == 5


def test_after_a_refusal_the_pace_is_below_what_the_host_has_answered(hosts: Hosts, clock: Clock) -> None:
    for _ in range(10):
        assert hosts.begin(HOST)
        hosts.answered(HOST)
    hosts.refused(HOST, 1, "http_429")
    clock.now += 1
    made = 0
    for _ in range(2000):
        made += hosts.begin(HOST)
        clock.now += 0.005
    assert made == pytest.approx(10 * 10 * SLOWER, abs=2)


def test_answers_on_their_way_when_a_host_refused_count_for_its_pace(hosts: Hosts, clock: Clock) -> None:
    hosts.refused(HOST, 1, "http_429")
    for _ in range(5):
        hosts.answered(HOST)
    clock.now += 1
    assert hosts.begin(HOST)
    assert hosts.worth(HOST) == 5 * SLOWER


def test_a_time_without_requests_does_not_count_for_the_pace(hosts: Hosts, clock: Clock) -> None:
    assert hosts.begin(HOST)
    hosts.answered(HOST)
    clock.now += GAP + 1
    for _ in range(10):
        assert hosts.begin(HOST)
        hosts.answered(HOST)
    hosts.refused(HOST, 1, "http_429")
    clock.now += 1
    assert hosts.begin(HOST)
    assert hosts.worth(HOST) == 10 * SLOWER


def test_each_answer_raises_the_pace_until_there_is_none(hosts: Hosts, clock: Clock) -> None:
    hosts.answered(HOST)
    hosts.refused(HOST, 1, "http_429")
    clock.now += 1
    assert hosts.begin(HOST)
    paces = []
    while (worth := hosts.worth(HOST)) is not None:
        paces.append(worth)
        hosts.answered(HOST)
    assert paces == sorted(paces)
    assert paces[0] == 1
    assert paces[-1] > 500


def test_no_pace_is_slower_than_the_slowest(hosts: Hosts, clock: Clock) -> None:
    hosts.answered(HOST)
    clock.now += 1000
    hosts.refused(HOST, 1, "http_429")
    clock.now += 1
    assert hosts.begin(HOST)
    assert hosts.ready_in(HOST) == SLOWEST


def ask_carefully(hosts: Hosts, clock: Clock) -> list[float]:
    """The seconds between requests that are all answered."""
    assert hosts.begin(HOST)
    intervals = []
    while (interval := hosts.ready_in(HOST)) > 0:
        intervals.append(interval)
        hosts.answered(HOST)
        clock.now += interval
        assert hosts.begin(HOST)
    return intervals


def test_who_never_answered_is_asked_carefully_and_soon_as_ever_if_it_answers(
    hosts: Hosts, clock: Clock
) -> None:
    for _ in range(2):
        hosts.refused(HOST, 2, "http_429")
        clock.now += 2
        assert hosts.begin(HOST)
        assert hosts.ready_in(HOST) == pytest.approx(CAREFUL)
    clock.now += CAREFUL
    intervals = ask_carefully(hosts, clock)
    assert intervals == sorted(intervals, reverse=True)
    assert sum(intervals) < CAREFUL * SOONER / (SOONER - 1)


def test_who_refuses_others_is_asked_carefully_here_too(hosts: Hosts, clock: Clock) -> None:
    elsewhere = Hosts()
    elsewhere.refused(HOST, 2, "http_429")
    hosts.learn(elsewhere.take_news())
    clock.now += 2.001
    assert ask_carefully(hosts, clock)[0] == pytest.approx(CAREFUL)


@pytest.mark.parametrize("code", ["connect", "http_503"])
def test_who_fails_for_others_is_asked_as_ever_after_its_pause(code: str, hosts: Hosts, clock: Clock) -> None:
    elsewhere = Hosts()
    for _ in range(FAILURES):
        elsewhere.failed(HOST, code)
    hosts.learn(elsewhere.take_news())
    clock.now += PAUSES[0] + 0.001
    assert ask_carefully(hosts, clock) == []


def test_failures_in_a_row_pause_a_host_for_longer_each_time_and_in_the_end_no_more(
    hosts: Hosts, clock: Clock
) -> None:
    fail(hosts, FAILURES - 1)
    hosts.answered(HOST)
    fail(hosts, FAILURES - 1)
    assert pause_of(hosts, clock) == 0
    pauses = []
    fail(hosts, 1)
    for _ in range(len(PAUSES) + 2):
        pauses.append(pause_of(hosts, clock))
        clock.now += pauses[-1]
        fail(hosts)
    assert pauses == [*PAUSES, 0, 0]
    hosts.answered(HOST)
    fail(hosts)
    assert pause_of(hosts, clock) == PAUSES[0]


def test_pauses_are_told_once_and_heeded_elsewhere(hosts: Hosts, clock: Clock) -> None:
    hosts.refused(HOST, 3, "http_429")
    news = hosts.take_news()
    assert [(pause.host, pause.until, pause.code) for pause in news] == [(HOST, clock.now + 3, "http_429")]
    assert hosts.take_news() == []
    elsewhere = Hosts()
    elsewhere.learn(news)
    assert pause_of(elsewhere, clock) == 3
    assert elsewhere.take_news() == []


def test_what_others_tell_does_not_shorten_a_pause(hosts: Hosts, clock: Clock) -> None:
    elsewhere = Hosts()
    elsewhere.refused(HOST, 3, "http_429")
    hosts.refused(HOST, 60, "http_429")
    hosts.learn(elsewhere.take_news())
    assert pause_of(hosts, clock) == 60


def test_hosts_of_which_there_is_nothing_to_be_said_are_forgotten(hosts: Hosts, clock: Clock) -> None:
    for host in (HOST, OTHER):
        assert hosts.begin(host)
        hosts.answered(host)
    hosts.refused("slow.example", 1, "http_429")
    hosts.answered("slow.example")  # which was on its way
    hosts.forget(but=[OTHER])
    assert set(hosts._hosts) == {OTHER, "slow.example"}


def test_who_never_answered_is_forgotten_some_time_after_the_last_request(hosts: Hosts, clock: Clock) -> None:
    assert hosts.begin(HOST)
    fail(hosts)
    hosts.forget(but=[])
    clock.now += FORGET_AFTER
    assert hosts.begin(OTHER)
    hosts.failed(OTHER, "connect")
    clock.now += 1
    hosts.forget(but=[])
    assert set(hosts._hosts) == {OTHER}


def test_of_very_many_who_are_left_alone_those_are_named_that_are_so_for_longest(
    hosts: Hosts, clock: Clock
) -> None:
    for number in range(MOST_PAUSED + 1):
        hosts.refused(f"{number}.example", 100 + number, "http_429")
    paused = hosts.paused()
    assert len(paused) == MOST_PAUSED
    assert "0.example" not in paused
    assert not hosts.begin("0.example")
