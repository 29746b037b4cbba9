from socket import create_server

import pytest
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.errors import BrokerConnectionError
from dramatiq.message import Message

from processing.broker import RedisBroker


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
