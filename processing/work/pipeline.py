"""The work on pictures in one worker process: claimed → fetch → compress → store → flush.

Lanes (`processing.work.lane`) claim Images and submit them; threads make the attempts; one thread writes the
outcomes in bulk. An Image keeps its slot from claim to outcome, and nothing waits for a batch to be complete,
so a slow origin delays its own pictures only.
"""

import logging
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from threading import Condition, Lock, Thread

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection

from processing import logs
from processing.compress import configure_malloc
from processing.hosts.leases import Leases
from processing.hosts.models import PausedHost
from processing.hosts.rate_limit import RateLimiter, asks_to_wait
from processing.work import known_pictures
from processing.work.attempt import Attempt, AttemptMaker, has_lost_patience
from processing.work.claim import ClaimedImage, EmptyClaims, release
from processing.work.slots import Slots
from products.lifecycle import Outcome, record
from products.models import Image, ImageStatus, Request, RequestStatus

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.5
#: How often the leases of hosts are renewed.
LEASE_RENEWAL_SECONDS = 0.5


class Pipeline:
    """The Images claimed by one worker process and the threads that work on them."""

    def __init__(self, worker_id: uuid.UUID) -> None:
        self.worker_id = worker_id
        self.stopping = False
        self.rate_limiter = RateLimiter()
        self.leases = Leases(settings.REDIS_URL, worker_id)
        self.slots = Slots(
            settings.FETCH_CONCURRENCY, settings.FETCH_PER_HOST, self.rate_limiter, self.leases
        )
        self._attempts = AttemptMaker(
            self.slots, self.rate_limiter, lambda image: self._start(self.slots.fetched(image))
        )
        self._threads = ThreadPoolExecutor(settings.FETCH_CONCURRENCY, "image")
        self._changed = Condition()  # guards the four that follow
        self._closed = False
        self._made: list[Attempt] = []
        self._held: Counter[uuid.UUID] = Counter()
        self._suspects: set[uuid.UUID] = set()
        self.empty_claims = EmptyClaims()
        self._feeding = Lock()  # guards the set of Requests that a lane here is feeding
        self._fed: set[uuid.UUID] = set()
        self._flusher = Thread(target=self._flush_until_closed, name="flush", daemon=True)
        self._flusher.start()
        Thread(target=self._start_until_closed, name="hosts", daemon=True).start()

    def submit(self, batch: Request, images: list[ClaimedImage]) -> None:
        """Take claimed Images of a Request."""
        known = known_pictures.recall(batch, (image.url for image in images))
        lane = logs.subject().get("lane")
        images = [replace(image, known=known.get(image.url), lane=lane) for image in images]
        with self._changed:
            self._held.update(image.id for image in images)
        self._start(self.slots.add([image for image in images if not self._has_given_up(image)]))
        self._give_back(self.slots.drop_slow())
        if self.stopping:  # since the claim
            self._release(self.slots.stop())

    def busy_hosts(self, batch: Request) -> list[str]:
        """Return the hosts of which no Image of a Request is to be claimed now.

        An Image of a host that has asked to wait for longer than the Request's patience is claimed, to fail.
        """
        busy = self.slots.busy_hosts()
        if has_lost_patience(batch):
            waiting = {host for host, pause in self.rate_limiter.paused().items() if asks_to_wait(pause.code)}
            busy = [host for host in busy if host not in waiting]
        return busy

    def _has_given_up(self, image: ClaimedImage) -> bool:
        """Fail an Image whose host has asked to wait for too long. Return whether it was failed."""
        if not has_lost_patience(image.batch):
            return False
        pause = self.rate_limiter.paused().get(image.host)
        if pause is None or not asks_to_wait(pause.code):
            return False
        detail = f"{image.host} has been asking for fewer requests for a day."
        self._add_outcome(Attempt(image, Outcome.failed(image.id, image.attempts, pause.code, detail)))
        return True

    def share_pauses(self) -> None:
        """Tell other workers which hosts are paused, and learn it from them."""
        PausedHost.objects.tell(self.rate_limiter.take_news())
        self.rate_limiter.learn(PausedHost.objects.pauses())

    @contextmanager
    def fed_with(self, batch: Request) -> Iterator[bool]:
        """Yield whether this thread is the only lane of a Request in this process.

        Several would only claim each other's Images.
        """
        with self._feeding:
            alone = batch.pk not in self._fed
            self._fed.add(batch.pk)
        try:
            with self.slots.fed(batch.pk) if alone else nullcontext():
                yield alone
        finally:
            if alone:
                with self._feeding:
                    self._fed.remove(batch.pk)

    def give_back_idle(self) -> None:
        """Release Images that wait while all slots are taken, and those of Requests that have ended."""
        waiting = self.slots.waiting_requests()
        working = Request.objects.filter(pk__in=waiting, status=RequestStatus.PROCESSING)
        ended = waiting - set(working.values_list("pk", flat=True)) if waiting else set()
        self._give_back(self.slots.drop_requests(ended) + self.slots.drop_slow() + self.slots.drop_stalled())

    def release_unknown_claims(self) -> None:
        """Release Images that are claimed for this worker, but that it does not hold, at the second look.

        They arise when a claim is committed and the answer to the COMMIT is lost.
        """
        claimed = Image.objects.filter(claimed_by=self.worker_id).values_list("pk", flat=True)
        with self._changed:
            held = set(self._held)
        unknown = set(claimed) - held
        release(
            Image.objects.filter(pk__in=unknown & self._suspects, claimed_by=self.worker_id), crashed=False
        )
        self._suspects = unknown

    def _start(self, images: list[ClaimedImage]) -> None:
        for image in images:
            self._threads.submit(self._work, image)

    def _start_until_closed(self) -> None:
        """Start Images as time passes: the pause of a host ends, or other workers return leases."""
        renew_at = time.monotonic()
        while not self._closed:
            time.sleep(self.slots.seconds_to_start(at_most=LEASE_RENEWAL_SECONDS))
            if time.monotonic() >= renew_at:
                self.slots.renew_leases()
                renew_at = time.monotonic() + LEASE_RENEWAL_SECONDS
            self._start(self.slots.start())

    def _give_back(self, images: list[ClaimedImage]) -> None:
        try:
            self._release(images)
        except DatabaseError:
            self._start(self.slots.add(images))
            raise

    def _release(self, images: list[ClaimedImage]) -> None:
        if images:
            ids = [image.id for image in images]
            release(Image.objects.filter(pk__in=ids, claimed_by=self.worker_id), crashed=False)
            self._forget(images)

    def _forget(self, images: list[ClaimedImage]) -> None:
        with self._changed:
            self._held -= Counter(image.id for image in images)

    # --- Attempts, in the threads ---

    def _work(self, image: ClaimedImage) -> None:
        """Work on an Image and then on those that start in its place: changing threads costs more."""
        following: list[ClaimedImage] = [image]
        while following:
            first, *others = following
            self._start(others)
            following = self._work_on(first)

    def _work_on(self, image: ClaimedImage) -> list[ClaimedImage]:
        with logs.about(request_id=image.request_id, lane=image.lane, image_id=image.id):
            attempt = self._attempts.make(image)
            if attempt.outcome.status == ImageStatus.FAILED:
                logger.info("Failed: %s", attempt.outcome.error_code)
        self._add_outcome(attempt)
        return self.slots.done(image)

    def _add_outcome(self, attempt: Attempt) -> None:
        """Leave an attempt to the next flush."""
        with self._changed:
            self._made.append(attempt)
            self._changed.notify_all()

    # --- Flush, in a thread of its own ---

    def _flush_until_closed(self) -> None:
        while attempts := self._collect():
            by_run: defaultdict[tuple[uuid.UUID, int], list[Attempt]] = defaultdict(list)
            for attempt in attempts:
                by_run[attempt.image.request_id, attempt.image.batch.run].append(attempt)
            # Small ones first: they may be all of a Request, and each waits for those in front of it.
            for (request_id, run), made in sorted(by_run.items(), key=lambda item: len(item[1])):
                with logs.about(request_id=request_id):
                    self._flush(request_id, run, made)
        connection.close()

    def _collect(self) -> list[Attempt]:
        """Return the attempts of half a second, or fewer if no more come soon of one of their Requests.

        Returns none when the pipeline is closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._made or self._closed)
        self.slots.wait_for_end(self._requests_made, FLUSH_SECONDS)
        with self._changed:
            attempts, self._made = self._made, []
            return attempts

    def _requests_made(self) -> set[uuid.UUID]:
        with self._changed:
            return {attempt.image.request_id for attempt in self._made}

    def _flush(self, request_id: uuid.UUID, run: int, attempts: list[Attempt]) -> None:
        close_old_connections()
        try:
            written = record(request_id, (attempt.outcome for attempt in attempts), self.worker_id, run)
        except Exception:
            logger.exception("Outcomes of %d images of %s wait for the database", len(attempts), request_id)
            time.sleep(1)
            with self._changed:
                if not self._closed:
                    self._made += attempts
            return
        try:
            self._remember(attempts, written)
        except DatabaseError:  # costs no more than fetching them again
            logger.exception("The versions of %d pictures of %s were not stored", len(attempts), request_id)
        self._forget([attempt.image for attempt in attempts])

    def _remember(self, attempts: list[Attempt], written: list[Outcome]) -> None:
        """Store the versions of pictures whose Images have been completed."""
        completed = {outcome.id for outcome in written if outcome.status == ImageStatus.COMPLETED}
        # By id, since an Image that was released and claimed again may have been attempted twice.
        pictures = {
            attempt.image.id: (attempt.image.batch, attempt.image.url, attempt.image.id, attempt.version)
            for attempt in attempts
            if attempt.version and attempt.image.id in completed
        }
        if pictures:
            known_pictures.remember(pictures.values())

    # --- The end ---

    def stop(self) -> None:
        """Claim and start nothing more, and release Images that have not started."""
        self.stopping = True
        self._release(self.slots.stop())

    def close(self, grace_seconds: float) -> None:
        """Finish what has started within `grace_seconds`, write it, and release the rest."""
        deadline = time.monotonic() + grace_seconds
        self.stop()
        self.slots.wait_until_empty(grace_seconds - FLUSH_SECONDS)
        self.slots.renew_leases()  # which returns them
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._flusher.join(timeout=max(FLUSH_SECONDS, deadline - time.monotonic()))
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._attempts.close()
        release(Image.objects.filter(claimed_by=self.worker_id), crashed=False)


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
