"""A worker process from start to end: heartbeat, pipeline, recovery rounds, and prune.

A process that only delivers webhooks runs recovery rounds alone.
"""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Event, Lock, Thread
from typing import Any

import dramatiq
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import close_old_connections, connection
from django.utils import timezone

from processing import measurements, runtime
from processing.storage.outputs import require_bucket
from processing.timing import HEARTBEAT, UNCHANGED_RECOVERY_INTERVAL
from processing.work import pipeline
from processing.work.tasks import QUEUE
from processing.work.turns import PREFETCHED_MESSAGES, OwnerQueue
from processing.workers import embedded
from processing.workers.clock import ClockWatch, follow
from processing.workers.models import Maintenance, Worker
from processing.workers.prune import prune
from processing.workers.recovery import recover
from products.feeds import deliveries, runs

logger = logging.getLogger(__name__)

RECOVERY_EVERY = runtime.current.recovery_interval
#: Time between two attempts of a worker to claim the next prune, and from its start to the first one: the
#: worker of a short `extract` would not finish.
PRUNE_CHECK_EVERY = timedelta(minutes=5)
#: Messages that seem to have been sent later than this from now were sent before the clock was set back.
MAX_CLOCK_DIFFERENCE = timedelta(seconds=5)
#: Seconds for claimed pictures at shutdown; less than the 10 s after which container engines kill.
GRACE_SECONDS = 8


class WorkerMiddleware(dramatiq.Middleware):
    """Starts and stops the other threads of a worker process with Dramatiq's own."""

    def before_worker_boot(self, broker: Any, worker: Any) -> None:
        # Not `after_worker_boot`: by then Dramatiq's threads are receiving messages.
        if runtime.current.worker_in_web_process and not embedded.is_started():
            raise SystemExit(
                "Without REDIS_URL the worker runs inside `manage.py serve`. Set REDIS_URL to run it apart."
            )
        worker.work_queue = queue = OwnerQueue(worker.worker_threads)
        if _takes_pictures(worker):
            try:
                require_bucket()
            except ImproperlyConfigured as error:
                raise SystemExit(str(error)) from error  # Dramatiq would log another exception and go on
            row = Worker()
            row.beat()
            pipeline.start(row.pk)
            worker.queue_prefetch = PREFETCHED_MESSAGES
            self._progress = QueueProgress(worker.worker_threads, queue.oldest)
            self._heartbeat = Heartbeat(row, self._progress)
            self._heartbeat.start()
        elif not pipeline.is_worker():
            self._recovery = RecoveryRounds()
            self._recovery.start()

    def before_process_message(self, broker: Any, message: Any) -> None:
        if message.queue_name == QUEUE:
            self._progress.begin(message.message_timestamp)

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: Any = None
    ) -> None:
        if message.queue_name == QUEUE:
            self._progress.end()

    def before_worker_shutdown(self, broker: Any, worker: Any) -> None:
        for thread in worker.workers:
            thread.stop()  # before they are woken, so that they do not wait again
        worker.work_queue.close()
        if _takes_pictures(worker):
            pipeline.current().stop()

    def after_worker_shutdown(self, broker: Any, worker: Any) -> None:
        if _takes_pictures(worker):
            pipeline.current().close(GRACE_SECONDS)
            runs.give_back(pipeline.current().worker_id)
            deliveries.give_back(pipeline.current().worker_id)
            self._heartbeat.stop()
        elif not pipeline.is_worker():
            self._recovery.stop()


def _takes_pictures(worker: Any) -> bool:
    """Return whether Dramatiq's worker consumes the queue of pictures: by default it consumes all."""
    return not worker.consumer_whitelist or QUEUE in worker.consumer_whitelist


class QueueProgress:
    """The position of this worker in the broker's queue, which is first in, first out.

    `oldest` returns when the message was sent that has waited longest in this process, None if none waits.
    """

    def __init__(self, threads: int, oldest: Callable[[], datetime | None]) -> None:
        self._threads = threads
        self._oldest = oldest
        self._lock = Lock()
        self._running = 0
        self._latest: datetime | None = None

    def begin(self, timestamp: int) -> None:
        """Note that a message sent at `timestamp` (Unix time in ms) is being processed."""
        sent_at = datetime.fromtimestamp(timestamp / 1000, UTC)
        with self._lock:
            self._running += 1
            self._latest = max(filter(None, [_unless_ahead(self._latest), sent_at]))

    def end(self) -> None:
        """Note that a message has been processed."""
        with self._lock:
            self._running -= 1

    def until(self) -> datetime | None:
        """Return the time before which all messages were processed or lost; now if a thread is idle.

        None if it is not known.
        """
        waiting = self._oldest()
        with self._lock:
            is_idle = self._running < self._threads
            return timezone.now() if is_idle and not waiting else _unless_ahead(waiting or self._latest)


def _unless_ahead(sent_at: datetime | None) -> datetime | None:
    """Return when a message was sent; None if the clock was set back to before that."""
    return sent_at if sent_at and sent_at <= timezone.now() + MAX_CLOCK_DIFFERENCE else None


class RecoveryRounds(Thread):
    """Runs recovery every RECOVERY_EVERY, less often while SQLite says that nothing has been written."""

    def __init__(self) -> None:
        super().__init__(name="recovery", daemon=True)
        self._stopped = Event()
        self._recovered_version: int | None = None
        self._due_at = 0.0

    def run(self) -> None:
        while True:
            try:
                close_old_connections()
                self._recover_if_needed()
            except Exception:
                logger.exception("A recovery round failed; the next one follows")
            if self._stopped.wait(RECOVERY_EVERY.total_seconds()):
                break
        connection.close()

    def _recover_if_needed(self) -> None:
        version, now = _data_version(), time.monotonic()
        if version is None or version != self._recovered_version or now >= self._due_at:
            recover()
            self._recovered_version = version
            self._due_at = now + UNCHANGED_RECOVERY_INTERVAL.total_seconds()

    def stop(self) -> None:
        self._stopped.set()
        if self.ident:
            self.join(timeout=2)


def _data_version() -> int | None:
    """Return a number that changes when another connection writes to SQLite; None for PostgreSQL."""
    if connection.vendor != "sqlite":
        return None
    with connection.cursor() as cursor:
        version: int = cursor.execute("PRAGMA data_version").fetchone()[0]
    return version


class Heartbeat(Thread):
    """Writes the heartbeat, starts recovery and prune, shares pauses of hosts, and releases idle claims."""

    def __init__(self, worker: Worker, progress: QueueProgress) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._worker = worker
        self._progress = progress
        self._stopped = Event()
        # A thread of its own: a round that waits for the broker may last longer than DEAD_AFTER.
        self._recovery = RecoveryRounds()

    def run(self) -> None:
        beat_at = time.monotonic()
        prune_at = beat_at + PRUNE_CHECK_EVERY.total_seconds()
        clock = ClockWatch()
        is_idle = False
        while True:
            now = time.monotonic()
            try:
                close_old_connections()
                if moved_by := clock.moved_by():
                    if embedded.has_own_database():
                        follow(moved_by)
                        beat_at = now
                    clock.acknowledge(moved_by)  # not after an error: the next round follows
                if now >= beat_at:
                    self._worker.beat(self._progress.until())
                    measurements.publish()
                    pipeline.current().release_unknown_claims()
                    beat_at = now + HEARTBEAT.total_seconds()
                if not self._recovery.ident:  # after the first heartbeat: recovery sees this worker alive
                    self._recovery.start()
                if now >= prune_at:
                    _prune_if_due()
                    prune_at = now + PRUNE_CHECK_EVERY.total_seconds()
                is_idle, was_idle = pipeline.current().is_idle, is_idle
                if not (is_idle and was_idle):  # once more when the last Image has been released
                    pipeline.current().share_pauses()
                    pipeline.current().give_back_idle()
            except Exception:
                logger.exception("A heartbeat failed; the next one follows")
            if self._stopped.wait(1):
                break
        self._recovery.stop()
        measurements.publish()
        self._worker.delete()
        connection.close()

    def stop(self) -> None:
        self._stopped.set()
        self.join(timeout=5)


def _prune_if_due() -> None:
    """Prune in a thread if it is due and no other worker does: it may take longer than DEAD_AFTER."""
    days = settings.RETENTION_DAYS
    if days and Maintenance.claim_prune():
        Thread(target=_prune, args=[days], name="prune", daemon=True).start()


def _prune(days: int) -> None:
    """Prune and log the result. If the process ends meanwhile, the next prune deletes the rest."""
    try:
        logger.info("Pruned; %s", prune(days))
    except Exception:
        logger.exception("Pruning failed; the next prune deletes the rest")
    finally:
        connection.close()
