"""This process as a worker: its row with a heartbeat, its pipeline, recovery rounds, its turns to prune.

One that only delivers webhooks has recovery rounds and nothing else of this.
"""

import logging
from datetime import UTC, datetime, timedelta
from threading import Event, Lock, Thread
from typing import Any

import dramatiq
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import close_old_connections, connection
from django.utils import timezone

from processing import runtime
from processing.storage.outputs import require_bucket
from processing.work import pipeline
from processing.work.tasks import QUEUE
from processing.workers import embedded
from processing.workers.models import HEARTBEAT, Pruning, Worker
from processing.workers.prune import prune
from processing.workers.recovery import recover

logger = logging.getLogger(__name__)

RECOVERY_EVERY = runtime.current.recovery_interval
#: How often it looks whether it is its turn to prune; not at once, since a worker that is there only for a
#: short `extract` would not come to the end.
PRUNE_LOOK_EVERY = timedelta(minutes=5)
#: Seconds for pictures in hand at shutdown; below the 10 s after which container engines kill.
GRACE_SECONDS = 8


class WorkerMiddleware(dramatiq.Middleware):
    """Starts and stops what a worker process needs beside Dramatiq's threads."""

    def before_worker_boot(self, broker: Any, worker: Any) -> None:
        # Not after: Dramatiq's threads take up messages before that.
        if runtime.current.worker_in_web_process and not embedded.is_started():
            raise SystemExit(
                "Without REDIS_URL the worker lives inside `manage.py serve`; to run it apart set REDIS_URL."
            )
        if _takes_pictures(worker):
            _require_bucket()
            row = Worker()
            row.beat()
            pipeline.start(row.pk)
            self._served = Served(worker.worker_threads)
            self._heart = Heart(row, self._served)
            self._heart.start()
        elif not pipeline.is_worker():
            self._rounds = Rounds()
            self._rounds.start()

    def before_process_message(self, broker: Any, message: Any) -> None:
        if message.queue_name == QUEUE:
            self._served.begin(message.message_timestamp)

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: Any = None
    ) -> None:
        if message.queue_name == QUEUE:
            self._served.end()

    def before_worker_shutdown(self, broker: Any, worker: Any) -> None:
        if _takes_pictures(worker):
            pipeline.current().stop()

    def after_worker_shutdown(self, broker: Any, worker: Any) -> None:
        if _takes_pictures(worker):
            pipeline.current().close(GRACE_SECONDS)
            self._heart.stop()
        elif not pipeline.is_worker():
            self._rounds.stop()


def _require_bucket() -> None:
    try:
        require_bucket()
    except ImproperlyConfigured as error:
        raise SystemExit(str(error)) from error  # dramatiq would log any other, and go on without us


def _takes_pictures(worker: Any) -> bool:
    """Whether Dramatiq's worker takes up messages about pictures; it takes up all if not told otherwise."""
    return not worker.consumer_whitelist or QUEUE in worker.consumer_whitelist


class Served:
    """How far this worker has come in the queue, which is first in, first out."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._lock = Lock()
        self._running = 0
        self._latest: datetime | None = None

    def begin(self, timestamp: int) -> None:
        """A message sent at `timestamp` (Unix time in ms) is being processed."""
        sent_at = datetime.fromtimestamp(timestamp / 1000, UTC)
        with self._lock:
            self._running += 1
            self._latest = max(filter(None, [self._latest, sent_at]))

    def end(self) -> None:
        """A message has been processed."""
        with self._lock:
            self._running -= 1

    def until(self) -> datetime | None:
        """What was sent before was taken up, or is lost. Now, if a thread has nothing to do."""
        with self._lock:
            return timezone.now() if self._running < self._threads else self._latest


class Rounds(Thread):
    """Runs recovery, again and again."""

    def __init__(self) -> None:
        super().__init__(name="recovery", daemon=True)
        self._stopped = Event()

    def run(self) -> None:
        while True:
            try:
                close_old_connections()
                recover()
            except Exception:
                logger.exception("A round of recovery failed; the next one follows")
            if self._stopped.wait(RECOVERY_EVERY.total_seconds()):
                break
        connection.close()

    def stop(self) -> None:
        self._stopped.set()
        if self.ident:
            self.join(timeout=2)


class Heart(Thread):
    """Says every 10 s that the worker lives, has recovery run, and gives back what it cannot work on."""

    def __init__(self, worker: Worker, served: Served) -> None:
        super().__init__(name="heart", daemon=True)
        self._worker = worker
        self._served = served
        self._stopped = Event()
        # A thread of its own: a round that sends to a broker that hangs outlasts what a worker may be silent.
        self._rounds = Rounds()

    def run(self) -> None:
        beat_at = timezone.now()
        prune_at = beat_at + PRUNE_LOOK_EVERY
        while True:
            now = timezone.now()
            try:
                close_old_connections()
                if now >= beat_at:
                    self._worker.beat(self._served.until())
                    pipeline.current().give_back_strays()
                    beat_at = now + HEARTBEAT
                if not self._rounds.ident:  # not before recovery can see that this worker lives
                    self._rounds.start()
                if now >= prune_at:
                    _prune_in_turn()
                    prune_at = now + PRUNE_LOOK_EVERY
                pipeline.current().share_pauses()
                pipeline.current().give_back_idle()
            except Exception:
                logger.exception("The worker's heart stumbled and goes on")
            if self._stopped.wait(1):
                break
        self._rounds.stop()
        self._worker.delete()
        connection.close()

    def stop(self) -> None:
        self._stopped.set()
        self.join(timeout=5)


def _prune_in_turn() -> None:
    days = settings.RETENTION_DAYS
    if days and Pruning.take_turn():
        # In a thread, since it may take longer than a heart may be silent.
        Thread(target=_prune, args=[days], name="prune", daemon=True).start()


def _prune(days: int) -> None:
    """The end of the process may cut this off: the next turn finds what is left."""
    try:
        logger.info("Pruned; %s", prune(days))
    except Exception:
        logger.exception("Pruning broke off; what is left is found at the next turn")
    finally:
        connection.close()
