"""Who may begin: the places of a worker process, in all and at each host."""

import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from uuid import UUID

from products.models import Image

#: Seconds without a beginning after which what waits behind full places is given back to other workers.
STALLED_AFTER = 1.0
#: Seconds without a claim after pictures that could not be stored: the first pause, and the longest.
PAUSES = (5.0, 30.0)


class Places:
    """Counts the Images in hand: those that a thread is at, and those that wait to begin.

    As many again as there are threads may wait, so that claims can be few and large. An Image begins when a
    thread is free and fewer than `per_host` Images of its host (host:port) are being fetched; hosts take
    turns. Safe for any number of threads.
    """

    def __init__(self, threads: int, per_host: int) -> None:
        self._threads = threads
        self._per_host = per_host
        self._stopping = False
        self._changed = Condition()  # guards all that follows
        self._turns: deque[object] = deque()
        self._in_hand: Counter[str] = Counter()
        self._fetching: Counter[str] = Counter()
        self._running = 0
        self._waiting: dict[str, deque[Image]] = {}
        self._begun_at: dict[str, float] = {}
        self._last_begun_at = time.monotonic()
        self._pause = 0.0
        self._paused_until = 0.0

    def pause(self) -> None:
        """Claim nothing for a while, and then one Image to try; twice as long each time that fails, too."""
        with self._changed:
            if time.monotonic() >= self._paused_until:
                shortest, longest = PAUSES
                self._pause = min(max(shortest, 2 * self._pause), longest)
                self._paused_until = time.monotonic() + self._pause

    def go_on(self) -> None:
        """Claim as ever."""
        with self._changed:
            self._pause = self._paused_until = 0.0

    @contextmanager
    def turn(self, seconds: float) -> Iterator[int]:
        """Wait for this thread's turn to claim; gives how many Images to claim, 0 if none within `seconds`.

        Lanes claim one at a time, first come first served, which shares the places fairly between Requests.
        A claim is for half of the places at most: it may well be all of one slow host.
        """
        ticket = object()
        with self._changed:
            self._turns.append(ticket)
            self._changed.wait_for(lambda: self._stopping or self._is_turn(ticket), timeout=seconds)
            room = self._room() if self._is_turn(ticket) and not self._stopping else 0
        try:
            yield min(room, self._threads)
        finally:
            with self._changed:
                self._turns.remove(ticket)
                self._changed.notify_all()

    def busy_hosts(self) -> list[str]:
        """Hosts with so many Images in hand that another could only wait."""
        with self._changed:
            return [host for host, count in self._in_hand.items() if count >= self._per_host]

    def wait_for_host(self, hosts: list[str], seconds: float) -> None:
        """Wait until one of the busy `hosts` is busy no more."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopping or any(self._in_hand[host] < self._per_host for host in hosts),
                timeout=seconds,
            )

    def wait_until_empty(self, seconds: float) -> None:
        """Wait until no Image is in hand."""
        with self._changed:
            self._changed.wait_for(lambda: not self._in_hand, timeout=seconds)

    def add(self, images: list[Image]) -> list[Image]:
        """Take Images in hand; those that begin now."""
        with self._changed:
            for image in images:
                self._in_hand[image.host] += 1
                self._waiting.setdefault(image.host, deque()).append(image)
            return self._begin()

    def fetched(self, image: Image) -> list[Image]:
        """An Image leaves its host alone from now on; those that begin instead."""
        with self._changed:
            _less(self._fetching, image.host)
            return self._begin()

    def done(self, image: Image) -> list[Image]:
        """An Image is out of hand and its thread free; those that begin instead."""
        with self._changed:
            self._running -= 1
            self._forget(image)
            return self._begin()

    def drop_stalled(self) -> list[Image]:
        """Put down Images that wait behind full places where nothing has begun for a while."""
        with self._changed:
            stalled = [host for host in self._waiting if self._is_stalled() or self._is_host_stalled(host)]
            return self._drop(stalled)

    def waiting_requests(self) -> set[UUID]:
        """The Requests of which Images wait to begin."""
        with self._changed:
            return {image.request_id for images in self._waiting.values() for image in images}

    def drop_requests(self, ids: set[UUID]) -> list[Image]:
        """Put down what waits to begin of these Requests."""
        with self._changed:
            dropped = []
            for host, images in list(self._waiting.items()):
                dropped += [image for image in images if image.request_id in ids]
                self._waiting[host] = deque(image for image in images if image.request_id not in ids)
                if not self._waiting[host]:
                    del self._waiting[host]
            return self._put_down(dropped)

    def stop(self) -> list[Image]:
        """Nothing is claimed or begun any more; what has not begun is put down."""
        with self._changed:
            self._stopping = True
            return self._drop(list(self._waiting))

    def _is_turn(self, ticket: object) -> bool:
        enough = 1 if self._pause else max(1, self._threads // 2)
        return self._turns[0] is ticket and self._room() >= enough

    def _room(self) -> int:
        if self._pause:
            return 0 if self._in_hand or time.monotonic() < self._paused_until else 1
        return 0 if self._is_stalled() else 2 * self._threads - self._in_hand.total()

    def _is_stalled(self) -> bool:
        return self._running >= self._threads and _is_long_ago(self._last_begun_at)

    def _is_host_stalled(self, host: str) -> bool:
        return self._fetching[host] >= self._per_host and _is_long_ago(self._begun_at[host])

    def _begin(self) -> list[Image]:
        begun = []
        while self._running < self._threads and not self._stopping:
            host = next((host for host in self._waiting if self._fetching[host] < self._per_host), None)
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
        self._changed.notify_all()


def _less(counter: Counter[str], host: str) -> None:
    counter[host] -= 1
    if not counter[host]:
        del counter[host]


def _is_long_ago(moment: float) -> bool:
    return time.monotonic() - moment > STALLED_AFTER
