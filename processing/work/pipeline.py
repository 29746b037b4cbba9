"""The work on pictures in one worker process: claimed → fetch → compress → store → flush.

Lanes (`processing.work.lane`) claim Images and submit them. Each Image is a task of the event loop; outcomes
are written in bulk. An Image keeps its place from claim to outcome, and nothing waits for a batch to be
complete, so a slow origin delays its own pictures only.
"""

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from django.conf import settings

from processing import logs, tracing
from processing.compress import configure_malloc
from processing.hosts.leases import Leases
from processing.hosts.models import PausedHost
from processing.hosts.rate_limit import Pause, RateLimiter, asks_to_wait
from processing.loop import call, run
from processing.work import known_pictures
from processing.work.attempt import Attempt, AttemptMaker, has_lost_patience
from processing.work.claim import ClaimedImage, EmptyClaim, release
from processing.work.flush import FLUSH_SECONDS, Flusher
from processing.work.slots import Slots
from products.lifecycle import Outcome
from products.models import Image, ImageStatus, Request, RequestStatus

logger = logging.getLogger(__name__)

#: How often the leases of hosts are renewed.
LEASE_RENEWAL_SECONDS = 0.5
#: How often a lane that waits looks whether it can claim: while it waits, there is work in hand.
CLAIM_CHECK_SECONDS = 0.02


class Room(NamedTuple):
    """The number of Images that a lane may claim now, 0 after a timeout, and the hosts to leave out."""

    images: int
    busy_hosts: list[str]


class Pipeline:
    """The Images claimed by one worker process.

    What is public may be called in any thread but the loop's. State is touched in the event loop only, by
    coroutines and the functions that `call` hands to it; queries to the database are made in other threads.
    """

    def __init__(self, worker_id: uuid.UUID) -> None:
        self.worker_id = worker_id
        self.leases = Leases(settings.REDIS_URL, worker_id)
        #: By Request, for its lane: the latest claim, if it found nothing.
        self.empty_claims: dict[uuid.UUID, EmptyClaim] = {}
        self._lease_thread = ThreadPoolExecutor(1, "leases")
        call(self._begin)

    def _begin(self) -> None:
        self.rate_limiter = RateLimiter()
        self.slots = Slots(settings.FETCH_CONCURRENCY, settings.FETCH_PER_HOST, self.rate_limiter)
        self._attempts = AttemptMaker(self.slots, self.rate_limiter, self._on_fetched)
        self._waiting_lanes: dict[object, Hashable] = {}  # and their owners, the first of them first
        self._renewing = asyncio.Lock()  # one renewal at a time, so that the latest answer is the one kept
        self._held: Counter[uuid.UUID] = Counter()
        self._suspects: set[uuid.UUID] = set()
        self._works: set[asyncio.Task[None]] = set()
        self._flusher = Flusher(self.worker_id, self.slots, self._forget)
        self._starter = asyncio.create_task(self._start_until_closed(), name="hosts")

    # --- Lanes, in threads of Dramatiq ---

    @property
    def stopping(self) -> bool:
        """True once the worker claims nothing more."""
        return self.slots.stopping

    @property
    def is_idle(self) -> bool:
        """True if no Image is held and no lane feeds."""
        return self.slots.empty.is_set()

    @contextmanager
    def fed_with(self, batch: Request) -> Iterator[bool]:
        """Yield whether this thread is the only lane of a Request in this process.

        Several would only claim each other's Images.
        """
        alone = call(self.slots.begin_feeding, batch.pk)
        try:
            yield alone
        finally:
            if alone:
                call(self.slots.end_feeding, batch.pk)

    def note_empty_claim(self, request_id: uuid.UUID, empty: EmptyClaim) -> None:
        """Remember a claim that found nothing, and forget those that may be repeated by now."""
        now = time.monotonic()
        for earlier_id, earlier in list(self.empty_claims.items()):
            if earlier.again_at < now:
                self.empty_claims.pop(earlier_id, None)
        self.empty_claims[request_id] = empty

    @contextmanager
    def claiming(self, batch: Request, seconds: float) -> Iterator[Room]:
        """Wait until this lane may claim, at most `seconds`.

        Lanes claim one at a time, first come first served, which shares the places between Requests. Images
        of hosts that have asked to wait for longer than the Request's patience are claimed, to fail.
        """
        lane = object()
        try:
            yield run(
                self._wait_for_room(lane, batch.owner_id, seconds, has_lost_patience=has_lost_patience(batch))
            )
        finally:
            call(self._waiting_lanes.pop, lane, None)

    def paused_hosts(self) -> dict[str, Pause]:
        """Return the pauses by host."""
        return call(self.rate_limiter.paused)

    def wait_for_host(self, batch: Request, hosts: list[str], seconds: float) -> None:
        """Wait until one of the busy `hosts` is no longer busy for a Request, at most `seconds`."""

        def is_over() -> bool:
            return self.stopping or not all(self.slots.is_busy(host, batch.owner_id) for host in hosts)

        run(self._until(is_over, seconds))

    def submit(self, batch: Request, images: list[ClaimedImage]) -> None:
        """Take claimed Images of a Request."""
        known = known_pictures.recall(batch, (image.url for image in images))
        context = copy_context()
        images = [replace(image, known=known.get(image.url), context=context) for image in images]
        self._release(run(self._take(images, has_lost_patience=has_lost_patience(batch))))

    # --- Rounds, in the thread of the heartbeat ---

    def share_pauses(self) -> None:
        """Tell other workers which hosts are paused, and learn it from them."""
        PausedHost.objects.tell(call(self.rate_limiter.take_news))
        call(self.rate_limiter.learn, PausedHost.objects.pauses())

    def give_back_idle(self) -> None:
        """Release Images that wait while all slots are taken, and those of Requests that have ended."""
        waiting = call(self.slots.waiting_requests)
        working = Request.objects.filter(pk__in=waiting, status=RequestStatus.PROCESSING)
        ended = waiting - set(working.values_list("pk", flat=True)) if waiting else set()

        def drop() -> list[ClaimedImage]:
            return self.slots.drop_requests(ended) + self.slots.drop_slow() + self.slots.drop_stalled()

        self._release(call(drop))

    def release_unknown_claims(self) -> None:
        """Release Images that are claimed for this worker, but that it does not hold, at the second look.

        They arise when a claim is committed and the answer to the COMMIT is lost.
        """
        claimed = Image.objects.filter(claimed_by=self.worker_id).values_list("pk", flat=True)
        unknown = set(claimed) - call(lambda: set(self._held))
        release(
            Image.objects.filter(pk__in=unknown & self._suspects, claimed_by=self.worker_id), crashed=False
        )
        self._suspects = unknown

    # --- The end ---

    def stop(self) -> None:
        """Claim and start nothing more, and release Images that have not started."""
        self._release(call(self.slots.stop))

    def close(self, grace_seconds: float) -> None:
        """Finish what has started within `grace_seconds`, write it, and release the rest."""
        call(self.slots.stop)  # without a release, which could fail: all is released at the end
        run(self._close(grace_seconds))
        self._lease_thread.shutdown(wait=False)
        release(Image.objects.filter(claimed_by=self.worker_id), crashed=False)

    def _release(self, images: list[ClaimedImage]) -> None:
        """Release Images that have been dropped. If that fails, they are held again."""
        if not images:
            return
        try:
            ids = [image.id for image in images]
            release(Image.objects.filter(pk__in=ids, claimed_by=self.worker_id), crashed=False)
        except BaseException:
            run(self._add(images))
            raise
        call(self._forget, images)

    # --- All that follows runs in the event loop ---

    async def _wait_for_room(
        self, lane: object, owner: Hashable, seconds: float, *, has_lost_patience: bool
    ) -> Room:
        self._waiting_lanes[lane] = owner
        await self._until(lambda: self.stopping or self._next_lane() is lane, seconds)
        if self._next_lane() is not lane:
            return Room(0, [])
        given_up = self._hosts_that_ask_to_wait() if has_lost_patience else {}
        busy = [host for host in self.slots.busy_hosts(owner) if host not in given_up]
        return Room(self.slots.room(owner), busy)

    def _hosts_that_ask_to_wait(self) -> dict[str, Pause]:
        return {host: pause for host, pause in self.rate_limiter.paused().items() if asks_to_wait(pause.code)}

    def _next_lane(self) -> object:
        return next((lane for lane, owner in self._waiting_lanes.items() if self.slots.room(owner)), None)

    async def _until(self, condition: Callable[[], object], seconds: float) -> None:
        """Wait until a condition holds, at most `seconds`."""
        ends_at = _now() + seconds
        while not condition() and _now() < ends_at:
            await asyncio.sleep(CLAIM_CHECK_SECONDS)

    async def _take(self, images: list[ClaimedImage], *, has_lost_patience: bool) -> list[ClaimedImage]:
        """Take claimed Images. Return those to be released."""
        self._held.update(image.id for image in images)
        given_up = self._hosts_that_ask_to_wait() if has_lost_patience else {}
        for image in images:
            if pause := given_up.get(image.host):
                detail = f"{image.host} has been asking for fewer requests for a day."
                outcome = Outcome.failed(image.id, image.attempts, pause.code, detail)
                self._flusher.add(Attempt(image, outcome))
        kept = [image for image in images if image.host not in given_up]
        await self._add(kept)
        # Stopped since the claim: all are dropped.
        return self.slots.drop_slow() + (self.slots.stop() if self.stopping else [])

    async def _add(self, images: list[ClaimedImage]) -> None:
        await self._renew(self.slots.add(images))
        self._start()

    async def _renew(self, wanted: dict[str, int]) -> None:
        """Ask for leases of so many slots of each host, and keep to the answer."""
        async with self._renewing:
            requests = self.slots.lease_requests(wanted)
            renew = partial(self.leases.renew, requests, self.slots.per_host)
            if self.leases.are_shared and requests:
                leases = await asyncio.get_running_loop().run_in_executor(self._lease_thread, renew)
            else:
                leases = renew()
            self.slots.keep_to(requests, leases)

    def _start(self) -> None:
        for image in self.slots.start():
            context = image.context.copy() if image.context else None
            task = asyncio.create_task(self._work(image), name=image.url, context=context)
            self._works.add(task)
            task.add_done_callback(self._works.discard)

    async def _start_until_closed(self) -> None:
        """Start Images as time passes: the pause of a host ends, or other workers return leases."""
        renew_at = 0.0
        while True:
            try:
                if _now() >= renew_at:
                    await self._renew(self.slots.wanted())
                    renew_at = _now() + LEASE_RENEWAL_SECONDS
                self._start()
            except Exception:
                logger.exception("Leases could not be renewed; they are asked for again")
            await asyncio.sleep(self.slots.seconds_to_start(at_most=LEASE_RENEWAL_SECONDS))

    def _on_fetched(self, image: ClaimedImage) -> None:
        self.slots.fetched(image)
        self._start()

    async def _work(self, image: ClaimedImage) -> None:
        try:
            ids = {"request_id": image.request_id, "image_id": image.id}
            with logs.about(**ids), tracing.span("picture") as span:
                attempt = await self._attempts.make(image)
                if span:
                    tracing.set_outcome(span, attempt.outcome.status, attempt.outcome.error_code)
                if attempt.outcome.status == ImageStatus.FAILED:
                    logger.info("Failed: %s", attempt.outcome.error_code)
            self._flusher.add(attempt)
        finally:
            self.slots.done(image)
            self._start()

    def _forget(self, images: list[ClaimedImage]) -> None:
        self._held -= Counter(image.id for image in images)

    async def _close(self, grace_seconds: float) -> None:
        ends_at = _now() + grace_seconds
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds - FLUSH_SECONDS):
                await self.slots.empty.wait()
        works = list(self._works)
        for task in [self._starter, *works]:
            task.cancel()
        await asyncio.gather(self._starter, *works, return_exceptions=True)
        await self._renew(self.slots.wanted())  # of nothing, which returns the leases
        await self._flusher.close(max(FLUSH_SECONDS, ends_at - _now()))
        await self._attempts.close()


def _now() -> float:
    return asyncio.get_running_loop().time()


_current: Pipeline | None = None


def start(worker_id: uuid.UUID) -> Pipeline:
    """Make this process a worker."""
    global _current  # noqa: PLW0603 (one per process, as there is one broker per process)
    configure_malloc()
    _current = Pipeline(worker_id)
    return _current


def is_worker() -> bool:
    """Return whether this process is a worker."""
    return _current is not None


def current() -> Pipeline:
    """Return the pipeline of this process. Raises RuntimeError in a process that is no worker."""
    if _current is None:
        raise RuntimeError("This process is no worker: processing.work.pipeline.start() was not called.")
    return _current
