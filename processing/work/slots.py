"""Slots of a worker process: how many Images it may hold and fetch, in all and from each host."""

import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition, Lock, RLock
from typing import TypeVar
from uuid import UUID

from processing.hosts.leases import LeaseRequest, Leases
from processing.hosts.rate_limit import RateLimiter
from processing.timing import FIRST_CLAIM_PAUSE_SECONDS, MAX_CLAIM_PAUSE_SECONDS
from processing.work.claim import ClaimedImage
from processing.work.shares import FetchShares

#: Waiting Images are released for other workers when none has started for so long.
STALLED_SECONDS = 1.0
#: How long a worker that got no lease of a host goes on asking for one: others need time to return theirs.
WANTED_SECONDS = 5.0
#: Seconds of work, at the present throughput, that may wait to start, so that claims can be few and large;
#: and the limit to it per thread: a killed process makes a suspect of every Image that it holds.
AHEAD_SECONDS = 0.5
MAX_AHEAD_PER_THREAD = 2
THROUGHPUT_SECONDS = 0.5

T = TypeVar("T")


class Throughput:
    """Images completed per second, measured over the last half second."""

    def __init__(self) -> None:
        self._per_second = 0.0
        self._done = 0
        self._since = time.monotonic()

    def done(self) -> None:
        """Count one more Image."""
        self._done += 1
        elapsed = time.monotonic() - self._since
        if elapsed >= THROUGHPUT_SECONDS:
            self._per_second = self._done / elapsed
            self._done, self._since = 0, time.monotonic()

    def ahead(self) -> int:
        """Return how many Images are AHEAD_SECONDS of work; 0 after a second with next to none."""
        is_recent = time.monotonic() - self._since < 2 * THROUGHPUT_SECONDS
        return round(self._per_second * AHEAD_SECONDS) if is_recent else 0


@dataclass(eq=False, slots=True)
class _Ticket:
    """A lane's place in the queue of those that want to claim for `owner`."""

    owner: Hashable


class Slots:
    """Counts the Images that this process holds: those being worked on, and those that wait to start.

    As many Images may wait as there are threads, or more while the work is fast, so that claims can be few
    and large. An Image starts when a thread is free, the rate limiter lets its host (host:port) be requested,
    and fewer Images of the host are being fetched than this worker has leased of the `per_host` slots that
    all workers share. Hosts that have never answered have a share of the threads (`FetchShares`). Hosts are
    served one after another. Thread-safe.
    """

    def __init__(self, threads: int, per_host: int, rate_limiter: RateLimiter, leases: Leases) -> None:
        self._threads = threads
        self._per_host = per_host
        self._rate_limiter = rate_limiter
        self._leases = leases
        self._leasing = Lock()  # one renewal at a time, so that the latest answer is the one kept
        self._stopping = False
        self._lock = RLock()  # guards all that follows
        # A condition for each event: waking a thread for nothing costs as much as storing a picture.
        self._room_made, self._host_freed, self._emptied = (Condition(self._lock) for _ in range(3))
        self._busy: Counter[UUID] = Counter()  # Images held and lanes that feed, of each Request
        self._turns: deque[_Ticket] = deque()
        self._held: Counter[str] = Counter()
        self._fetching: Counter[str] = Counter()
        self._running = 0
        self._shares = FetchShares(threads)
        self._silent: dict[UUID, Hashable] = {}  # the owner of each Image being fetched from a silent host
        self._waiting: dict[str, deque[ClaimedImage]] = {}
        self._leased: dict[str, int] = {}
        self._wanted_at: dict[str, float] = {}
        self._started_at: dict[str, float] = {}
        self._throughput = Throughput()
        self._throughputs: dict[str, Throughput] = {}
        self._last_started_at = time.monotonic()
        self._claim_pause = 0.0
        self._claims_paused_until = 0.0

    def pause_claims(self) -> None:
        """Claim nothing for a while, and then one Image to try; twice as long each time that this fails."""
        with self._lock:
            if time.monotonic() >= self._claims_paused_until:
                pause = max(FIRST_CLAIM_PAUSE_SECONDS, 2 * self._claim_pause)
                self._claim_pause = min(pause, MAX_CLAIM_PAUSE_SECONDS)
                self._claims_paused_until = time.monotonic() + self._claim_pause

    def resume_claims(self) -> None:
        """End the pause: storage works."""
        with self._lock:
            self._claim_pause = self._claims_paused_until = 0.0

    @contextmanager
    def fed(self, request_id: UUID) -> Iterator[None]:
        """Count a lane that feeds this process: meanwhile its Request counts as in hand."""
        with self._lock:
            self._busy[request_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._end(request_id)

    @contextmanager
    def claiming(self, seconds: float, owner: Hashable = None) -> Iterator[int]:
        """Wait until this thread may claim; yield how many Images to claim, 0 if `seconds` have passed.

        Lanes claim one at a time, first come first served, which shares the slots fairly between Requests.
        A claim is for as many Images as there are threads at most, since all of it may be of one slow host.
        Images that wait for a share of silent hosts take up none of the room of other owners.
        """
        ticket = _Ticket(owner)
        with self._lock:
            self._turns.append(ticket)
            self._room_made.wait_for(lambda: self._stopping or self._is_turn(ticket), timeout=seconds)
            room = self._room(owner) if self._is_turn(ticket) and not self._stopping else 0
        try:
            yield min(room, self._threads)
        finally:
            with self._lock:
                self._turns.remove(ticket)
                self._room_made.notify_all()

    def busy_hosts(self) -> list[str]:
        """Return the hosts of which another Image could only wait."""
        with self._lock:
            known = {*self._held, *self._leased, *self._rate_limiter.paused()}
            return [host for host in known if self._is_busy(host)]

    def wait_for_host(self, hosts: list[str], seconds: float) -> None:
        """Wait until one of the busy `hosts` is no longer busy, at most `seconds`."""
        with self._lock:
            self._host_freed.wait_for(
                lambda: self._stopping or not all(map(self._is_busy, hosts)), timeout=seconds
            )

    def wait_until_empty(self, seconds: float) -> None:
        """Wait until no Image is held and no lane is feeding, at most `seconds`."""
        with self._lock:
            self._emptied.wait_for(lambda: not self._busy, timeout=seconds)

    def wait_for_end(self, requests: Callable[[], Iterable[UUID]], seconds: float) -> None:
        """Wait until one of the Requests has no Image in hand and no lane feeding, at most `seconds`.

        `requests` is called each time that this has happened to some Request.
        """
        with self._lock:
            self._emptied.wait_for(lambda: not all(map(self._busy.get, requests())), timeout=seconds)

    def add(self, images: list[ClaimedImage]) -> list[ClaimedImage]:
        """Hold Images. Return those that start now."""
        with self._lock:
            self._busy.update(image.request_id for image in images)
            for image in images:
                self._held[image.host] += 1
                self._waiting.setdefault(image.host, deque()).append(image)
                self._started_at.setdefault(image.host, time.monotonic())
                self._throughputs.setdefault(image.host, Throughput())
            wanted = {image.host: min(self._held[image.host], self._per_host) for image in images}
            short = {host: count for host, count in wanted.items() if count > self._lease_of(host)}
        self._renew(short)
        return self.start()

    def start(self) -> list[ClaimedImage]:
        """Return the Images that start now because others have ended or time has passed."""
        with self._lock:
            self._host_freed.notify_all()  # the pause of some host may have ended
            return self._start()

    def seconds_to_start(self, at_most: float) -> float:
        """Return in how many seconds an Image may start because time has passed."""
        with self._lock:
            return min([at_most, *filter(None, map(self._rate_limiter.ready_in, self._waiting))])

    def renew_leases(self) -> None:
        """Renew the leases of the hosts of all held Images. Call this every second or so."""
        self._renew(self._wanted())
        with self._lock:
            self._rate_limiter.forget(but=self._held)
            self._throughputs = {host: self._throughputs[host] for host in self._held}

    def fetched(self, image: ClaimedImage) -> list[ClaimedImage]:
        """Free the host slot of an Image. Return those that start in its place."""
        with self._lock:
            _decrement(self._fetching, image.host)
            self._end_silence(image)
            return self._start()

    def done(self, image: ClaimedImage) -> list[ClaimedImage]:
        """Free the slot and the thread of an Image. Return those that start in its place."""
        with self._lock:
            self._running -= 1
            self._throughput.done()
            self._throughputs[image.host].done()
            self._forget(image)
            return self._start()

    def drop_slow(self) -> list[ClaimedImage]:
        """Drop waiting Images of paused hosts, and those that a slow host does not come to soon."""
        with self._lock:
            dropped = []
            for host, images in self._waiting.items():
                limit = self._rate_limiter.requests_per_second(host)
                while limit is not None and len(images) > limit:
                    dropped.append(images.pop())
            self._waiting = {host: images for host, images in self._waiting.items() if images}
            return self._remove(dropped)

    def drop_stalled(self) -> list[ClaimedImage]:
        """Drop waiting Images where no slot has become free for STALLED_SECONDS."""
        with self._lock:
            stalled = [host for host in self._waiting if self._is_stalled() or self._is_host_stalled(host)]
            self._throughputs |= {host: Throughput() for host in stalled}
            return self._drop(stalled)

    def waiting_requests(self) -> set[UUID]:
        """Return the Requests of which Images wait to start."""
        with self._lock:
            return {image.request_id for images in self._waiting.values() for image in images}

    def drop_requests(self, ids: set[UUID]) -> list[ClaimedImage]:
        """Drop the waiting Images of these Requests."""
        with self._lock:
            dropped = []
            for host, images in list(self._waiting.items()):
                dropped += [image for image in images if image.request_id in ids]
                self._waiting[host] = deque(image for image in images if image.request_id not in ids)
                if not self._waiting[host]:
                    del self._waiting[host]
            return self._remove(dropped)

    def stop(self) -> list[ClaimedImage]:
        """Start no more Images, and drop the waiting ones."""
        with self._lock:
            self._stopping = True
            self._room_made.notify_all()
            self._host_freed.notify_all()
            return self._drop(list(self._waiting))

    def _is_turn(self, ticket: _Ticket) -> bool:
        with_room = (one for one in self._turns if self._room(one.owner) >= self._enough())
        return next(with_room, None) is ticket

    def _enough(self) -> int:
        return 1 if self._claim_pause else max(1, self._max_waiting() // 2)

    def _room(self, owner: Hashable = None) -> int:
        if self._claim_pause:
            return 0 if self._held or time.monotonic() < self._claims_paused_until else 1
        if self._is_stalled():
            return 0
        return self._threads + self._max_waiting() - self._held.total() + self._others_without_share(owner)

    def _max_waiting(self) -> int:
        return max(self._threads, min(self._throughput.ahead(), MAX_AHEAD_PER_THREAD * self._threads))

    def _is_stalled(self) -> bool:
        return self._running >= self._threads and _is_stale(self._last_started_at)

    def _is_host_stalled(self, host: str) -> bool:
        return self._fetching[host] >= self._lease_of(host) and _is_stale(self._started_at[host])

    def _is_busy(self, host: str) -> bool:
        limit = self._rate_limiter.requests_per_second(host)
        most = self._max_held(host) if limit is None else min(limit, self._per_host)
        return self._held[host] >= most or self._leased.get(host) == 0

    def _max_held(self, host: str) -> int:
        throughput = self._throughputs.get(host)
        return self._per_host + (throughput.ahead() if throughput else 0)

    def _lease_of(self, host: str) -> int:
        return self._leased.get(host, 0)

    def _wanted(self) -> dict[str, int]:
        """Return how many slots are wanted of each host; 0 where a lease can be returned."""
        now = time.monotonic()
        with self._lock:
            self._wanted_at |= dict.fromkeys(self._held, now)
            recent = [host for host, at in self._wanted_at.items() if now - at < WANTED_SECONDS]
            self._wanted_at = {host: self._wanted_at[host] for host in recent}
            wanted = dict.fromkeys(self._leased, 0)
            if not self._stopping:
                wanted |= {host: self._per_host for host in recent if self._leased.get(host) == 0}
            return wanted | {host: min(count, self._per_host) for host, count in self._held.items()}

    def _renew(self, wanted: dict[str, int]) -> None:
        """Ask for leases of so many slots of each host, and keep to the answer."""
        with self._leasing:
            with self._lock:
                requests = {
                    host: LeaseRequest(count, self._fetching[host], self._rate_limiter.pause_of(host))
                    for host, count in wanted.items()
                }
                for host, request in requests.items():  # start none meanwhile that others do not know of
                    self._leased[host] = min(self._lease_of(host), request.used)
            leases = self._leases.renew(requests, self._per_host)
            self._rate_limiter.learn(lease.pause for lease in leases.values() if lease.pause)
            with self._lock:
                self._leased |= {host: lease.slots for host, lease in leases.items()}
                for host, request in requests.items():
                    if not (request.wanted or request.used or self._held[host]):
                        del self._leased[host]
                self._host_freed.notify_all()

    def _start(self) -> list[ClaimedImage]:
        started = []
        while self._running < self._threads and not self._stopping:
            host = next((host for host in self._waiting if self._may_start(host)), None)
            if host is None:
                break
            images = self._waiting.pop(host)
            started.append(images.popleft())
            if images:
                self._waiting[host] = images  # behind the other hosts
            self._running += 1
            self._fetching[host] += 1
            self._begin_silence(started[-1])
            self._started_at[host] = self._last_started_at = time.monotonic()
        return started

    def _may_start(self, host: str) -> bool:
        if self._fetching[host] >= self._lease_of(host) or not self._has_share(self._waiting[host][0]):
            return False
        return self._rate_limiter.try_start(host)

    def _lacks_share(self, image: ClaimedImage) -> bool:
        return self._fetching[image.host] < self._lease_of(image.host) and not self._has_share(image)

    def _has_share(self, image: ClaimedImage) -> bool:
        is_silent = not self._rate_limiter.has_answered(image.host)
        return self._shares.has_room(image.batch.owner_id, is_silent=is_silent)

    def _others_without_share(self, owner: Hashable) -> int:
        """Return how many Images of other owners wait for a share and not for a thread."""
        if not self._silent or owner is None:
            return 0
        firsts = ((images[0], len(images)) for images in self._waiting.values())
        return sum(
            count for image, count in firsts if image.batch.owner_id != owner and self._lacks_share(image)
        )

    def _begin_silence(self, image: ClaimedImage) -> None:
        if not self._rate_limiter.has_answered(image.host):
            self._silent[image.id] = image.batch.owner_id
            self._shares.begin(image.batch.owner_id)

    def _end_silence(self, image: ClaimedImage) -> None:
        if image.id in self._silent:
            self._shares.end(self._silent.pop(image.id))

    def _drop(self, hosts: list[str]) -> list[ClaimedImage]:
        return self._remove([image for host in hosts for image in self._waiting.pop(host)])

    def _remove(self, images: list[ClaimedImage]) -> list[ClaimedImage]:
        for image in images:
            self._forget(image)
        return images

    def _forget(self, image: ClaimedImage) -> None:
        _decrement(self._held, image.host)
        if image.host not in self._held:
            self._started_at.pop(image.host, None)
        self._end(image.request_id)
        if self._silent or self._room() >= self._enough():
            self._room_made.notify_all()
        if not self._is_busy(image.host):
            self._host_freed.notify_all()

    def _end(self, request_id: UUID) -> None:
        _decrement(self._busy, request_id)
        if request_id not in self._busy:
            self._emptied.notify_all()


def _decrement(counter: Counter[T], key: T) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _is_stale(moment: float) -> bool:
    return time.monotonic() - moment > STALLED_SECONDS
