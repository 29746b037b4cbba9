"""The work on pictures in this process: in hand → fetch → compress → store → flush.

Lanes (processing.lane) claim Images and hand them in; threads work on them; one thread writes what has come
of them, in bulk. An Image keeps its place from claim to outcome and nothing waits for a batch to end, so one
slow origin holds up its own pictures alone.
"""

import logging
import os
import random
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from threading import BoundedSemaphore, Condition, Lock, Thread

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone

from processing import logs
from processing.budget import PixelBudget, share_freed_memory
from processing.compress import Compressed, CompressError, Options, compress
from processing.fetch import Fetched, FetchError, Version, fetch
from processing.hosts import Hosts
from processing.isolation import compress_isolated
from processing.leases import Leases
from processing.looks import VainLooks
from processing.memory import Memories
from processing.models import PausedHost
from processing.places import Places
from processing.storage import StorageError, store
from processing.transport import guarded_transport
from products.models import Image, Request, RequestStatus

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.5
#: How often the shares of hosts are agreed upon anew.
SHARE_SECONDS = 0.5
#: Seconds to wait after each failed attempt but the last; DESIGN: five attempts in all.
RETRY_DELAYS = (2, 5, 15, 30)
#: Waiting that is nobody's fault (storage down, "too many requests") costs no attempt, but ends when a
#: Request has not moved for so long.
PATIENCE = timedelta(hours=24)
STORAGE_DELAY = 5


def is_out_of_patience(batch: Request) -> bool:
    """Whether a Request's pictures have waited for others long enough, none of them coming to an end."""
    moments = [moment for moment in (batch.started_at, batch.last_progress_at) if moment]
    return bool(moments) and timezone.now() - max(moments) > PATIENCE


class Pipeline:
    """The Images in hand of one worker process and the threads that work on them."""

    def __init__(self, worker_id: uuid.UUID) -> None:
        self.worker_id = worker_id
        self.stopping = False
        self.hosts = Hosts()
        self.leases = Leases(settings.REDIS_URL, worker_id)
        self.places = Places(settings.FETCH_CONCURRENCY, settings.FETCH_PER_HOST, self.hosts, self.leases)
        self._memories = Memories()
        self._transport = guarded_transport(
            allowed_networks=settings.FETCH_ALLOWED_NETWORKS, max_connections=settings.FETCH_CONCURRENCY
        )
        self._threads = ThreadPoolExecutor(settings.FETCH_CONCURRENCY, "image")
        self._codec = BoundedSemaphore(os.cpu_count() or 1)
        self._pixels = PixelBudget(settings.IMAGE_MAX_PIXELS)
        self._changed = Condition()  # guards the five that follow
        self._closed = False
        self._outcomes: list[Image] = []
        self._held: Counter[uuid.UUID] = Counter()
        self._lanes: dict[uuid.UUID, str | None] = {}  # which have brought them, for the log
        self._strays: set[uuid.UUID] = set()
        self.vain_looks = VainLooks()
        self._feeding = Lock()  # guards the Requests of which a lane runs here
        self._fed: set[uuid.UUID] = set()
        self._flusher = Thread(target=self._flush_until_closed, name="flush", daemon=True)
        self._flusher.start()
        Thread(target=self._begin_until_closed, name="hosts", daemon=True).start()

    def submit(self, images: list[Image]) -> None:
        """Take claimed Images in hand."""
        self._memories.recall(images)
        with self._changed:
            self._held.update(image.pk for image in images)
            self._lanes.update(dict.fromkeys((image.pk for image in images), logs.subject().get("lane")))
        self._begin(self.places.add([image for image in images if not self._is_given_up(image)]))
        self._give_back(self.places.drop_slow())

    def busy_hosts(self, batch: Request) -> list[str]:
        """Hosts that no Image of a Request is to be claimed of: it could only wait, and not fail for that."""
        busy = self.places.busy_hosts()
        if is_out_of_patience(batch):
            resting = {host for host, pause in self.hosts.paused().items() if pause.wants_rest}
            busy = [host for host in busy if host not in resting]
        return busy

    def _is_given_up(self, image: Image) -> bool:
        """Whether an Image fails since its host has been left alone for too long."""
        if not is_out_of_patience(image.request):
            return False
        pause = self.hosts.paused().get(image.host)
        if pause is None or not pause.wants_rest:
            return False
        image.fail(pause.code, f"{image.host} could not be asked for a day: it asks for fewer requests.")
        self._settle(image)
        return True

    def share_pauses(self) -> None:
        """Tell other workers which hosts are to be left alone, and heed what they tell."""
        PausedHost.objects.tell(self.hosts.take_news())
        self.hosts.learn(row.pause for row in PausedHost.objects.current())

    @contextmanager
    def fed_with(self, batch: Request) -> Iterator[bool]:
        """Whether this thread is the only one that claims Images of a Request for this process.

        Several would only ask the database for each other's Images.
        """
        with self._feeding:
            alone = batch.pk not in self._fed
            self._fed.add(batch.pk)
        try:
            yield alone
        finally:
            if alone:
                with self._feeding:
                    self._fed.remove(batch.pk)

    def give_back_idle(self) -> None:
        """Release Images that wait behind full places, for whichever worker has some free, and those of
        Requests that have ended meanwhile."""
        waiting = self.places.waiting_requests()
        working = Request.objects.filter(pk__in=waiting, status=RequestStatus.PROCESSING)
        ended = waiting - set(working.values_list("pk", flat=True)) if waiting else set()
        self._give_back(
            self.places.drop_requests(ended) + self.places.drop_slow() + self.places.drop_stalled()
        )

    def give_back_strays(self) -> None:
        """Release Images that were claimed for this worker without its knowing, at the second look.

        A claim whose COMMIT went through while its answer was lost makes such.
        """
        claimed = Image.objects.filter(claimed_by=self.worker_id).values_list("pk", flat=True)
        with self._changed:
            held = set(self._held)
        strays = set(claimed) - held
        Image.objects.filter(pk__in=strays & self._strays, claimed_by=self.worker_id).release(crashed=False)
        self._strays = strays

    def _begin(self, images: list[Image]) -> None:
        for image in images:
            self._threads.submit(self._work, image)

    def _begin_until_closed(self) -> None:
        """What begins because time has passed: hosts are asked again, or have places that others had."""
        renew_at = time.monotonic()
        while not self._closed:
            time.sleep(self.places.seconds_to_begin(most=SHARE_SECONDS))
            if time.monotonic() >= renew_at:
                self.places.renew_shares()
                renew_at = time.monotonic() + SHARE_SECONDS
            self._begin(self.places.begin())

    def _give_back(self, images: list[Image]) -> None:
        try:
            self._release(images)
        except DatabaseError:
            self._begin(self.places.add(images))
            raise

    def _release(self, images: list[Image]) -> None:
        if images:
            held = Image.objects.filter(pk__in=[image.pk for image in images], claimed_by=self.worker_id)
            held.release(crashed=False)
            self._let_go(images)

    def _let_go(self, images: list[Image]) -> None:
        self._memories.let_go(images)
        with self._changed:
            self._held -= Counter(image.pk for image in images)
            for image in images:
                self._lanes.pop(image.pk, None)

    # --- Work, in the threads ---

    def _work(self, image: Image) -> None:
        with logs.about(request_id=image.request_id, lane=self._lanes.get(image.pk), image_id=image.pk):
            self._attempt(image)
            if image.is_failed:
                logger.info("Failed: %s", image.error_code)
        self._settle(image)
        self._begin(self.places.done(image))

    def _settle(self, image: Image) -> None:
        """Hand an Image to the flush."""
        with self._changed:
            self._outcomes.append(image)
            self._changed.notify_all()

    def _attempt(self, image: Image) -> None:
        try:
            self._make(image)
        except FetchError as error:
            self._fetch_failed(image, error)
        except CompressError as error:
            image.attempts += 1
            image.fail(error.code, error.detail)
        except StorageError as error:
            logger.warning("Storage did not take the picture of the image %s: %s", image.pk, error)
            self.places.pause()  # else every picture would be fetched again and again for nothing
            self._wait(image, STORAGE_DELAY, "storage", "The finished picture could not be stored.")
        except Exception:
            logger.exception("Unexpected error with the image %s", image.pk)
            self._again(image, "crashed", "The picture could not be processed because of an internal error.")

    def _make(self, image: Image) -> None:
        try:
            known = self._memories.known(image)
            fetched = self._fetch(image, known.version if known else None)
        finally:
            self._begin(self.places.fetched(image))
        if known and fetched.version.sha256 == known.version.sha256:
            image.take_over(known.image)
        else:
            self._finish(image, fetched.data)
        image.attempts += 1
        self._memories.note(image, fetched.version)

    def _fetch(self, image: Image, known: Version | None) -> Fetched:
        try:
            fetched = fetch(
                self._transport,
                image.url,
                timeout=settings.FETCH_TIMEOUT,
                max_bytes=settings.FETCH_MAX_BYTES,
                user_agent=settings.FETCH_USER_AGENT,
                known=known,
            )
        except FetchError as error:
            if error.permanent or error.elsewhere:
                self.hosts.answered(image.host)
            elif error.wants_rest:
                self.hosts.refused(image.host, error.retry_after, error.code)
            else:
                self.hosts.failed(image.host, error.code)
            raise
        self.hosts.answered(image.host)
        return fetched

    def _finish(self, image: Image, data: bytes) -> None:
        """Compress, store, complete."""
        result = self._compress(image, data)
        key = store(result.data, result.extension)
        self.places.go_on()
        image.source_bytes, image.source_format = result.source.bytes, result.source.format
        image.source_width, image.source_height = result.source.width, result.source.height
        image.output_bytes, image.output_format = result.output.bytes, result.output.format
        image.output_width, image.output_height = result.output.width, result.output.height
        image.complete(key)

    def _compress(self, image: Image, data: bytes) -> Compressed:
        batch, most = image.request, settings.IMAGE_MAX_PIXELS
        options = Options(batch.quality, batch.format, batch.max_width, batch.max_height)
        with self._codec:
            if not image.crashes:
                return compress(data, options, max_pixels=most, reserve=self._pixels.taken)
            with self._pixels.taken(most):  # not even its header is read in this process
                return compress_isolated(data, options, max_pixels=most)

    def _fetch_failed(self, image: Image, error: FetchError) -> None:
        if error.permanent:
            image.attempts += 1
            image.fail(error.code, error.detail)
        elif error.wants_rest:
            self._wait(image, error.retry_after or RETRY_DELAYS[-1], error.code, error.detail)
        else:
            self._again(image, error.code, error.detail)

    def _again(self, image: Image, code: str, detail: str) -> None:
        """Count an attempt: the next one follows later, or the Image has failed."""
        image.attempts += 1
        if image.attempts > len(RETRY_DELAYS):
            image.fail(code, detail)
        else:
            delay = RETRY_DELAYS[image.attempts - 1] * random.uniform(0.8, 1.2)  # noqa: S311 (spreads load)
            image.postpone(timedelta(seconds=delay), code, detail)

    def _wait(self, image: Image, seconds: float, code: str, detail: str) -> None:
        """Try again later without counting an attempt, within PATIENCE."""
        if is_out_of_patience(image.request):
            image.attempts += 1
            image.fail(code, detail)
        else:
            image.postpone(timedelta(seconds=seconds), code, detail)

    # --- Flush, in a thread of its own ---

    def _flush_until_closed(self) -> None:
        while outcomes := self._collect():
            by_request: defaultdict[uuid.UUID, list[Image]] = defaultdict(list)
            for image in outcomes:
                by_request[image.request_id].append(image)
            for request_id, images in by_request.items():
                with logs.about(request_id=request_id):
                    self._record(images[0].request, images)
        connection.close()

    def _collect(self) -> list[Image]:
        """Half a second's outcomes, or fewer when nothing else is in hand; none when all is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._outcomes or self._closed)
        self.places.wait_until_empty(FLUSH_SECONDS)
        with self._changed:
            outcomes, self._outcomes = self._outcomes, []
            return outcomes

    def _record(self, batch: Request, images: list[Image]) -> None:
        close_old_connections()
        try:
            batch.record(images, self.worker_id)
        except Exception:
            logger.exception("Outcomes of %d images of %s wait for the database", len(images), batch.pk)
            time.sleep(1)
            with self._changed:
                if not self._closed:
                    self._outcomes += images
            return
        try:
            self._memories.write(images)
        except DatabaseError:  # costs no more than to fetch them again
            logger.exception("What %d images of %s are is not remembered", len(images), batch.pk)
        self._let_go(images)

    # --- The end ---

    def stop(self) -> None:
        """Claim and begin nothing more, and give back what has not begun."""
        self.stopping = True
        self._release(self.places.stop())

    def close(self, grace: float) -> None:
        """Finish what has begun within `grace` seconds, write it, and give back the rest."""
        deadline = time.monotonic() + grace
        self.stop()
        self.places.wait_until_empty(grace - FLUSH_SECONDS)
        self.places.renew_shares()  # gives them back
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._flusher.join(timeout=max(FLUSH_SECONDS, deadline - time.monotonic()))
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._transport.close()
        Image.objects.filter(claimed_by=self.worker_id).release(crashed=False)


_current: Pipeline | None = None


def start(worker_id: uuid.UUID) -> Pipeline:
    """Make this process a worker's."""
    global _current  # noqa: PLW0603 (one per process, as there is one broker per process)
    share_freed_memory()
    _current = Pipeline(worker_id)
    return _current


def is_worker() -> bool:
    """Whether this process is a worker's."""
    return _current is not None


def current() -> Pipeline:
    """The Pipeline of this process. Raises RuntimeError in a process that is no worker's."""
    if _current is None:
        raise RuntimeError("This process is no worker: processing.pipeline.start() was not called.")
    return _current
