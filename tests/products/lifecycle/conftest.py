"""Records of the signals that a test's transitions send."""

import uuid
from collections.abc import Iterator

import pytest

from products.lifecycle import signals
from products.models import Request

SIGNALS = ("request_submitted", "request_finished", "sweep_started")


@pytest.fixture
def finished() -> Iterator[list[tuple[uuid.UUID, int, str]]]:
    """Id, run and status of each Request for which `request_finished` was sent, in order."""
    finishes: list[tuple[uuid.UUID, int, str]] = []

    def note(batch: Request, **_: object) -> None:
        finishes.append((batch.pk, batch.run, batch.status))

    signals.request_finished.connect(note)
    yield finishes
    signals.request_finished.disconnect(note)


@pytest.fixture
def sent() -> Iterator[list[str]]:
    """Names of the signals sent, in order."""
    names: list[str] = []

    def note(signal: object, **_: object) -> None:
        names.append(next(name for name in SIGNALS if getattr(signals, name) is signal))

    for name in SIGNALS:
        getattr(signals, name).connect(note)
    yield names
    for name in SIGNALS:
        getattr(signals, name).disconnect(note)
