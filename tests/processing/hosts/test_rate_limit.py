"""Pauses and rate limits of hosts, with a clock that the test sets."""

import pytest
from pytest import MonkeyPatch

from processing.hosts import rate_limit as module
from processing.hosts.rate_limit import (
    FIRST_INTERVAL_SECONDS,
    FIRST_RATE_INCREASE,
    FORGET_SECONDS,
    MAX_FAILURES_IN_A_ROW,
    MAX_INTERVAL_SECONDS,
    MAX_PAUSE_SECONDS,
    MAX_PAUSED_HOSTS,
    MAX_WAIT_BETWEEN_ANSWERS_SECONDS,
    PAUSE_SECONDS,
    RATE_AFTER_REFUSAL,
    RATE_WINDOW_SECONDS,
    SEVERAL_REFUSALS,
    Pause,
    RateLimiter,
)

HOST, OTHER = "shop.example", "other.example"


class Clock:
    """Unix time is `now` plus `set_by`, by which somebody has set the clock."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.set_by = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + self.set_by


@pytest.fixture
def clock(monkeypatch: MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def limiter(clock: Clock) -> RateLimiter:
    return RateLimiter()


def pause_seconds(limiter: RateLimiter, clock: Clock) -> float:
    """Return for how many seconds HOST is paused."""
    pause = limiter.paused().get(HOST)
    return round(pause.until - clock.now, 3) if pause else 0


def fail(limiter: RateLimiter, times: int = MAX_FAILURES_IN_A_ROW) -> None:
    for _ in range(times):
        limiter.failed(HOST, "connect")


def intervals_until_unlimited(limiter: RateLimiter, clock: Clock) -> list[float]:
    """Make requests that are all answered. Return the seconds between them until there is no rate limit."""
    assert limiter.try_start(HOST)
    intervals = []
    while (interval := limiter.ready_in(HOST)) > 0:
        intervals.append(interval)
        limiter.answered(HOST)
        clock.now += interval
        assert limiter.try_start(HOST)
    return intervals


# --- Pauses after refusals ---


def test_a_host_is_paused_for_as_long_as_it_asks_and_other_hosts_are_not(
    limiter: RateLimiter, clock: Clock
) -> None:
    limiter.refused(HOST, 40, "http_429")
    assert pause_seconds(limiter, clock) == limiter.ready_in(HOST) == 40
    assert not limiter.try_start(HOST)
    assert limiter.try_start(OTHER)
    clock.now += 39.9
    assert not limiter.try_start(HOST)
    clock.now += 0.2
    assert limiter.try_start(HOST)


def test_a_long_wait_for_one_url_does_not_pause_its_host(limiter: RateLimiter, clock: Clock) -> None:
    limiter.refused(HOST, 86_400, "http_429")
    assert pause_seconds(limiter, clock) == PAUSE_SECONDS[0]
    clock.now += PAUSE_SECONDS[0]
    assert limiter.try_start(HOST)
    limiter.answered(HOST)
    limiter.refused(HOST, MAX_WAIT_BETWEEN_ANSWERS_SECONDS + 1, "http_503")
    assert pause_seconds(limiter, clock) == PAUSE_SECONDS[0]


def test_a_host_that_asks_several_urls_for_a_long_wait_is_tried_again_now_and_then(
    limiter: RateLimiter, clock: Clock
) -> None:
    for _ in range(SEVERAL_REFUSALS):
        limiter.refused(HOST, 86_400, "http_429")
    for _ in range(3):
        assert pause_seconds(limiter, clock) == MAX_PAUSE_SECONDS
        clock.now += MAX_PAUSE_SECONDS
        assert limiter.try_start(HOST)
        assert not limiter.try_start(HOST)  # one request at a time
        limiter.refused(HOST, 86_400, "http_429")
    clock.now += MAX_PAUSE_SECONDS
    limiter.answered(HOST)
    limiter.refused(HOST, 86_400, "http_429")
    assert pause_seconds(limiter, clock) == PAUSE_SECONDS[0]


def test_no_pause_that_is_told_is_longer(limiter: RateLimiter, clock: Clock) -> None:
    limiter.learn([Pause(HOST, clock.time() + 86_400, 1, "http_429")])
    assert pause_seconds(limiter, clock) == MAX_PAUSE_SECONDS


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_clock_that_is_set_changes_no_pause_and_no_rate(
    limiter: RateLimiter, clock: Clock, seconds: float
) -> None:
    limiter.refused(HOST, 5, "http_429")
    limiter.refused(OTHER, 1, "http_429")
    clock.now += 2
    assert limiter.try_start(OTHER)
    interval = limiter.ready_in(OTHER)
    clock.set_by = seconds
    assert limiter.ready_in(HOST) == 3
    assert limiter.ready_in(OTHER) == interval
    (pause,) = limiter.paused().values()
    assert pause.until == clock.time() + 3
    clock.now += 3
    assert limiter.try_start(HOST)
    assert limiter.try_start(OTHER)


def test_without_retry_after_each_pause_in_a_row_is_longer(limiter: RateLimiter, clock: Clock) -> None:
    pauses = []
    for _ in range(len(PAUSE_SECONDS) + 2):
        limiter.refused(HOST, None, "http_429")
        pauses.append(pause_seconds(limiter, clock))
        clock.now += pauses[-1]
    assert pauses == [*PAUSE_SECONDS, PAUSE_SECONDS[-1], PAUSE_SECONDS[-1]]
    limiter.answered(HOST)
    limiter.refused(HOST, None, "http_429")
    assert pause_seconds(limiter, clock) == PAUSE_SECONDS[0]


def test_refusals_of_requests_under_way_do_not_lengthen_the_pause(limiter: RateLimiter, clock: Clock) -> None:
    for _ in range(16):
        limiter.refused(HOST, None, "http_429")
    assert pause_seconds(limiter, clock) == PAUSE_SECONDS[0]
    limiter.refused(HOST, 5, "http_429")
    assert pause_seconds(limiter, clock) == 5


# --- Rates after refusals ---


def test_the_rate_after_a_refusal_is_below_the_rate_of_answers(limiter: RateLimiter, clock: Clock) -> None:
    for _ in range(10):
        assert limiter.try_start(HOST)
        limiter.answered(HOST)
    limiter.refused(HOST, 1, "http_429")
    clock.now += 1
    made = 0
    for _ in range(2000):
        made += limiter.try_start(HOST)
        clock.now += 0.005
    assert made == pytest.approx(10 * 10 * RATE_AFTER_REFUSAL, abs=2)


def test_answers_to_requests_under_way_count_for_the_rate(limiter: RateLimiter, clock: Clock) -> None:
    limiter.refused(HOST, 1, "http_429")
    for _ in range(5):
        limiter.answered(HOST)
    clock.now += 1
    assert limiter.try_start(HOST)
    assert limiter.requests_per_second(HOST) == 5 * RATE_AFTER_REFUSAL


def test_a_time_without_requests_does_not_count_for_the_rate(limiter: RateLimiter, clock: Clock) -> None:
    assert limiter.try_start(HOST)
    limiter.answered(HOST)
    clock.now += RATE_WINDOW_SECONDS + 1
    for _ in range(10):
        assert limiter.try_start(HOST)
        limiter.answered(HOST)
    limiter.refused(HOST, 1, "http_429")
    clock.now += 1
    assert limiter.try_start(HOST)
    assert limiter.requests_per_second(HOST) == 10 * RATE_AFTER_REFUSAL


def test_each_answer_raises_the_rate_until_there_is_no_limit(limiter: RateLimiter, clock: Clock) -> None:
    limiter.answered(HOST)
    limiter.refused(HOST, 1, "http_429")
    clock.now += 1
    assert limiter.try_start(HOST)
    rates = []
    while (rate := limiter.requests_per_second(HOST)) is not None:
        rates.append(rate)
        limiter.answered(HOST)
    assert rates == sorted(rates)
    assert rates[0] == 1
    assert rates[-1] > 500


def test_no_rate_is_below_the_minimum(limiter: RateLimiter, clock: Clock) -> None:
    limiter.answered(HOST)
    clock.now += 1000
    limiter.refused(HOST, 1, "http_429")
    clock.now += 1
    assert limiter.try_start(HOST)
    assert limiter.ready_in(HOST) == MAX_INTERVAL_SECONDS


def test_a_host_that_never_answered_gets_few_requests_until_it_answers(
    limiter: RateLimiter, clock: Clock
) -> None:
    for _ in range(2):
        limiter.refused(HOST, 2, "http_429")
        clock.now += 2
        assert limiter.try_start(HOST)
        assert limiter.ready_in(HOST) == pytest.approx(FIRST_INTERVAL_SECONDS)
    clock.now += FIRST_INTERVAL_SECONDS
    intervals = intervals_until_unlimited(limiter, clock)
    assert intervals == sorted(intervals, reverse=True)
    assert sum(intervals) < FIRST_INTERVAL_SECONDS * FIRST_RATE_INCREASE / (FIRST_RATE_INCREASE - 1)


def test_a_host_with_a_limit_refuses_few_requests_until_its_limit_is_known(
    limiter: RateLimiter, clock: Clock
) -> None:
    """The host answers five requests in a second, each after 50 ms, and gets at most 16 at once."""
    answered: list[float] = []
    under_way: list[tuple[float, bool]] = []
    refused = 0
    while len(answered) < 100:
        clock.now += 0.01
        for ends_at, is_refused in [one for one in under_way if one[0] <= clock.now]:
            under_way.remove((ends_at, is_refused))
            if is_refused:
                refused += 1
                limiter.refused(HOST, 1, "http_429")
            else:
                limiter.answered(HOST)
        while len(under_way) < 16 and limiter.try_start(HOST):
            is_refused = sum(clock.now - moment < 1 for moment in answered) >= 5
            under_way.append((clock.now + 0.05, is_refused))
            if not is_refused:
                answered.append(clock.now)
    assert 0 < refused < 100 / 3


# --- Pauses after failures ---


def test_failures_in_a_row_pause_a_host_longer_each_time_but_not_without_end(
    limiter: RateLimiter, clock: Clock
) -> None:
    fail(limiter, MAX_FAILURES_IN_A_ROW - 1)
    limiter.answered(HOST)
    fail(limiter, MAX_FAILURES_IN_A_ROW - 1)
    assert pause_seconds(limiter, clock) == 0
    pauses = []
    fail(limiter, 1)
    for _ in range(len(PAUSE_SECONDS) + 2):
        pauses.append(pause_seconds(limiter, clock))
        clock.now += pauses[-1]
        fail(limiter)
    assert pauses == [*PAUSE_SECONDS, 0, 0]
    limiter.answered(HOST)
    fail(limiter)
    assert pause_seconds(limiter, clock) == PAUSE_SECONDS[0]


# --- Other workers ---


def test_pauses_are_told_once_and_applied_by_other_workers(limiter: RateLimiter, clock: Clock) -> None:
    limiter.refused(HOST, 3, "http_429")
    news = limiter.take_news()
    assert [(pause.host, pause.until, pause.code) for pause in news] == [(HOST, clock.now + 3, "http_429")]
    assert limiter.take_news() == []
    elsewhere = RateLimiter()
    elsewhere.learn(news)
    assert pause_seconds(elsewhere, clock) == 3
    assert elsewhere.take_news() == []


def test_a_pause_of_another_worker_does_not_shorten_a_longer_one(limiter: RateLimiter, clock: Clock) -> None:
    elsewhere = RateLimiter()
    elsewhere.refused(HOST, 3, "http_429")
    limiter.refused(HOST, 60, "http_429")
    limiter.learn(elsewhere.take_news())
    assert pause_seconds(limiter, clock) == 60


def test_a_host_that_refuses_other_workers_is_limited_here_too(limiter: RateLimiter, clock: Clock) -> None:
    elsewhere = RateLimiter()
    elsewhere.refused(HOST, 2, "http_429")
    limiter.learn(elsewhere.take_news())
    clock.now += 2.001
    assert intervals_until_unlimited(limiter, clock)[0] == pytest.approx(FIRST_INTERVAL_SECONDS)


@pytest.mark.parametrize("code", ["connect", "http_503"])
def test_a_host_that_fails_for_other_workers_has_no_rate_limit_after_its_pause(
    code: str, limiter: RateLimiter, clock: Clock
) -> None:
    elsewhere = RateLimiter()
    for _ in range(MAX_FAILURES_IN_A_ROW):
        elsewhere.failed(HOST, code)
    limiter.learn(elsewhere.take_news())
    clock.now += PAUSE_SECONDS[0] + 0.001
    assert intervals_until_unlimited(limiter, clock) == []


# --- Bounds ---


def test_hosts_without_pause_and_rate_limit_are_forgotten(limiter: RateLimiter, clock: Clock) -> None:
    for host in (HOST, OTHER):
        assert limiter.try_start(host)
        limiter.answered(host)
    limiter.refused("slow.example", 1, "http_429")
    limiter.answered("slow.example")  # a request that was under way
    limiter.forget(but=[OTHER])
    assert set(limiter._hosts) == {OTHER, "slow.example"}


def test_a_host_that_never_answered_is_forgotten_some_time_after_its_last_request(
    limiter: RateLimiter, clock: Clock
) -> None:
    assert limiter.try_start(HOST)
    fail(limiter)
    limiter.forget(but=[])
    clock.now += FORGET_SECONDS
    assert limiter.try_start(OTHER)
    limiter.failed(OTHER, "connect")
    clock.now += 1
    limiter.forget(but=[])
    assert set(limiter._hosts) == {OTHER}


def test_of_very_many_pauses_the_longest_are_named(limiter: RateLimiter, clock: Clock) -> None:
    for number in range(MAX_PAUSED_HOSTS + 1):
        limiter.refused(f"{number}.example", 10 + number / 100, "http_429")
    paused = limiter.paused()
    assert len(paused) == MAX_PAUSED_HOSTS
    assert "0.example" not in paused
    assert not limiter.try_start("0.example")
