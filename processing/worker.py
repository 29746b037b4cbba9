"""This process as a worker: its row with a heartbeat, its pipeline, recovery rounds."""

import logging
from datetime import timedelta
from threading import Event, Thread
from typing import Any

import dramatiq
from django.conf import settings
from django.db import Error, close_old_connections, connection
from django.utils import timezone

from processing import pipeline
from processing.models import HEARTBEAT, Worker
from processing.recovery import recover

logger = logging.getLogger(__name__)

#: Embedded, another process's submission is found by recovery alone, so that it looks more often.
RECOVERY_EVERY = timedelta(seconds=1 if settings.EMBEDDED else 10)
#: Seconds for pictures in hand at shutdown; below the 10 s after which container engines kill.
GRACE_SECONDS = 8


class WorkerMiddleware(dramatiq.Middleware):
    """Starts and stops what a worker process needs beside Dramatiq's threads."""

    def before_worker_boot(self, broker: Any, worker: Any) -> None:
        # Not after: Dramatiq's threads take up messages before that.
        row = Worker()
        pipeline.start(row.pk)
        self._heart = Heart(row)
        self._heart.start()

    def before_worker_shutdown(self, broker: Any, worker: Any) -> None:
        pipeline.current().stop()

    def after_worker_shutdown(self, broker: Any, worker: Any) -> None:
        pipeline.current().close(GRACE_SECONDS)
        self._heart.stop()


class Heart(Thread):
    """Says every 10 s that the worker lives, and has recovery run from time to time."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(name="heart", daemon=True)
        self._worker = worker
        self._stopped = Event()
        # A thread of its own: a round that sends to a broker that hangs outlasts what a worker may be silent.
        self._rounds = Thread(target=self._recover_until_stopped, name="recovery", daemon=True)

    def run(self) -> None:
        beat_at = timezone.now()
        while True:
            now = timezone.now()
            try:
                close_old_connections()
                if now >= beat_at:
                    self._worker.beat()
                    beat_at = now + HEARTBEAT
                if not self._rounds.ident:  # not before recovery can see that this worker lives
                    self._rounds.start()
                pipeline.current().give_back_idle()
            except Error:
                logger.exception("The worker's heartbeat could not be written; trying again")
            if self._stopped.wait(1):
                break
        if self._rounds.ident:
            self._rounds.join(timeout=2)
        self._worker.delete()
        connection.close()

    def _recover_until_stopped(self) -> None:
        while True:
            try:
                close_old_connections()
                recover()
            except Error:
                logger.exception("A round of recovery failed; the next one follows")
            if self._stopped.wait(RECOVERY_EVERY.total_seconds()):
                break
        connection.close()

    def stop(self) -> None:
        self._stopped.set()
        self.join(timeout=5)
