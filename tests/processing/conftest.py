import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from django.core.files.storage import storages
from dramatiq.brokers.stub import StubBroker
from pytest_django import Settings

from processing.feeds.tasks import FEEDS
from processing.webhooks.tasks import WEBHOOKS
from processing.work.pipeline import Pipeline
from processing.work.tasks import QUEUE
from products.models import Request
from tests.support.batches import Gate
from tests.support.parallel import wait_for_threads

#: How the threads of a pipeline are named.
PIPELINE_THREADS = ("codec_", "child_", "flush_", "leases_", "storage_")


@pytest.fixture(autouse=True)
def threads_end() -> Iterator[None]:
    """No thread that makes or records pictures goes on in the next test."""
    earlier = {*threading.enumerate()}
    yield
    wait_for_threads(*PIPELINE_THREADS, but=earlier)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def small_pool(settings: Settings, tmp_path: Path) -> None:
    """16 places for pictures, of which 8 are fetched at once, 4 from one host; outputs go to `tmp_path`."""
    settings.FETCH_CONCURRENCY = 8
    settings.FETCH_PER_HOST = 4
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def pipeline(small_pool: None, gate: Gate) -> Iterator[Pipeline]:
    """The pipeline of a worker that has no row and no heart."""
    pipeline = Pipeline(uuid.uuid4())
    yield pipeline
    gate.open()
    pipeline.close(20)


@pytest.fixture
def own_uploads(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for the catalogues of the test alone. A prune asks the database about each one in it."""
    uploads = settings.STORAGES["uploads"] | {"OPTIONS": {"location": tmp_path / "uploads"}}
    settings.STORAGES = settings.STORAGES | {"uploads": uploads}
    monkeypatch.setattr(Request._meta.get_field("source"), "storage", storages["uploads"])


@pytest.fixture
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo at its end the role that a test gives this process."""
    monkeypatch.setattr("processing.work.pipeline._current", None)


@contextmanager
def dramatiq_worker() -> Iterator[dramatiq.Worker]:
    """Threads that consume messages, in this process."""
    worker = dramatiq.Worker(dramatiq.get_broker(), worker_threads=4, worker_timeout=50)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


class Broker:
    """The messages that wait in the run's own Redis, or in this process where the settings name none."""

    def __init__(self) -> None:
        self._broker: Any = dramatiq.get_broker()

    def flush_all(self) -> None:
        self._broker.flush_all()

    def messages(self) -> list[tuple[str, str, int]]:
        """Actor, Request and epoch of every message there is, delayed ones included."""
        return [*self._messages_in(QUEUE), *self.delayed()]

    def endpoints(self) -> list[str]:
        """The endpoint of every message of the webhooks' queue that is for now."""
        return [str(message.args[0]) for message in self._waiting(WEBHOOKS)]

    def feeds(self) -> list[str]:
        """The run of every message of the feeds' queue that is for now."""
        return [str(message.args[0]) for message in self._waiting(FEEDS)]

    def delayed(self) -> list[tuple[str, str, int]]:
        """The messages that are for later only."""
        return self._messages_in(f"{QUEUE}.DQ")

    def _messages_in(self, queue: str) -> list[tuple[str, str, int]]:
        return [(message.actor_name, *message.args) for message in self._waiting(queue)]

    def _waiting(self, queue: str) -> list[dramatiq.Message[Any]]:
        if isinstance(self._broker, StubBroker):
            raw = list(self._broker.queues[queue].queue)
        else:
            raw = self._broker.client.hvals(f"dramatiq:{queue}.msgs")
        return [dramatiq.Message.decode(message) for message in raw]

    def counts(self) -> dict[str, int]:
        """Return the number of messages for each actor."""
        return dict(Counter(actor for actor, *_ in self.messages()))


@pytest.fixture
def broker() -> Iterator[Broker]:
    """The broker, empty before and after the test."""
    broker = Broker()
    broker.flush_all()
    yield broker
    broker.flush_all()
