"""Redis as Dramatiq's broker."""

from collections.abc import Iterable
from typing import Any

import redis
from dramatiq.brokers import redis as dramatiq_redis
from dramatiq.errors import ConnectionClosed


class Consumer(dramatiq_redis._RedisConsumer):
    """Dramatiq's own, but for one error.

    Its thread gives delayed messages back when Redis fails, and takes connection errors there for what they
    are; redis-py's are others, and a time-out is none. The thread would end, and with it all taking up of
    messages until the worker is started anew.
    """

    def requeue(self, messages: Iterable[Any]) -> None:
        try:
            super().requeue(messages)  # type: ignore[no-untyped-call]
        except redis.RedisError as error:
            raise ConnectionClosed(error) from error  # type: ignore[no-untyped-call]


class RedisBroker(dramatiq_redis.RedisBroker):
    """A broker whose consumers outlive a Redis that hangs."""

    @property
    def consumer_class(self) -> type[Consumer]:
        return Consumer
