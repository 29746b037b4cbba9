from collections import deque
from socket import create_server
from types import SimpleNamespace
from typing import Any

import pytest
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.errors import BrokerConnectionError
from dramatiq.message import Message

from processing import broker as module
from processing.broker import FETCHED_MESSAGES, RedisBroker


def message() -> MessageProxy:
    options = {"redis_message_id": "1"}
    return MessageProxy(Message[None]("images", "work", (), {}, options))


def consumer(port: int) -> Consumer:
    broker = RedisBroker(url=f"redis://127.0.0.1:{port}/0?socket_timeout=0.2")  # type: ignore[no-untyped-call]
    return broker.consume("images")


def test_giving_messages_back_to_a_redis_that_does_not_answer_is_a_connection_error() -> None:
    with create_server(("127.0.0.1", 0)) as silent, pytest.raises(BrokerConnectionError):
        consumer(silent.getsockname()[1]).requeue([message()])


def test_giving_messages_back_to_a_redis_that_is_gone_is_a_connection_error() -> None:
    with create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(BrokerConnectionError):
        consumer(port).requeue([message()])


# --- Fetching beside other workers ---


class Queues:
    """Messages for consumers that note their pauses instead of making them."""

    def __init__(self, waiting: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting = deque(range(waiting))
        self.pauses: list[float] = []
        self.given_back: list[str] = []
        monkeypatch.setattr(module, "time", SimpleNamespace(sleep=self.pauses.append))

    def do_fetch(self, queue: str, count: int) -> list[bytes]:
        taken = [self.waiting.popleft() for _ in range(min(count, len(self.waiting)))]
        options = [{"redis_message_id": str(number)} for number in taken]
        return [Message[None](queue, "work", (), {}, option).encode() for option in options]

    def do_ack(self, queue: str, message_id: str) -> None:
        """There is nothing to do."""

    def do_requeue(self, queue: str, *message_ids: str) -> None:
        self.given_back += message_ids

    def consumer(self, *, prefetch: int, queue: str = "images") -> Any:
        return RedisBroker().consumer_class(self, queue, prefetch, 100)  # type: ignore[no-untyped-call]


def test_a_worker_leaves_a_part_of_a_long_queue_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    queues = Queues(1000, monkeypatch)
    busy, other = queues.consumer(prefetch=2000), queues.consumer(prefetch=2000)
    taken = 0
    while not queues.pauses:  # in which the other one, which was idle, looks
        assert next(busy)
        taken += 1
    assert taken <= 3 * FETCHED_MESSAGES
    assert next(other)


def test_a_worker_holds_messages_up_to_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    queues = Queues(1000, monkeypatch)
    consumer = queues.consumer(prefetch=200)
    taken = 0
    while next(consumer):
        taken += 1
    assert taken == 200
    assert list(queues.waiting) == list(range(200, 1000))


def test_a_worker_with_few_messages_fetches_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    queues = Queues(1000, monkeypatch)
    consumer = queues.consumer(prefetch=2000)
    for _ in range(1000):
        consumer.ack(next(consumer))
    assert queues.pauses == []


def test_delayed_messages_are_fetched_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    queues = Queues(1000, monkeypatch)
    consumer = queues.consumer(prefetch=2000, queue="images.DQ")
    assert all(next(consumer) for _ in range(1000))
    assert queues.pauses == []


def test_a_worker_that_stops_gives_back_what_it_has_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    queues = Queues(5, monkeypatch)
    consumer = queues.consumer(prefetch=2000)
    assert next(consumer).options["redis_message_id"] == "0"
    consumer.close()
    consumer.close()
    assert queues.given_back == ["1", "2", "3", "4"]
