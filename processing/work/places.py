"""Who may begin: the places of a worker process, in all and at each host."""

import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock, RLock
from uuid import UUID

from processing.hosts.backoff import Hosts
from processing.hosts.leases import Leases, Want
from products.models import Image

#: Seconds without a beginning after which what waits behind full places is given back to other workers.
STALLED_AFTER = 1.0
#: Seconds without a claim after pictures that could not be stored: the first pause, and the longest.
PAUSES = (5.0, 30.0)
#: Seconds for which a worker that got no share of a host still asks for one; others need some to give it.
WANTED_SECONDS = 5.0
#: Seconds of work, at the present pace, that may wait to begin, so that claims can be few and large; and how
#: many times as many as there are threads at most, since all in hand is suspect if this process is killed.
AHEAD_SECONDS = 0.5
MOST_AHEAD = 2
PACE_SECONDS = 0.5


class Pace:
    """How much is done in a second, going by the last half second or so."""

    def __init__(self) -> None:
        self._per_second = 0.0
        self._done = 0
        self._since = time.monotonic()

    def done(self) -> None:
        """One more is done."""
        self._done += 1
        elapsed = time.monotonic() - self._since
        if elapsed >= PACE_SECONDS:
            self._per_second = self._done / elapsed
            self._done, self._since = 0, time.monotonic()

    def ahead(self) -> int:
        """How many are AHEAD_SECONDS of work; 0 after a second in which next to nothing was done."""
        is_of_late = time.monotonic() - self._since < 2 * PACE_SECONDS
        return round(self._per_second * AHEAD_SECONDS) if is_of_late else 0


class Places:
    """Counts the Images in hand: those that a thread is at, and those that wait to begin.

    As many again as there are threads may wait, or more while the work is fast, so that claims can be few and
    large. An Image begins when a thread is free, `hosts` lets its host (host:port) be asked, and fewer Images
    of that are being fetched than is this worker's share of the `per_host` that all workers may fetch; hosts
    take turns. Safe for any number of threads.
    """

    def __init__(self, threads: int, per_host: int, hosts: Hosts, leases: Leases) -> None:
        self._threads = threads
        self._per_host = per_host
        self._hosts = hosts
        self._leases = leases
        self._leasing = Lock()  # one asks at a time, so that what is agreed on last is what is kept to
        self._stopping = False
        self._lock = RLock()  # guards all that follows
        # One for each that is waited for: to wake a thread for nothing costs as much as to store a picture.
        self._room_made, self._host_freed, self._emptied = (Condition(self._lock) for _ in range(3))
        self._lanes = 0
        self._turns: deque[object] = deque()
        self._in_hand: Counter[str] = Counter()
        self._fetching: Counter[str] = Counter()
        self._running = 0
        self._waiting: dict[str, deque[Image]] = {}
        self._shares: dict[str, int] = {}
        self._wanted_at: dict[str, float] = {}
        self._begun_at: dict[str, float] = {}
        self._pace = Pace()
        self._paces: dict[str, Pace] = {}
        self._last_begun_at = time.monotonic()
        self._pause = 0.0
        self._paused_until = 0.0

    def pause(self) -> None:
        """Claim nothing for a while, and then one Image to try; twice as long each time that fails, too."""
        with self._lock:
            if time.monotonic() >= self._paused_until:
                shortest, longest = PAUSES
                self._pause = min(max(shortest, 2 * self._pause), longest)
                self._paused_until = time.monotonic() + self._pause

    def go_on(self) -> None:
        """Claim as ever."""
        with self._lock:
            self._pause = self._paused_until = 0.0

    @contextmanager
    def fed(self) -> Iterator[None]:
        """While a lane feeds this process, that is not empty for long."""
        with self._lock:
            self._lanes += 1
        try:
            yield
        finally:
            with self._lock:
                self._lanes -= 1
                self._tell_if_empty()

    @contextmanager
    def turn(self, seconds: float) -> Iterator[int]:
        """Wait for this thread's turn to claim; gives how many Images to claim, 0 if none within `seconds`.

        Lanes claim one at a time, first come first served, which shares the places fairly between Requests.
        A claim is for as many as there are threads at most: it may well be all of one slow host, and is not
        to keep others out once that has become the pace.
        """
        ticket = object()
        with self._lock:
            self._turns.append(ticket)
            self._room_made.wait_for(lambda: self._stopping or self._is_turn(ticket), timeout=seconds)
            room = self._room() if self._is_turn(ticket) and not self._stopping else 0
        try:
            yield min(room, self._threads)
        finally:
            with self._lock:
                self._turns.remove(ticket)
                self._room_made.notify_all()

    def busy_hosts(self) -> list[str]:
        """Hosts of which another Image could only wait."""
        with self._lock:
            known = {*self._in_hand, *self._shares, *self._hosts.paused()}
            return [host for host in known if self._is_busy(host)]

    def wait_for_host(self, hosts: list[str], seconds: float) -> None:
        """Wait until one of the busy `hosts` is busy no more."""
        with self._lock:
            self._host_freed.wait_for(
                lambda: self._stopping or not all(map(self._is_busy, hosts)), timeout=seconds
            )

    def wait_until_empty(self, seconds: float) -> None:
        """Wait until no Image is in hand, nor about to be."""
        with self._lock:
            self._emptied.wait_for(self._is_empty, timeout=seconds)

    def add(self, images: list[Image]) -> list[Image]:
        """Take Images in hand; those that begin now."""
        with self._lock:
            for image in images:
                self._in_hand[image.host] += 1
                self._waiting.setdefault(image.host, deque()).append(image)
                self._begun_at.setdefault(image.host, time.monotonic())
                self._paces.setdefault(image.host, Pace())
            wanted = {image.host: min(self._in_hand[image.host], self._per_host) for image in images}
            short = {host: count for host, count in wanted.items() if count > self._share(host)}
        self._agree(short)
        return self.begin()

    def begin(self) -> list[Image]:
        """Those that begin now, since others have ended or time has passed."""
        with self._lock:
            self._host_freed.notify_all()  # some host may have been left alone for long enough
            return self._begin()

    def seconds_to_begin(self, most: float) -> float:
        """In how many seconds, at most so many, an Image may begin because time has passed."""
        with self._lock:
            return min([most, *filter(None, map(self._hosts.ready_in, self._waiting))])

    def renew_shares(self) -> None:
        """Agree with other workers on the hosts of all Images in hand; to be called every second or so."""
        self._agree(self._wanted())
        with self._lock:
            self._hosts.forget(but=self._in_hand)
            self._paces = {host: self._paces[host] for host in self._in_hand}

    def fetched(self, image: Image) -> list[Image]:
        """An Image leaves its host alone from now on; those that begin instead."""
        with self._lock:
            _less(self._fetching, image.host)
            return self._begin()

    def done(self, image: Image) -> list[Image]:
        """An Image is out of hand and its thread free; those that begin instead."""
        with self._lock:
            self._running -= 1
            self._pace.done()
            self._paces[image.host].done()
            self._forget(image)
            return self._begin()

    def drop_slow(self) -> list[Image]:
        """Put down Images of hosts that are left alone, and those that a slow pace does not come to soon."""
        with self._lock:
            dropped = []
            for host, images in self._waiting.items():
                worth = self._hosts.worth(host)
                while worth is not None and len(images) > worth:
                    dropped.append(images.pop())
            self._waiting = {host: images for host, images in self._waiting.items() if images}
            return self._put_down(dropped)

    def drop_stalled(self) -> list[Image]:
        """Put down Images that wait behind full places where nothing has begun for a while."""
        with self._lock:
            stalled = [host for host in self._waiting if self._is_stalled() or self._is_host_stalled(host)]
            self._paces |= {host: Pace() for host in stalled}
            return self._drop(stalled)

    def waiting_requests(self) -> set[UUID]:
        """The Requests of which Images wait to begin."""
        with self._lock:
            return {image.request_id for images in self._waiting.values() for image in images}

    def drop_requests(self, ids: set[UUID]) -> list[Image]:
        """Put down what waits to begin of these Requests."""
        with self._lock:
            dropped = []
            for host, images in list(self._waiting.items()):
                dropped += [image for image in images if image.request_id in ids]
                self._waiting[host] = deque(image for image in images if image.request_id not in ids)
                if not self._waiting[host]:
                    del self._waiting[host]
            return self._put_down(dropped)

    def stop(self) -> list[Image]:
        """Nothing is claimed or begun any more; what has not begun is put down."""
        with self._lock:
            self._stopping = True
            self._room_made.notify_all()
            self._host_freed.notify_all()
            return self._drop(list(self._waiting))

    def _is_turn(self, ticket: object) -> bool:
        return self._turns[0] is ticket and self._room() >= self._enough()

    def _enough(self) -> int:
        return 1 if self._pause else max(1, self._most_waiting() // 2)

    def _room(self) -> int:
        if self._pause:
            return 0 if self._in_hand or time.monotonic() < self._paused_until else 1
        return 0 if self._is_stalled() else self._threads + self._most_waiting() - self._in_hand.total()

    def _most_waiting(self) -> int:
        return max(self._threads, min(self._pace.ahead(), MOST_AHEAD * self._threads))

    def _is_stalled(self) -> bool:
        return self._running >= self._threads and _is_long_ago(self._last_begun_at)

    def _is_host_stalled(self, host: str) -> bool:
        return self._fetching[host] >= self._share(host) and _is_long_ago(self._begun_at[host])

    def _is_busy(self, host: str) -> bool:
        worth = self._hosts.worth(host)
        most = self._most_of(host) if worth is None else min(worth, self._per_host)
        return self._in_hand[host] >= most or self._shares.get(host) == 0

    def _most_of(self, host: str) -> int:
        pace = self._paces.get(host)
        return self._per_host + (pace.ahead() if pace else 0)

    def _share(self, host: str) -> int:
        return self._shares.get(host, 0)

    def _wanted(self) -> dict[str, int]:
        """How many places are wanted at each host; 0 where a share can be given back."""
        now = time.monotonic()
        with self._lock:
            self._wanted_at |= dict.fromkeys(self._in_hand, now)
            lately = [host for host, at in self._wanted_at.items() if now - at < WANTED_SECONDS]
            self._wanted_at = {host: self._wanted_at[host] for host in lately}
            wanted = dict.fromkeys(self._shares, 0)
            if not self._stopping:
                wanted |= {host: self._per_host for host in lately if self._shares.get(host) == 0}
            return wanted | {host: min(count, self._per_host) for host, count in self._in_hand.items()}

    def _agree(self, wanted: dict[str, int]) -> None:
        """Ask for shares of the places at these hosts, and keep to what comes of it."""
        with self._leasing:
            with self._lock:
                wants = {
                    host: Want(count, self._fetching[host], self._hosts.pause_of(host))
                    for host, count in wanted.items()
                }
                for host, want in wants.items():  # no more begins of which others would not know
                    self._shares[host] = min(self._share(host), want.used)
            shares = self._leases.ask(wants, self._per_host)
            self._hosts.learn(share.pause for share in shares.values() if share.pause)
            with self._lock:
                self._shares |= {host: share.places for host, share in shares.items()}
                for host, want in wants.items():
                    if not (want.wanted or want.used or self._in_hand[host]):
                        del self._shares[host]
                self._host_freed.notify_all()

    def _begin(self) -> list[Image]:
        begun = []
        while self._running < self._threads and not self._stopping:
            host = next((host for host in self._waiting if self._may_begin(host)), None)
            if host is None:
                break
            images = self._waiting.pop(host)
            begun.append(images.popleft())
            if images:
                self._waiting[host] = images  # behind the other hosts
            self._running += 1
            self._fetching[host] += 1
            self._begun_at[host] = self._last_begun_at = time.monotonic()
        return begun

    def _may_begin(self, host: str) -> bool:
        return self._fetching[host] < self._share(host) and self._hosts.begin(host)

    def _drop(self, hosts: list[str]) -> list[Image]:
        return self._put_down([image for host in hosts for image in self._waiting.pop(host)])

    def _put_down(self, images: list[Image]) -> list[Image]:
        for image in images:
            self._forget(image)
        return images

    def _forget(self, image: Image) -> None:
        _less(self._in_hand, image.host)
        if image.host not in self._in_hand:
            self._begun_at.pop(image.host, None)
        self._tell_if_empty()
        if self._room() >= self._enough():
            self._room_made.notify_all()
        if not self._is_busy(image.host):
            self._host_freed.notify_all()

    def _is_empty(self) -> bool:
        return not self._in_hand and not self._lanes

    def _tell_if_empty(self) -> None:
        if self._is_empty():
            self._emptied.notify_all()


def _less(counter: Counter[str], host: str) -> None:
    counter[host] -= 1
    if not counter[host]:
        del counter[host]


def _is_long_ago(moment: float) -> bool:
    return time.monotonic() - moment > STALLED_AFTER
