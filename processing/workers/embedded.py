"""Embedded mode: worker threads inside the process of `manage.py serve` or `extract`."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dramatiq
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from processing.feeds.tasks import FEEDS, MAX_FETCHES
from processing.webhooks.tasks import WEBHOOKS
from processing.work import pipeline
from processing.work.tasks import QUEUE
from processing.workers.recovery import take_over

#: Threads of each queue. Queues that share threads would let slow receivers and feeds delay pictures.
THREADS = {QUEUE: 6, WEBHOOKS: 8, FEEDS: MAX_FETCHES}
#: How often consumers look whether delayed messages are due, or the worker stops. New messages wake them.
CONSUMER_WAIT_MS = 250
#: Seconds for deliveries and fetches of feeds under way at shutdown. Those that do not finish are made again.
DELIVERY_GRACE_SECONDS = 2
#: For so long a thread that computes keeps the interpreter from others. With Python's 5 ms, a thread that
#: answers or works waits 5 ms after each of its queries while an upload is checked.
SWITCH_INTERVAL_SECONDS = 0.0005
_running: list[dramatiq.Worker] = []


def lock_data_dir() -> bool:
    """Take the locks on DATA_DIR and on a SQLite database of this process, its forks and what it may exec.

    Their holder knows that no other worker is alive. Returns False if another process holds DATA_DIR. Raises
    ImproperlyConfigured if one with another DATA_DIR holds the database, or if a lock cannot be made.
    """
    return bool(_take_locks())


def _take_locks() -> list[int]:
    """Return the descriptors that hold the locks, none if another process holds DATA_DIR."""
    descriptor = _lock(settings.DATA_DIR / "lock")
    if descriptor is None:
        return []
    if not has_own_database():
        return [descriptor]
    database = settings.DATABASES["default"]["NAME"]
    if (of_database := _lock(Path(f"{os.path.realpath(database)}.lock"))) is None:
        os.close(descriptor)
        raise ImproperlyConfigured(
            f"Another `serve` or `extract`, with another DATA_DIR, uses the database {database}. "
            "Set another DATABASE_URL, or unset it to have a database in DATA_DIR."
        )
    return [descriptor, of_database]


def _lock(path: Path) -> int | None:
    """Lock a file as long as the returned descriptor is open. Returns None if another process holds it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ImproperlyConfigured(f"{path} cannot be opened for writing: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    os.set_inheritable(descriptor, True)
    return descriptor


def migrate() -> None:
    """Create or migrate the database if it is SQLite, which no other process uses."""
    if not has_own_database():
        return
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):  # else the command takes long for nothing
        call_command("migrate", verbosity=0, interactive=False)


def migrate_unless_running() -> None:
    """Create or migrate a SQLite database, unless it is in use by a process that has done so at its start."""
    if not has_own_database():
        return
    locks = _take_locks()
    try:
        if locks:
            migrate()
    finally:
        for descriptor in locks:
            os.close(descriptor)


def has_own_database() -> bool:
    """Return whether the lock on DATA_DIR covers the database. Others may use a PostgreSQL."""
    return connection.vendor == "sqlite"


def start() -> None:
    """Start the workers in this process. The caller holds the lock on DATA_DIR."""
    if has_own_database():
        take_over()
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    broker = dramatiq.get_broker()
    for queue, threads in THREADS.items():
        worker = dramatiq.Worker(
            broker, queues={queue}, worker_threads=threads, worker_timeout=CONSUMER_WAIT_MS
        )
        _running.append(worker)
        worker.start()
        pipeline.current()  # raises if the start failed, which Dramatiq only logs


def stop() -> None:
    """Stop the workers after a few seconds for pictures and deliveries under way."""
    while _running:
        worker = _running.pop(0)
        if worker.consumer_whitelist == {QUEUE}:
            worker.stop()
        else:
            worker.stop(timeout=DELIVERY_GRACE_SECONDS * 1000)


def is_started() -> bool:
    return bool(_running)


@contextmanager
def worker() -> Iterator[None]:
    """Run the workers for the duration of the block."""
    start()
    try:
        yield
    finally:
        stop()
