"""Redis as Dramatiq's broker. Its consumers block until a message arrives, where Dramatiq's poll."""

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import redis
from dramatiq.brokers import redis as dramatiq_redis
from dramatiq.errors import ConnectionClosed
from dramatiq.message import Message

#: Messages fetched at once. A consumer that holds more than that waits before it fetches again, so that idle
#: consumers of other workers come first.
FETCHED_MESSAGES = 32
FETCH_PAUSE_SECONDS = 0.1
#: How long a consumer waits for a message at most: while it holds messages, of which delayed ones may become
#: due, and while it holds none.
HOLDING_SECONDS, IDLE_SECONDS = 0.1, 1.0
#: In Redis, a stream for each queue with one entry, which is replaced whenever a message is enqueued.
BELL_PREFIX = "imageextractor:bell:"


class Consumer(dramatiq_redis._RedisConsumer):
    """Dramatiq's consumer, which shares a long queue with other workers and survives a Redis that hangs.

    Dramatiq's would fetch all that it may prefetch at once, and leave nothing to the workers beside it.

    While it requeues delayed messages, the consumer's thread handles no error but ConnectionClosed. Any
    other, such as a timeout, would end the thread, and the worker would receive no messages until it is
    restarted.
    """

    def __init__(self, broker: Any, queue_name: str, prefetch: int, timeout: int) -> None:
        super().__init__(broker, queue_name, prefetch, timeout=0)  # type: ignore[no-untyped-call]
        self._max_messages = prefetch
        self._heard: str | bytes = "0"  # the entry of the bell that was seen last

    def __next__(self) -> Any:
        if not self.message_cache and not self.queue_name.endswith(".DQ"):  # delayed ones wait for their time
            held = self.outstanding_message_count
            self.prefetch = min(self._max_messages, held + FETCHED_MESSAGES)
            if held > FETCHED_MESSAGES:
                time.sleep(FETCH_PAUSE_SECONDS)
        message = super().__next__()  # type: ignore[no-untyped-call]
        if message is None:
            seconds = HOLDING_SECONDS if self.outstanding_message_count else IDLE_SECONDS
            self._heard = self.broker.wait_for_bell(self.queue_name, self._heard, seconds)
        return message

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
    """A broker whose consumers wait for messages and survive a Redis that hangs."""

    @property
    def consumer_class(self) -> type[Consumer]:
        return Consumer

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Enqueue a message, and wake the consumers that wait for one."""
        enqueued = super().enqueue(message, delay=delay)
        with suppress(redis.RedisError):  # then they find it within a second
            self.client.xadd(f"{BELL_PREFIX}{enqueued.queue_name}", {"": ""}, maxlen=1, approximate=False)
        return enqueued

    def wait_for_bell(self, queue_name: str, heard: str | bytes, seconds: float) -> str | bytes:
        """Wait until the bell has an entry after `heard`, for `seconds` at most. Return the latest entry."""
        try:
            found: Any = self.client.xread({f"{BELL_PREFIX}{queue_name}": heard}, block=round(1000 * seconds))
        except redis.ConnectionError as error:
            raise ConnectionClosed(error) from error  # type: ignore[no-untyped-call]
        latest: str | bytes = found[0][1][-1][0] if found else heard
        return latest
