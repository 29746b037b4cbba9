"""Django's SQLite backend, in which the threads of a process write in the order in which they asked.

SQLite lets one connection write at a time and has no queue: a connection that finds it locked sleeps and
tries again, so that under load some wait for 20 s and fail while others write many times. Here a thread waits
for the write lock first, and then is the only one of the process that asks SQLite. Other processes compete
with it.
"""

import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock
from typing import Any

from django.db.backends.sqlite3 import base
from django.db.utils import DatabaseError, OperationalError

_WRITES = re.compile(r"(?:INSERT|UPDATE|DELETE|REPLACE)\b", re.IGNORECASE)


class WriteLock:
    """A lock that goes to those who wait for it in the order in which they asked. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()  # guards the two that follow
        self._is_taken = False
        self._waiting: deque[Event] = deque()

    def acquire(self, seconds: float) -> bool:
        """Wait for the lock, at most so long. Return whether this thread has it."""
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return True
            mine = Event()
            self._waiting.append(mine)
        try:
            return mine.wait(seconds) or not self._give_up(mine)
        except BaseException:  # the thread was interrupted
            if not self._give_up(mine):
                self.release()
            raise

    def _give_up(self, mine: Event) -> bool:
        """Stop waiting. Return False if this thread was given the lock since the wait ended."""
        with self._lock:
            if mine.is_set():
                return False
            if mine in self._waiting:
                self._waiting.remove(mine)
            return True

    def release(self) -> None:
        """Release the lock, which `acquire` has taken."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._is_taken = False


#: The service has one SQLite database.
_write_lock = WriteLock()


class DatabaseWrapper(base.DatabaseWrapper):
    """Takes the write lock for each transaction, and for each statement that writes outside of one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._has_write_lock = False

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write within the block. A transaction around the block has the lock already."""
        if self._has_write_lock:
            yield
            return
        self._take_lock()
        try:
            yield
        finally:
            self._release_lock()

    def create_cursor(self, name: str | None = None) -> Any:
        cursor = self.connection.cursor(factory=_Cursor)
        cursor.wrapper = self
        return cursor

    def _start_transaction_under_autocommit(self) -> None:
        self._take_lock()
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]  # not in the stubs
        except BaseException:
            self._release_lock()
            raise

    def _commit(self) -> None:
        rollback_follows = False
        try:
            super()._commit()  # type: ignore[misc]  # not in the stubs
        except DatabaseError:
            rollback_follows = True
            raise
        finally:
            if not rollback_follows:
                self._release_lock()

    def _rollback(self) -> None:
        try:
            super()._rollback()  # type: ignore[misc]  # not in the stubs
        finally:
            self._release_lock()

    def _close(self) -> None:
        try:
            super()._close()  # type: ignore[misc]  # not in the stubs
        finally:
            self._release_lock()

    def _take_lock(self) -> None:
        if not _write_lock.acquire(self.settings_dict["OPTIONS"].get("timeout", 5)):
            raise OperationalError("database is locked by other threads of this process")
        self._has_write_lock = True

    def _release_lock(self) -> None:
        if self._has_write_lock:
            self._has_write_lock = False
            _write_lock.release()


class _Cursor(base.SQLiteCursorWrapper):
    wrapper: DatabaseWrapper

    def execute(self, query: str, params: Any = None) -> Any:
        if not _WRITES.match(query.lstrip()):
            return super().execute(query, params)
        with self.wrapper.writing():
            return super().execute(query, params)

    def executemany(self, query: str, param_list: Any) -> Any:
        with self.wrapper.writing():
            return super().executemany(query, param_list)
