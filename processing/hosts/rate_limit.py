"""Rate limits of hosts: how fast this worker requests each host, and when it pauses.

Rate limits adapt to what the host answers. A host that refuses requests (429, or 503 with Retry-After) is
paused, then requested at a lower rate; a host that fails many times in a row is paused as well.

Times are on the monotonic clock, which nobody sets. Workers tell each other how long a pause still lasts.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

#: Failures in a row after which a host is paused.
MAX_FAILURES_IN_A_ROW = 10
#: Seconds of the first pause and of each that follows in a row. After the last one, a host that keeps failing
#: is requested without further pauses, so that it delays a Request by half a minute at most.
PAUSE_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0)
#: The longest Retry-After that counts for the whole host at once: of a host that has answered lately, and of
#: one that has not. A longer one may mean its own URL alone, until so many in a row have been refused.
MAX_WAIT_BETWEEN_ANSWERS_SECONDS, MAX_FIRST_WAIT_SECONDS = 16.0, 60.0
SEVERAL_REFUSALS = 3
#: The longest pause. A host that asks for more is tried again after it.
MAX_PAUSE_SECONDS = 300.0
#: Pauses told by others differ by so much from one's own, since Unix time is not the monotonic clock.
PAUSE_TOLERANCE_SECONDS = 0.05
#: The rate after a refusal, as a share of the rate of answers before it, and the factor by which each answer
#: raises the rate.
RATE_AFTER_REFUSAL, RATE_INCREASE = 0.8, 1.002
#: The same for a host that refused before it had answered anything: seconds between requests, and the factor
#: by which each answer raises the rate. A host that always refuses gets few requests.
FIRST_INTERVAL_SECONDS, FIRST_RATE_INCREASE = 1.0, 1.2
#: Limits to the seconds between two requests. Below the minimum there is no rate limit.
MAX_INTERVAL_SECONDS, MIN_INTERVAL_SECONDS = 2.0, 0.001
#: Seconds without a request after which earlier answers no longer count for the rate, and after which the
#: host is forgotten.
RATE_WINDOW_SECONDS, FORGET_SECONDS = 10.0, 600.0
#: Most paused hosts that workers tell each other. Each claim query names all of them.
MAX_PAUSED_HOSTS = 500


def asks_to_wait(code: str) -> bool:
    """Return whether a host with this error code asked for fewer requests. Otherwise it failed."""
    return code in ("http_429", "http_503")


@dataclass(frozen=True, slots=True)
class Pause:
    """A host (host:port) that gets no requests until `until` (Unix time of this machine).

    `number` counts its pauses in a row, `code` is the error code that caused it.
    """

    host: str
    until: float
    number: int
    code: str


@dataclass(slots=True)
class _HostState:
    counting_since: float
    last_request_at: float
    paused_until: float = 0.0
    refusals_in_a_row: int = 0
    code: str = ""
    pauses_in_a_row: int = 0
    failures_in_a_row: int = 0
    has_answered: bool = False
    answers: int = 0  # since `counting_since`
    refused_at: float | None = None  # a refusal that has not changed the rate yet
    interval: float = 0.0
    rate_increase: float = RATE_INCREASE
    next_at: float = 0.0

    def pause(self, host: str, now: float) -> Pause | None:
        if now >= self.paused_until:
            return None
        return Pause(host, _unix_time(self.paused_until), self.pauses_in_a_row, self.code)

    def wait_for_host(self, retry_after: float) -> float:
        """Return the seconds out of `retry_after`, which one URL was answered, that are to count for all."""
        if self.refusals_in_a_row >= SEVERAL_REFUSALS:
            return min(retry_after, MAX_PAUSE_SECONDS)
        most = MAX_WAIT_BETWEEN_ANSWERS_SECONDS if self.answers else MAX_FIRST_WAIT_SECONDS
        return retry_after if retry_after <= most else 0.0

    def lower_rate(self, refused_at: float) -> None:
        """Set the rate after a refusal from the answers before it, including those under way at the time."""
        if self.answers:
            rate = RATE_AFTER_REFUSAL * self.answers / max(1.0, refused_at - self.counting_since)
            self.interval = min(max(1 / rate, self.interval), MAX_INTERVAL_SECONDS)
            self.rate_increase = RATE_INCREASE
        elif not self.interval:
            self.interval, self.rate_increase = FIRST_INTERVAL_SECONDS, FIRST_RATE_INCREASE
        self.answers, self.counting_since, self.refused_at = 0, time.monotonic(), None

    def can_be_forgotten(self, now: float) -> bool:
        in_a_row = self.pauses_in_a_row or self.failures_in_a_row or self.refusals_in_a_row
        is_default = not (self.refused_at or self.interval or in_a_row)
        return now >= self.paused_until and (is_default or now - self.last_request_at > FORGET_SECONDS)


class RateLimiter:
    """The rate limits of all hosts in this process. Used in its event loop only."""

    def __init__(self) -> None:
        self._hosts: dict[str, _HostState] = {}
        self._news: list[Pause] = []

    def answered(self, host: str) -> None:
        """Count an answer: a picture, or an error that is not a failure of the host."""
        state = self._state(host)
        state.pauses_in_a_row = state.failures_in_a_row = state.refusals_in_a_row = 0
        state.has_answered = True
        state.answers += 1
        state.interval /= state.rate_increase
        if state.interval < MIN_INTERVAL_SECONDS:
            state.interval = 0.0

    def refused(self, host: str, retry_after: float | None, code: str) -> None:
        """Note that the host asked for fewer requests, and for none within `retry_after` seconds if given.

        A long `retry_after` counts for the host only if several requests in a row are refused, and not for
        longer than MAX_PAUSE_SECONDS. Refusals that arrive while the host is paused only extend the pause.
        """
        state, now = self._state(host), time.monotonic()
        state.refusals_in_a_row += 1
        if now >= state.paused_until:
            state.refused_at = now
            seconds = PAUSE_SECONDS[min(state.pauses_in_a_row, len(PAUSE_SECONDS) - 1)]
            self._pause_next(host, state, seconds, code)
        wait = state.wait_for_host(retry_after or 0.0)
        if now + wait > state.paused_until:
            self._pause_until(host, state, now + wait, code)

    def failed(self, host: str, code: str) -> None:
        """Note that the host could not be reached, or could not answer."""
        state = self._state(host)
        state.failures_in_a_row += 1
        if (
            time.monotonic() >= state.paused_until
            and state.failures_in_a_row >= MAX_FAILURES_IN_A_ROW
            and state.pauses_in_a_row < len(PAUSE_SECONDS)
        ):
            self._pause_next(host, state, PAUSE_SECONDS[state.pauses_in_a_row], code)

    def try_start(self, host: str) -> bool:
        """Return whether a request may be made now, and count it if so."""
        state, now = self._state(host), time.monotonic()
        if now < max(state.paused_until, state.next_at):
            return False
        if state.refused_at is not None:
            state.lower_rate(state.refused_at)
        elif now - state.last_request_at > RATE_WINDOW_SECONDS:
            state.answers, state.counting_since = 0, now
        state.last_request_at, state.next_at = now, now + state.interval
        return True

    def ready_in(self, host: str) -> float:
        """Return the seconds until a request may be made; 0 if now."""
        state = self._hosts.get(host)
        return max(0.0, max(state.paused_until, state.next_at) - time.monotonic()) if state else 0.0

    def has_answered(self, host: str) -> bool:
        """Return whether the host has answered since it was last forgotten."""
        state = self._hosts.get(host)
        return state is not None and state.has_answered

    def requests_per_second(self, host: str) -> int | None:
        """Return the number of requests that may be made within a second; None if there is no limit."""
        state = self._hosts.get(host)
        if state is None or (not state.interval and time.monotonic() >= state.paused_until):
            return None
        return 0 if time.monotonic() < state.paused_until else max(1, round(1 / state.interval))

    def pause_of(self, host: str) -> Pause | None:
        """Return the pause of a host, if it is paused."""
        state = self._hosts.get(host)
        return state.pause(host, time.monotonic()) if state else None

    def paused(self) -> dict[str, Pause]:
        """Return the pauses by host, the longest MAX_PAUSED_HOSTS of them."""
        now = time.monotonic()
        pauses = [pause for host, state in self._hosts.items() if (pause := state.pause(host, now))]
        pauses.sort(key=lambda pause: pause.until, reverse=True)
        return {pause.host: pause for pause in pauses[:MAX_PAUSED_HOSTS]}

    def take_news(self) -> list[Pause]:
        """Return the pauses that began in this process since the last call, the latest of each host."""
        news, self._news = {pause.host: pause for pause in self._news}, []
        return list(news.values())

    def learn(self, pauses: Iterable[Pause]) -> None:
        """Apply pauses that began in other workers, and limit the rate of hosts that answered them 429."""
        for pause in pauses:
            state = self._state(pause.host)
            seconds = min(pause.until - time.time(), MAX_PAUSE_SECONDS)
            until = time.monotonic() + seconds
            if until > state.paused_until + PAUSE_TOLERANCE_SECONDS:
                state.paused_until, state.code = until, pause.code
                state.pauses_in_a_row = max(state.pauses_in_a_row, pause.number)
                if pause.code == "http_429" and not state.interval:
                    state.refused_at = state.refused_at or time.monotonic()

    def forget(self, but: Iterable[str]) -> None:
        """Forget hosts that have no rate limit and no pause, except those in `but`."""
        now = time.monotonic()
        over = [host for host, state in self._hosts.items() if state.can_be_forgotten(now)]
        for host in over:
            if host not in but:
                del self._hosts[host]

    def _state(self, host: str) -> _HostState:
        if host not in self._hosts:
            now = time.monotonic()
            self._hosts[host] = _HostState(counting_since=now, last_request_at=now)
        return self._hosts[host]

    def _pause_next(self, host: str, state: _HostState, seconds: float, code: str) -> None:
        state.pauses_in_a_row += 1
        self._pause_until(host, state, time.monotonic() + seconds, code)

    def _pause_until(self, host: str, state: _HostState, until: float, code: str) -> None:
        state.paused_until, state.code, state.failures_in_a_row = until, code, 0
        self._news.append(Pause(host, _unix_time(until), state.pauses_in_a_row, code))


def _unix_time(moment: float) -> float:
    """Return the Unix time of a moment on the monotonic clock."""
    return time.time() + (moment - time.monotonic())
