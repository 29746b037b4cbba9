from collections import deque
from concurrent.futures import ThreadPoolExecutor
from socket import create_server
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import redis
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.errors import BrokerConnectionError
from dramatiq.message import Message

from processing import broker as module
from processing.broker import FETCHED_MESSAGES, RedisBroker
from tests.support.parallel import wait_until


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

    def wait_for_bell(self, queue: str, heard: str, seconds: float) -> str:
        return heard

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


def test_a_consumer_that_waits_is_woken_by_a_message(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 600.0)
    broker: Any = RedisBroker(url=redis_url, namespace=f"test-{uuid4()}")  # type: ignore[no-untyped-call]
    queue = f"bell-{uuid4()}"
    broker.declare_queue(queue)
    consumer = broker.consume(queue)
    with ThreadPoolExecutor(1) as thread:
        looks = thread.submit(lambda: [next(consumer), next(consumer)])
        wait_until(lambda: any(one["cmd"] == "xread" for one in broker.client.client_list()))
        sent = broker.enqueue(Message[None](queue, "work", (), {}, {}))
        nothing, found = looks.result(60)
    assert nothing is None
    assert found.message_id == sent.message_id


def test_a_message_that_came_while_a_consumer_looked_is_found_without_waiting(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 600.0)
    broker: Any = RedisBroker(url=redis_url, namespace=f"test-{uuid4()}")  # type: ignore[no-untyped-call]
    queue = f"bell-{uuid4()}"
    broker.declare_queue(queue)
    consumer = broker.consume(queue)
    fetch = broker.do_fetch
    sent: list[Any] = []

    def fetch_then_enqueue(*arguments: Any) -> Any:
        found = fetch(*arguments)
        if not sent:
            sent.append(broker.enqueue(Message[None](queue, "work", (), {}, {})))
        return found

    broker.do_fetch = fetch_then_enqueue
    assert next(consumer) is None
    assert next(consumer).message_id == sent[0].message_id


def test_messages_come_although_the_bell_does_not_ring(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.05)
    broker: Any = RedisBroker(url=redis_url, namespace=f"test-{uuid4()}")  # type: ignore[no-untyped-call]
    queue = f"bell-{uuid4()}"
    broker.declare_queue(queue)
    consumer = broker.consume(queue)
    assert next(consumer) is None

    def fail(*_: Any, **__: Any) -> None:
        raise redis.ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(broker.client, "xadd", fail)
        broker.enqueue(Message[None](queue, "work", (), {}, {}))
    assert next(consumer)


def test_waiting_for_a_redis_that_is_gone_is_a_connection_error() -> None:
    with create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    broker: Any = RedisBroker(url=f"redis://127.0.0.1:{port}/0")  # type: ignore[no-untyped-call]
    with pytest.raises(BrokerConnectionError):
        broker.wait_for_bell("images", "0", 1)
