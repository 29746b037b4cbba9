"""Users take turns for the threads of a worker, however many messages each of them has."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from queue import Empty
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from processing.work.turns import OwnerQueue
from tests.support.parallel import wait_until


def item(owner: str | None, name: str = "", actor: str = "work", sent_ms: int = 0) -> Any:
    """A message as the consumers of a worker put it into the queue."""
    options = {} if owner is None else {"owner": owner}
    message = SimpleNamespace(options=options, actor_name=actor, message_timestamp=sent_ms, name=name)
    return SimpleNamespace(message=message)


def queue_of(*items: Any, threads: int = 8) -> OwnerQueue:
    queue = OwnerQueue(threads)
    for one in items:
        queue.put(one)
    return queue


def names(queue: OwnerQueue) -> list[str]:
    """The names of all messages, each of which is done before the next one is asked for."""
    taken = []
    while True:
        try:
            taken.append(queue.get_nowait().message.name)
        except Empty:
            return taken
        queue.task_done()


class Hand(Thread):
    """A thread that takes one message and has it in hand until it is told."""

    def __init__(self, queue: OwnerQueue) -> None:
        super().__init__(daemon=True)
        self._queue = queue
        self._told = Event()
        self.taken = ""
        self.start()

    def run(self) -> None:
        self.taken = self._queue.get(timeout=60).message.name
        assert self._told.wait(60)
        self._queue.task_done()

    def finish(self) -> None:
        self._told.set()
        self.join(60)


def hands(queue: OwnerQueue, count: int) -> list[Hand]:
    """Take so many messages, one after another, and keep them in hand."""
    taken: list[Hand] = []
    for _ in range(count):
        taken.append(Hand(queue))
        wait_until(lambda: taken[-1].taken)
    return taken


# --- The order ---


def test_users_take_turns_whoever_has_more_messages() -> None:
    many = [item("ann", f"a{number}") for number in range(5)]
    queue = queue_of(*many, item("bob", "b0"), item("bob", "b1"), item("cid", "c0"))
    assert names(queue) == ["a0", "b0", "c0", "a1", "b1", "a2", "a3", "a4"]


def test_a_user_who_comes_later_waits_for_one_message_of_each_other_at_most() -> None:
    queue = queue_of(*[item("ann", f"a{number}") for number in range(1000)])
    assert queue.get().message.name == "a0"
    queue.put(item("bob", "b0"))
    assert queue.get().message.name == "a1"
    assert queue.get().message.name == "b0"


def test_the_user_with_the_fewest_messages_in_hand_is_next() -> None:
    queue = queue_of(*[item("ann", f"a{number}") for number in range(3)])
    in_hand = hands(queue, 2)
    for one in item("bob", "b0"), item("bob", "b1"), item("bob", "b2"):
        queue.put(one)
    in_hand += hands(queue, 2)
    assert [hand.taken for hand in in_hand] == ["a0", "a1", "b0", "b1"]
    for hand in in_hand:
        hand.finish()


# --- Shares ---


def test_a_user_leaves_threads_to_others_even_if_none_waits() -> None:
    queue = queue_of(*[item("ann", f"a{number}") for number in range(9)], threads=5)
    in_hand = hands(queue, 3)
    with pytest.raises(Empty):
        queue.get_nowait()
    queue.put(item("bob", "b0"))
    assert queue.get_nowait().message.name == "b0"
    in_hand[0].finish()
    assert queue.get(timeout=60).message.name == "a3"
    for hand in in_hand[1:]:
        hand.finish()


def test_a_thread_that_waits_gets_what_becomes_allowed() -> None:
    queue = queue_of(*[item("ann", f"a{number}") for number in range(2)], threads=3)
    first, second = Hand(queue), Hand(queue)
    wait_until(lambda: first.taken or second.taken)
    taken, waiting = (first, second) if first.taken else (second, first)
    assert not waiting.taken
    taken.finish()
    wait_until(lambda: waiting.taken)
    waiting.finish()


def test_a_user_has_one_ingest_in_hand_at_a_time() -> None:
    queue = queue_of(
        item("ann", "a0", "ingest"),
        item("ann", "a1", "ingest"),
        item("ann", "a2"),
        item("bob", "b0", "ingest"),
    )
    in_hand = hands(queue, 3)
    assert [hand.taken for hand in in_hand] == ["a0", "b0", "a2"]
    with pytest.raises(Empty):
        queue.get_nowait()
    in_hand[0].finish()
    assert queue.get(timeout=60).message.name == "a1"
    for hand in in_hand[1:]:
        hand.finish()


def test_messages_without_an_owner_are_not_limited() -> None:
    queue = queue_of(*[item(None, str(number)) for number in range(4)], threads=3)
    in_hand = hands(queue, 4)
    assert [hand.taken for hand in in_hand] == ["0", "1", "2", "3"]
    for hand in in_hand:
        hand.finish()


# --- What recovery and a shutdown ask ---


def test_the_time_of_the_message_that_has_waited_longest() -> None:
    queue = queue_of(
        item("ann", "a0", sent_ms=3000), item("ann", "a1", sent_ms=4000), item("bob", sent_ms=2000)
    )
    assert queue.oldest() == datetime.fromtimestamp(2, UTC)
    names(queue)
    assert queue.oldest() is None


def test_a_worker_that_stops_is_given_back_everything() -> None:
    waiting = [item("ann", f"{actor}{n}", actor) for actor in ("ingest", "work") for n in range(5)]
    queue, left = queue_of(*waiting, threads=3), 0
    while True:  # as Dramatiq does: without a word when one is done
        try:
            queue.get_nowait()
        except Empty:
            break
        left += 1
    assert left == 10


def test_a_thread_that_waits_is_woken_by_a_message_and_by_the_end() -> None:
    queue = OwnerQueue(3)
    with ThreadPoolExecutor(2) as threads:
        got, ended = threads.submit(queue.get), threads.submit(queue.get)
        queue.put(item("ann", "a"))
        wait_until(lambda: got.done() or ended.done())
        queue.close()
        results = [future.exception(60) or future.result() for future in (got, ended)]
    assert sorted(type(result).__name__ for result in results) == ["Empty", "SimpleNamespace"]
    queue.put(item("bob", "b"))
    assert names(queue) == ["b"], "which is given back to the broker"


# --- In Dramatiq's worker ---


@contextmanager
def worker_with_turns(broker: StubBroker, threads: int) -> Iterator[None]:
    worker: Any = dramatiq.Worker(broker, worker_threads=threads, worker_timeout=50)
    worker.work_queue, worker.queue_prefetch = OwnerQueue(threads), 1000
    worker.start()
    try:
        yield
    finally:
        for thread in worker.workers:
            thread.stop()
        worker.work_queue.close()
        worker.stop()


def test_a_worker_full_of_one_users_messages_takes_up_anothers_at_once() -> None:
    broker, opened = StubBroker(), Event()
    begun: list[str] = []

    @dramatiq.actor(broker=broker)
    def work(owner: str) -> None:
        begun.append(owner)
        assert owner == "bob" or opened.wait(60)

    with worker_with_turns(broker, threads=4):
        for _ in range(50):
            work.send_with_options(args=("ann",), owner=1)
        wait_until(lambda: begun == ["ann"] * 2)
        work.send_with_options(args=("bob",), owner=2)
        wait_until(lambda: "bob" in begun)
        assert begun == ["ann", "ann", "bob"]
        opened.set()
        broker.join("default")
    assert begun.count("ann") == 50
