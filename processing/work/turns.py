"""Fair turns of users for the threads of a worker: one user's many Requests delay nobody else's.

Dramatiq's queues are first in, first out. A user with hundreds of Requests has hundreds of messages in front
of those of others, each of which takes a slice of time.
"""

from collections import Counter, deque
from collections.abc import Hashable
from datetime import UTC, datetime
from queue import Empty, Queue
from threading import get_ident
from typing import Any

#: Messages that a worker process holds at most, out of which it chooses the next. Those beyond them wait in
#: the broker, first in, first out.
PREFETCHED_MESSAGES = 2000
#: Threads of a worker that are left to other users by each of them.
SPARE_THREADS = 2
#: The actors of which a user has one message at a time in hand: they need the interpreter and the database
#: all the time, and side by side they would only delay each other and all else.
EXCLUSIVE_ACTORS = frozenset({"ingest"})

_Key = tuple[Hashable, bool]  # an owner, and whether the actor is exclusive


class OwnerQueue(Queue[Any]):
    """The queue between the consumers and the threads of a Dramatiq worker. Thread-safe.

    The next message is one of the owner who has the fewest in hand, and of several such owners, of the one
    whose last turn was longest ago. Messages of one owner and actor stay in their order. The owner is the
    message's option `owner`; messages without one are not limited.
    """

    def __init__(self, threads: int) -> None:
        self._max_per_owner = max(1, threads - SPARE_THREADS)
        self._waiting: dict[_Key, deque[Any]] = {}  # those that have had a turn are last
        self._in_hand: dict[int, _Key] = {}  # by thread
        self._closed = False
        super().__init__()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next item, which this thread has in hand until it asks again or calls `task_done`.

        `timeout` is ignored, since idle threads need not look again and again: `close` ends the wait.
        """
        self._end()
        return super().get(block)

    def task_done(self) -> None:
        self._end()
        super().task_done()

    def close(self) -> None:
        """Raise Empty in threads that wait, now and later. Messages that are there are still returned."""
        with self.not_empty:
            self._closed = True
            self.not_empty.notify_all()

    def oldest(self) -> datetime | None:
        """Return when the message that has waited longest was sent; None if none waits."""
        with self.mutex:
            sent = [items[0].message.message_timestamp for items in self._waiting.values()]
        return datetime.fromtimestamp(min(sent) / 1000, UTC) if sent else None

    def _end(self) -> None:
        with self.not_empty:
            if self._in_hand.pop(get_ident(), None):
                self.not_empty.notify()  # a message of the same owner may have waited for this

    # --- Called by Queue, with the lock held ---

    def _init(self, maxsize: int) -> None:
        """There is nothing to prepare."""

    def _qsize(self) -> int:
        """Return how many messages could be in hand at once now; `get` waits while there is none."""
        return len(self._next_keys()) or self._closed

    def _put(self, item: Any) -> None:
        message = item.message
        key = message.options.get("owner"), message.actor_name in EXCLUSIVE_ACTORS
        self._waiting.setdefault(key, deque()).append(item)

    def _get(self) -> Any:
        counts, keys = self._counts(), self._next_keys()
        if not keys:  # the queue is closed
            raise Empty
        key = min(keys, key=lambda key: counts[key[0]])
        items = self._waiting.pop(key)
        item = items.popleft()
        if items:
            self._waiting[key] = items
        self._in_hand[get_ident()] = key
        return item

    def _next_keys(self) -> list[_Key]:
        counts, in_hand = self._counts(), set(self._in_hand.values())
        return [
            (owner, is_exclusive)
            for owner, is_exclusive in self._waiting
            if owner is None
            or (counts[owner] < self._max_per_owner and not (is_exclusive and (owner, True) in in_hand))
        ]

    def _counts(self) -> Counter[Hashable]:
        return Counter(owner for owner, _ in self._in_hand.values())
