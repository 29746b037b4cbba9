"""Embedded mode: the worker's threads inside the one process that serves or extracts."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

import dramatiq
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from processing import pipeline
from processing.recovery import take_over

THREADS = 4
_running: dramatiq.Worker | None = None


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
    """Start the worker in this process. The caller's process tree holds the lock on DATA_DIR."""
    global _running  # noqa: PLW0603 (there is one worker per process)
    if _has_own_database():
        take_over()
    _running = dramatiq.Worker(dramatiq.get_broker(), worker_threads=THREADS, worker_timeout=100)
    _running.start()
    pipeline.current()  # Dramatiq only logs what goes wrong at its start; a worker without one is none


def stop() -> None:
    """Stop it, letting pictures in hand finish for a few seconds."""
    global _running
    if _running:
        worker, _running = _running, None
        worker.stop()


def is_started() -> bool:
    return _running is not None


@contextmanager
def worker() -> Iterator[None]:
    """The worker, for as long as the block lasts."""
    start()
    try:
        yield
    finally:
        stop()
