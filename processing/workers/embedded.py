"""Embedded mode: the workers' threads inside the one process that serves or extracts."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

import dramatiq
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from processing.webhooks.tasks import WEBHOOKS
from processing.work import pipeline
from processing.work.tasks import QUEUE
from processing.workers.recovery import take_over

#: Threads that take up messages of each queue: queues alone would not keep slow receivers from holding up
#: pictures.
THREADS = {QUEUE: 4, WEBHOOKS: 8}
#: Seconds that deliveries under way get at the end. What they do not settle goes out again, with its old id.
DELIVERY_GRACE_SECONDS = 2
_running: list[dramatiq.Worker] = []


def lock_data_dir() -> bool:
    """Take the lock on DATA_DIR for this process, its forks, and what it turns into by exec.

    Who has it knows that no other worker lives. False when somebody else has it.
    """
    descriptor = os.open(settings.DATA_DIR / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    os.set_inheritable(descriptor, True)
    return True


def migrate() -> None:
    """Create the database or bring it up to date, if it is this process's own."""
    if _has_own_database():
        call_command("migrate", verbosity=0, interactive=False)


def _has_own_database() -> bool:
    """A PostgreSQL server may well have other users, of which the lock on DATA_DIR says nothing."""
    return connection.vendor == "sqlite"


def start() -> None:
    """Start the workers in this process. The caller's process tree holds the lock on DATA_DIR."""
    if _has_own_database():
        take_over()
    broker = dramatiq.get_broker()
    for queue, threads in THREADS.items():
        worker = dramatiq.Worker(broker, queues={queue}, worker_threads=threads, worker_timeout=100)
        _running.append(worker)
        worker.start()
        pipeline.current()  # Dramatiq only logs what goes wrong at its start; a worker without one is none


def stop() -> None:
    """Stop them, letting pictures and deliveries in hand finish for a few seconds."""
    while _running:
        worker = _running.pop(0)
        if worker.consumer_whitelist == {WEBHOOKS}:
            worker.stop(timeout=DELIVERY_GRACE_SECONDS * 1000)
        else:
            worker.stop()


def is_started() -> bool:
    return bool(_running)


@contextmanager
def worker() -> Iterator[None]:
    """The worker, for as long as the block lasts."""
    start()
    try:
        yield
    finally:
        stop()
