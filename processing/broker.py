"""Redis as Dramatiq's broker."""

from collections.abc import Iterable
from typing import Any

import redis
from dramatiq.brokers import redis as dramatiq_redis
from dramatiq.errors import ConnectionClosed


class Consumer(dramatiq_redis._RedisConsumer):
    """Dramatiq's consumer, made to survive any error of Redis while it requeues delayed messages.

    While it requeues, the consumer's thread handles no error but ConnectionClosed. Any other, such as a
    timeout, would end the thread, and the worker would receive no messages until it is restarted.
    """

    def requeue(self, messages: Iterable[Any]) -> None:
        try:
            super().requeue(messages)  # type: ignore[no-untyped-call]
        except redis.RedisError as error:
            raise ConnectionClosed(error) from error  # type: ignore[no-untyped-call]


class RedisBroker(dramatiq_redis.RedisBroker):
    """A broker whose consumers survive a Redis that hangs."""

    @property
    def consumer_class(self) -> type[Consumer]:
        return Consumer
