"""Redis as Dramatiq's broker."""

import time
from collections.abc import Iterable
from typing import Any

import redis
from dramatiq.brokers import redis as dramatiq_redis
from dramatiq.errors import ConnectionClosed
from dramatiq.message import Message

#: Messages fetched at once. A consumer that holds more of them than that waits before it fetches again, for
#: about as long as an idle consumer of another worker takes to look for messages.
FETCHED_MESSAGES = 32
FETCH_PAUSE_SECONDS = 0.1


class Consumer(dramatiq_redis._RedisConsumer):
    """Dramatiq's consumer, which shares a long queue with other workers and survives a Redis that hangs.

    Dramatiq's would fetch all that it may prefetch at once, and leave nothing to the workers beside it.

    While it requeues delayed messages, the consumer's thread handles no error but ConnectionClosed. Any
    other, such as a timeout, would end the thread, and the worker would receive no messages until it is
    restarted.
    """

    def __init__(self, broker: Any, queue_name: str, prefetch: int, timeout: int) -> None:
        super().__init__(broker, queue_name, prefetch, timeout)  # type: ignore[no-untyped-call]
        self._max_messages = prefetch

    def __next__(self) -> Any:
        if not self.message_cache and not self.queue_name.endswith(".DQ"):  # delayed ones wait for their time
            held = self.outstanding_message_count
            self.prefetch = min(self._max_messages, held + FETCHED_MESSAGES)
            if held > FETCHED_MESSAGES:
                time.sleep(FETCH_PAUSE_SECONDS)
        return super().__next__()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Give back messages that were fetched and not handed out, which Dramatiq would forget."""
        messages, self.message_cache = [Message.decode(data) for data in self.message_cache], []
        self.requeue(messages)

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
