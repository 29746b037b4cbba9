"""How this worker treats hosts that have had enough: left alone for a while, or asked more slowly."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock

#: Failures in a row after which a host is left alone.
FAILURES = 10
#: Seconds for which it is, longer each time that nothing but failures comes between. After the last of them
#: it is asked as ever until it answers: a host that is down for good delays a Request by half a minute.
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
#: The pace after "too many requests", as a share of what the host has answered; each answer raises it.
SLOWER, FASTER = 0.8, 1.002
#: Where there was no answer to go by: seconds between requests at first, and how much faster each answer
#: makes them, so that a host that refuses us whatever we do sees few of them.
CAREFUL, SOONER = 1.0, 1.2
#: Seconds between two requests: a slower pace is never kept to, and a faster one is none.
SLOWEST, FASTEST = 2.0, 0.001
#: Seconds without a request after which the answers before it say nothing about the pace of those after it,
#: and after which a host is forgotten.
GAP, FORGET_AFTER = 10.0, 600.0
#: The most hosts of which others are told that they are left alone: each claim of pictures names them all.
MOST_PAUSED = 500


@dataclass(frozen=True, slots=True)
class Pause:
    """A host (host:port) that is left alone until `until` (Unix time), the how manieth time in a row, why."""

    host: str
    until: float
    number: int
    code: str

    @property
    def wants_rest(self) -> bool:
        """Whether the host asked for it, rather than failed."""
        return self.code in ("http_429", "http_503")


@dataclass(slots=True)
class _Host:
    counted_from: float  # Unix time, as all moments here: workers tell each other
    begun_at: float
    paused_until: float = 0.0
    code: str = ""
    pauses: int = 0  # in a row, as are failures
    failures: int = 0
    answers: int = 0  # since `counted_from`
    refused_at: float | None = None  # by which the pace has not yet been set
    interval: float = 0.0
    faster: float = FASTER
    next_at: float = 0.0

    def pause_of(self, host: str, now: float) -> Pause | None:
        if now >= self.paused_until:
            return None
        return Pause(host, self.paused_until, self.pauses, self.code)

    def is_to_be_forgotten(self, now: float) -> bool:
        is_as_ever = not (self.refused_at or self.interval or self.pauses or self.failures)
        return now >= self.paused_until and (is_as_ever or now - self.begun_at > FORGET_AFTER)


class Hosts:
    """What became of requests to each host, and what follows for the next ones. Safe for any threads."""

    def __init__(self) -> None:
        self._lock = Lock()  # guards all that follows
        self._hosts: dict[str, _Host] = {}
        self._news: list[Pause] = []

    def answered(self, host: str) -> None:
        """It has answered, with a picture or with something definite."""
        with self._lock:
            state = self._state(host)
            state.pauses = state.failures = 0
            state.answers += 1
            state.interval /= state.faster
            if state.interval < FASTEST:
                state.interval = 0.0

    def refused(self, host: str, seconds: float | None, code: str) -> None:
        """It wants fewer requests, and none for `seconds` if it says so.

        What was on its way already when another was refused says nothing new.
        """
        with self._lock:
            state, now = self._state(host), time.time()
            if now >= state.paused_until:
                state.refused_at = now
                self._pause(host, state, PAUSES[min(state.pauses, len(PAUSES) - 1)], code)
            if seconds is not None and now + seconds > state.paused_until:
                self._leave_alone(host, state, now + seconds, code)

    def failed(self, host: str, code: str) -> None:
        """It could not be reached, or could not answer."""
        with self._lock:
            state = self._state(host)
            state.failures += 1
            if (
                time.time() >= state.paused_until
                and state.failures >= FAILURES
                and state.pauses < len(PAUSES)
            ):
                self._pause(host, state, PAUSES[state.pauses], code)

    def begin(self, host: str) -> bool:
        """Whether a request may be made now; if so, it counts as made."""
        with self._lock:
            state, now = self._state(host), time.time()
            if now < max(state.paused_until, state.next_at):
                return False
            if state.refused_at is not None:
                self._slow_down(state, state.refused_at)
            elif now - state.begun_at > GAP:
                state.answers, state.counted_from = 0, now
            state.begun_at, state.next_at = now, now + state.interval
            return True

    def ready_in(self, host: str) -> float:
        """In how many seconds a request may be made."""
        with self._lock:
            state = self._hosts.get(host)
            return max(0.0, max(state.paused_until, state.next_at) - time.time()) if state else 0.0

    def worth(self, host: str) -> int | None:
        """How many requests can be made within a second; None: as many as there are."""
        with self._lock:
            state = self._hosts.get(host)
            if state is None or (not state.interval and time.time() >= state.paused_until):
                return None
            return 0 if time.time() < state.paused_until else max(1, round(1 / state.interval))

    def pause_of(self, host: str) -> Pause | None:
        """Why and until when it is left alone, if it is."""
        with self._lock:
            state = self._hosts.get(host)
            return state.pause_of(host, time.time()) if state else None

    def paused(self) -> dict[str, Pause]:
        """Who is left alone now, by host; of more than MOST_PAUSED those that are so for longest."""
        with self._lock:
            now = time.time()
            pauses = [pause for host, state in self._hosts.items() if (pause := state.pause_of(host, now))]
        pauses.sort(key=lambda pause: pause.until, reverse=True)
        return {pause.host: pause for pause in pauses[:MOST_PAUSED]}

    def take_news(self) -> list[Pause]:
        """Pauses that have begun here since the last call, the latest of each host."""
        with self._lock:
            news, self._news = {pause.host: pause for pause in self._news}, []
            return list(news.values())

    def learn(self, pauses: Iterable[Pause]) -> None:
        """Heed pauses that have begun elsewhere; whom others ask too often is asked at a pace here, too."""
        with self._lock:
            for pause in pauses:
                state = self._state(pause.host)
                if pause.until > state.paused_until:
                    state.paused_until, state.code = pause.until, pause.code
                    state.pauses = max(state.pauses, pause.number)
                    if pause.code == "http_429" and not state.interval:
                        state.refused_at = state.refused_at or time.time()

    def forget(self, but: Iterable[str]) -> None:
        """Forget hosts of which there is nothing to be said, but for those of which pictures are in hand."""
        with self._lock:
            now = time.time()
            over = [host for host, state in self._hosts.items() if state.is_to_be_forgotten(now)]
            for host in over:
                if host not in but:
                    del self._hosts[host]

    def _state(self, host: str) -> _Host:
        if host not in self._hosts:
            now = time.time()
            self._hosts[host] = _Host(counted_from=now, begun_at=now)
        return self._hosts[host]

    def _pause(self, host: str, state: _Host, seconds: float, code: str) -> None:
        state.pauses += 1
        self._leave_alone(host, state, time.time() + seconds, code)

    def _slow_down(self, state: _Host, refused_at: float) -> None:
        """Set the pace by what was answered, including what was on its way when it was too much."""
        if state.answers:
            pace = SLOWER * state.answers / max(1.0, refused_at - state.counted_from)
            state.interval, state.faster = min(max(1 / pace, state.interval), SLOWEST), FASTER
        elif not state.interval:
            state.interval, state.faster = CAREFUL, SOONER
        state.answers, state.counted_from, state.refused_at = 0, time.time(), None

    def _leave_alone(self, host: str, state: _Host, until: float, code: str) -> None:
        state.paused_until, state.code, state.failures = until, code, 0
        self._news.append(Pause(host, until, state.pauses, code))
