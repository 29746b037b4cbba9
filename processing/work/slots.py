"""Slots of a worker process: how many Images it may hold and fetch, in all and from each host."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable
from itertools import chain, filterfalse, islice
from typing import TypeVar
from uuid import UUID

from processing.hosts.leases import Lease, LeaseRequest
from processing.hosts.rate_limit import RateLimiter
from processing.timing import FIRST_CLAIM_PAUSE_SECONDS, MAX_CLAIM_PAUSE_SECONDS
from processing.work.claim import ClaimedImage
from processing.work.shares import FetchShares
from products.catalogue import ARCHIVE_HOST

#: Waiting Images are released for other workers when none of their host has started for so long.
STALLED_SECONDS = 1.0
#: How long a worker that got no lease of a host goes on asking for one: others need time to return theirs.
WANTED_SECONDS = 5.0
#: Most Images that are claimed at once, and that wait to start: as many as one host has slots, times this.
#: All of them may be of one slow host.
CLAIM_FACTOR = 4
#: A host is busy, and left out of claims, while so many of its Images are held, times its slots: those in
#: work, and as many again that start before the next claim has come.
BUSY_FACTOR = 2
#: Most hosts that are left out of claims because their Images were released as stalled: each claim names all.
MAX_STALLED_HOSTS = 500

T = TypeVar("T")


class Slots:
    """Counts the Images that this process holds: those being worked on, and those that wait to start.

    An Image starts when a place is free, the rate limiter lets its host (host:port) be requested, and fewer
    Images of the host are being fetched than this worker has leased of the `per_host` slots that all workers
    share. Hosts that have never answered have a share of the places (`FetchShares`). Hosts are served one
    after another, and so are the owners of Images of one host. Images of a ZIP need no more than a place.

    Used in the event loop only.
    """

    def __init__(self, places: int, per_host: int, rate_limiter: RateLimiter) -> None:
        self._places = places
        self.per_host = per_host
        self._rate_limiter = rate_limiter
        self.stopping = False
        #: Set while no Image is held and no lane is feeding.
        self.empty = asyncio.Event()
        self.empty.set()
        #: Set when a Request has nothing in hand any more; to be cleared before waiting for it.
        self.ended = asyncio.Event()
        self._fed: set[UUID] = set()
        self._in_hand: Counter[UUID] = Counter()  # Images held, and the lane that feeds, of each Request
        self._held: Counter[str] = Counter()
        self._fetching: Counter[str] = Counter()
        self._running = 0
        self._shares = FetchShares(places)
        # Images being fetched from silent hosts. One that was released and claimed again is fetched twice.
        self._silent: Counter[UUID] = Counter()
        self._waiting: dict[tuple[str, Hashable], deque[ClaimedImage]] = {}  # by host and owner
        self._leased: dict[str, int] = {}
        self._wanted_at: dict[str, float] = {}
        self._started_at: dict[str, float] = {}
        self._stalled: set[tuple[str, Hashable]] = set()  # by host and owner
        self._claim_pause = 0.0
        self._claims_paused_until = 0.0

    # --- Claims ---

    def begin_feeding(self, request_id: UUID) -> bool:
        """Note that a lane feeds this process: meanwhile its Request counts as in hand.

        Return False if another lane of the Request does so already.
        """
        if request_id in self._fed:
            return False
        self._fed.add(request_id)
        self._in_hand[request_id] += 1
        self.empty.clear()
        return True

    def end_feeding(self, request_id: UUID) -> None:
        """Note that the lane of a Request feeds no more."""
        self._fed.remove(request_id)
        self._end(request_id)

    def has_in_hand(self, request_id: UUID) -> bool:
        """Return whether an Image of a Request is held or a lane of it is feeding."""
        return request_id in self._in_hand

    def room(self, owner: Hashable = None) -> int:
        """Return how many Images of an owner to claim now; 0 if so few fit that it would not be worth it.

        Images that wait for a share of silent hosts take up none of the room of other owners.
        """
        if self.stopping:
            return 0
        if self._claim_pause:
            return 0 if self._held or time.monotonic() < self._claims_paused_until else 1
        most_waiting = min(self._places, CLAIM_FACTOR * self.per_host)
        room = self._places + most_waiting - self._held.total() + self._others_without_share(owner)
        return min(room, most_waiting) if room >= max(1, most_waiting // 2) else 0

    def pause_claims(self) -> None:
        """Claim nothing for a while, and then one Image to try; twice as long each time that this fails."""
        if time.monotonic() >= self._claims_paused_until:
            pause = max(FIRST_CLAIM_PAUSE_SECONDS, 2 * self._claim_pause)
            self._claim_pause = min(pause, MAX_CLAIM_PAUSE_SECONDS)
            self._claims_paused_until = time.monotonic() + self._claim_pause

    def resume_claims(self) -> None:
        """End the pause: storage works."""
        self._claim_pause = self._claims_paused_until = 0.0

    def busy_hosts(self, owner: Hashable = None) -> list[str]:
        """Return the hosts of which another Image of an owner could only wait."""
        stalled = {host for host, other in self._stalled if other == owner}
        known = {*self._held, *self._leased, *stalled, *self._rate_limiter.paused()}
        return [host for host in known if self.is_busy(host, owner)]

    def is_busy(self, host: str, owner: Hashable = None) -> bool:
        """Return whether another Image of a host and an owner could only wait."""
        if host == ARCHIVE_HOST:
            return False
        if (host, owner) in self._stalled:
            return True
        limit = self._rate_limiter.requests_per_second(host)
        most = BUSY_FACTOR * self.per_host if limit is None else min(limit, self.per_host)
        return self._held[host] >= most or self._leased.get(host) == 0

    # --- Images ---

    def add(self, images: list[ClaimedImage]) -> dict[str, int]:
        """Hold Images. Return how many slots are wanted of hosts of which more are needed now."""
        now = time.monotonic()
        for image in images:
            self._held[image.host] += 1
            self._waiting.setdefault((image.host, image.batch.owner_id), deque()).append(image)
            self._started_at.setdefault(image.host, now)
            self._in_hand[image.request_id] += 1
            self.empty.clear()
        hosts = {image.host for image in images} - {ARCHIVE_HOST}
        wanted = {host: min(self._held[host], self.per_host) for host in hosts}
        return {host: count for host, count in wanted.items() if count > self._leased.get(host, 0)}

    def start(self) -> list[ClaimedImage]:
        """Return the Images that start now."""
        started: list[ClaimedImage] = []
        while self._running < self._places and not self.stopping:
            key = next((key for key in self._waiting if self._may_start(*key)), None)
            if key is None:
                break
            images = self._waiting.pop(key)
            image = images.popleft()
            if images:
                self._waiting[key] = images  # behind the others
            self._begin(image)
            started.append(image)
        return started

    def seconds_to_start(self, at_most: float) -> float:
        """Return in how many seconds an Image may start because time has passed."""
        hosts = {host for host, _ in self._waiting}
        return min([at_most, *filter(None, map(self._rate_limiter.ready_in, hosts))])

    def fetched(self, image: ClaimedImage) -> None:
        """Free the host slot of an Image."""
        _decrement(self._fetching, image.host)
        self._stalled = {key for key in self._stalled if key[0] != image.host}
        if image.id in self._silent:
            _decrement(self._silent, image.id)
            self._shares.end(image.batch.owner_id)
            self._stalled.clear()

    def done(self, image: ClaimedImage) -> None:
        """Free the place of an Image."""
        self._running -= 1
        self._forget(image)

    def drop_slow(self) -> list[ClaimedImage]:
        """Drop waiting Images of paused hosts, and those that a slow host does not come to soon."""
        limits = {host: self._rate_limiter.requests_per_second(host) for host, _ in self._waiting}
        dropped = []
        for (host, _), images in self._waiting.items():
            limit = limits[host]
            while limit is not None and len(images) > limit:
                dropped.append(images.pop())
        self._waiting = {key: images for key, images in self._waiting.items() if images}
        return self._remove(dropped)

    def drop_stalled(self) -> list[ClaimedImage]:
        """Drop waiting Images of hosts of which none has started for STALLED_SECONDS.

        The hosts are busy until a fetch ends that the Images waited for. Otherwise the Images would be
        claimed and dropped again and again.
        """
        oldest = time.monotonic() - STALLED_SECONDS
        stalled = {
            (host, owner)
            for host, owner in self._waiting
            if self._started_at[host] < oldest and not self._rate_limiter.ready_in(host)
        }
        if self._running < self._places:
            waiting = (key for key in stalled if self._waits_for_fetch(*key))
            self._stalled |= set(islice(waiting, max(0, MAX_STALLED_HOSTS - len(self._stalled))))
        return self._drop(lambda image: (image.host, image.batch.owner_id) in stalled)

    def drop_requests(self, ids: set[UUID]) -> list[ClaimedImage]:
        """Drop the waiting Images of these Requests."""
        return self._drop(lambda image: image.request_id in ids)

    def waiting_requests(self) -> set[UUID]:
        """Return the Requests of which Images wait to start."""
        return {image.request_id for images in self._waiting.values() for image in images}

    def stop(self) -> list[ClaimedImage]:
        """Start no more Images, and drop the waiting ones."""
        self.stopping = True
        return self._drop(lambda _: True)

    # --- Leases ---

    def wanted(self) -> dict[str, int]:
        """Return how many slots are wanted of each host; 0 where a lease can be returned."""
        now = time.monotonic()
        held = {host: count for host, count in self._held.items() if host != ARCHIVE_HOST}
        self._wanted_at |= dict.fromkeys(held, now)
        recent = [host for host, at in self._wanted_at.items() if now - at < WANTED_SECONDS]
        self._wanted_at = {host: self._wanted_at[host] for host in recent}
        wanted = dict.fromkeys(self._leased, 0)
        if not self.stopping:
            wanted |= {host: self.per_host for host in recent if self._leased.get(host) == 0}
        return wanted | {host: min(count, self.per_host) for host, count in held.items()}

    def lease_requests(self, wanted: dict[str, int]) -> dict[str, LeaseRequest]:
        """Return requests for leases, and start nothing until the answer that others do not know of."""
        requests = {
            host: LeaseRequest(count, self._fetching[host], self._rate_limiter.pause_of(host))
            for host, count in wanted.items()
        }
        for host, request in requests.items():
            self._leased[host] = min(self._leased.get(host, 0), request.used)
        return requests

    def keep_to(self, requests: dict[str, LeaseRequest], leases: dict[str, Lease]) -> None:
        """Keep to the answers to requests."""
        self._rate_limiter.learn(lease.pause for lease in leases.values() if lease.pause)
        self._leased |= {host: lease.slots for host, lease in leases.items()}
        for host, request in requests.items():
            if not (request.wanted or request.used or self._held[host]):
                del self._leased[host]
        self._rate_limiter.forget(but=self._held)

    def _may_start(self, host: str, owner: Hashable) -> bool:
        if host == ARCHIVE_HOST:
            return True
        if self._fetching[host] >= self._leased.get(host, 0) or not self._has_share(host, owner):
            return False
        return self._rate_limiter.try_start(host)

    def _begin(self, image: ClaimedImage) -> None:
        self._running += 1
        self._fetching[image.host] += 1
        self._started_at[image.host] = time.monotonic()
        if image.host != ARCHIVE_HOST and not self._rate_limiter.has_answered(image.host):
            self._silent[image.id] += 1
            self._shares.begin(image.batch.owner_id)

    def _has_share(self, host: str, owner: Hashable) -> bool:
        return self._shares.has_room(owner, is_silent=not self._rate_limiter.has_answered(host))

    def _waits_for_fetch(self, host: str, owner: Hashable) -> bool:
        """Return whether a fetch has to end, of this host or of a silent one, before the next one starts."""
        return self._fetching[host] > 0 or (
            self._leased.get(host, 0) > 0 and not self._has_share(host, owner)
        )

    def _others_without_share(self, owner: Hashable) -> int:
        """Return how many Images of other owners wait for a share and not for a place."""
        if not self._silent or owner is None:
            return 0
        return sum(
            len(images)
            for (host, other), images in self._waiting.items()
            if other != owner
            and self._fetching[host] < self._leased.get(host, 0)
            and not self._has_share(host, other)
        )

    def _drop(self, is_dropped: Callable[[ClaimedImage], bool]) -> list[ClaimedImage]:
        dropped = list(filter(is_dropped, chain.from_iterable(self._waiting.values())))
        kept = ((key, deque(filterfalse(is_dropped, images))) for key, images in self._waiting.items())
        self._waiting = {key: images for key, images in kept if images}
        return self._remove(dropped)

    def _remove(self, images: list[ClaimedImage]) -> list[ClaimedImage]:
        for image in images:
            self._forget(image)
        return images

    def _forget(self, image: ClaimedImage) -> None:
        _decrement(self._held, image.host)
        if image.host not in self._held:
            self._started_at.pop(image.host, None)
        self._end(image.request_id)

    def _end(self, request_id: UUID) -> None:
        _decrement(self._in_hand, request_id)
        if request_id not in self._in_hand:
            self.ended.set()
        if not self._in_hand:
            self.empty.set()


def _decrement(counter: Counter[T], key: T) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
