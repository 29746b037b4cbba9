"""The work on pictures in this process: in hand → fetch → compress → store → flush.

Lanes (processing.lane) claim Images and hand them in; threads work on them; one thread writes what has come
of them, in bulk. An Image keeps its place from claim to outcome and nothing waits for a batch to end, so one
slow origin holds up its own pictures alone.
"""

import logging
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from threading import Condition, Lock, Thread

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection

from processing import logs
from processing.attempts import Attempts, is_out_of_patience
from processing.compress import configure_malloc
from processing.hosts import Hosts
from processing.leases import Leases
from processing.looks import VainLooks
from processing.memory import Memories
from processing.models import PausedHost
from processing.places import Places
from products.models import Image, Request, RequestStatus

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.5
#: How often the shares of hosts are agreed upon anew.
SHARE_SECONDS = 0.5


class Pipeline:
    """The Images in hand of one worker process and the threads that work on them."""

    def __init__(self, worker_id: uuid.UUID) -> None:
        self.worker_id = worker_id
        self.stopping = False
        self.hosts = Hosts()
        self.leases = Leases(settings.REDIS_URL, worker_id)
        self.places = Places(settings.FETCH_CONCURRENCY, settings.FETCH_PER_HOST, self.hosts, self.leases)
        self._memories = Memories()
        self._attempts = Attempts(
            self.places, self.hosts, self._memories, lambda image: self._begin(self.places.fetched(image))
        )
        self._threads = ThreadPoolExecutor(settings.FETCH_CONCURRENCY, "image")
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
        if self.stopping:  # since the claim
            self._release(self.places.stop())

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
            with self.places.fed() if alone else nullcontext():
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
        """Work on an Image and then on others that begin in its place, since to change threads costs more."""
        following: list[Image] = [image]
        while following:
            first, *others = following
            self._begin(others)
            following = self._work_on(first)

    def _work_on(self, image: Image) -> list[Image]:
        with logs.about(request_id=image.request_id, lane=self._lanes.get(image.pk), image_id=image.pk):
            self._attempts.make(image)
            if image.is_failed:
                logger.info("Failed: %s", image.error_code)
        self._settle(image)
        return self.places.done(image)

    def _settle(self, image: Image) -> None:
        """Hand an Image to the flush."""
        with self._changed:
            self._outcomes.append(image)
            self._changed.notify_all()

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
        """Half a second's outcomes, fewer if nothing is in hand and no lane feeds; none when all is over."""
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
        self._attempts.close()
        Image.objects.filter(claimed_by=self.worker_id).release(crashed=False)


_current: Pipeline | None = None


def start(worker_id: uuid.UUID) -> Pipeline:
    """Make this process a worker's."""
    global _current  # noqa: PLW0603 (one per process, as there is one broker per process)
    configure_malloc()
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
