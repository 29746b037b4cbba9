"""Threads that write to SQLite at the same time."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import ConnectionHandler, OperationalError
from pytest_django import DjangoDbBlocker

from imageextractor.sqlite import base
from tests.support.parallel import wait_until


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> base.WriteLock:
    lock = base.WriteLock()
    monkeypatch.setattr(base, "_write_lock", lock)
    return lock


@pytest.fixture
def handler(
    tmp_path: Path, lock: base.WriteLock, django_db_blocker: DjangoDbBlocker
) -> Iterator[ConnectionHandler]:
    """Connections to a database with the options of the service, but a short time limit."""
    options = {"transaction_mode": "IMMEDIATE", "timeout": 0.2, "init_command": "PRAGMA journal_mode=WAL"}
    database = {"ENGINE": "imageextractor.sqlite", "NAME": tmp_path / "db", "OPTIONS": options}
    handler = ConnectionHandler({"default": database})
    with django_db_blocker.unblock():
        with closing(handler["default"]) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE written (number integer)")
        yield handler


@contextmanager
def transaction(connection: Any) -> Iterator[Any]:
    """Do what `transaction.atomic()` does, which knows no connections but the service's."""
    connection.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
    with connection.cursor() as cursor:
        yield cursor
    connection.commit()
    connection.set_autocommit(True)


def write(handler: ConnectionHandler, number: int) -> None:
    """Write in a transaction or, if the number is odd, outside of one."""
    with closing(handler["default"]) as connection:
        if number % 2:
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO written VALUES (%s)", [number])
        else:
            with transaction(connection) as cursor:
                cursor.execute("INSERT INTO written VALUES (%s)", [number])


def written(handler: ConnectionHandler) -> list[int]:
    with closing(handler["default"]) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT number FROM written ORDER BY rowid")
        return [number for (number,) in cursor.fetchall()]


def test_threads_write_in_the_order_in_which_they_asked(
    handler: ConnectionHandler, lock: base.WriteLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(handler.settings["default"]["OPTIONS"], "timeout", 60)
    with ThreadPoolExecutor(16) as threads, closing(handler["default"]) as connection:
        with transaction(connection):
            writes = []
            for number in range(16):
                writes.append(threads.submit(write, handler, number))
                wait_until(lambda: len(lock._waiting) == len(writes))
        assert [write.result() for write in writes] == [None] * 16
    assert written(handler) == list(range(16))


def test_a_thread_that_waits_too_long_gives_up_its_turn(handler: ConnectionHandler) -> None:
    with ThreadPoolExecutor(1) as threads, closing(handler["default"]) as connection:
        with transaction(connection):
            for number in (0, 1):
                with pytest.raises(OperationalError, match="locked"):
                    threads.submit(write, handler, number).result()
        threads.submit(write, handler, 2).result()
    assert written(handler) == [2]


def test_a_transaction_that_fails_or_is_closed_ends_its_turn(handler: ConnectionHandler) -> None:
    with closing(handler["default"]) as connection:
        with pytest.raises(OperationalError), transaction(connection) as cursor:
            cursor.execute("SELECT nothing FROM nowhere")
        connection.rollback()
        connection.set_autocommit(True)
        write(handler, 0)
        with transaction(handler["default"]):
            handler["default"].close()
        write(handler, 1)
    assert written(handler) == [0, 1]


def test_a_turn_that_the_database_refuses_is_ended(handler: ConnectionHandler, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as other_process:
        other_process.execute("BEGIN IMMEDIATE")
        for number in (0, 1):
            with pytest.raises(OperationalError, match="locked"):
                write(handler, number)
    write(handler, 2)
    assert written(handler) == [2]


@pytest.mark.parametrize("has_come", [False, True])
def test_a_thread_that_is_interrupted_while_it_waits_gives_up_its_turn(
    lock: base.WriteLock, monkeypatch: pytest.MonkeyPatch, has_come: bool
) -> None:
    class Interrupted(Event):
        def wait(self, _seconds: float | None = None) -> bool:
            if has_come:
                lock.release()
            raise KeyboardInterrupt

    assert lock.acquire(0)
    with monkeypatch.context() as patch:
        patch.setattr(base, "Event", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            lock.acquire(60)
    assert lock.acquire(0) == has_come
    lock.release()
    assert lock.acquire(0)


def test_a_commit_that_is_interrupted_ends_its_turn(
    handler: ConnectionHandler, lock: base.WriteLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_connection: Any) -> None:
        raise KeyboardInterrupt

    with closing(handler["default"]) as connection:
        with (
            monkeypatch.context() as patch,
            pytest.raises(KeyboardInterrupt),
            transaction(connection),
        ):
            patch.setattr(BaseDatabaseWrapper, "_commit", interrupted)
        assert lock.acquire(0)
