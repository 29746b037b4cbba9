"""Counted costs of a thousand pictures, which do not depend on the machine or its load."""

from collections import Counter
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from django.core.files.storage import storages
from django.db.backends.utils import CursorWrapper
from pytest import MonkeyPatch
from pytest_django import Settings

from processing.work import lane
from products.models import Request
from tests.processing.conftest import dramatiq_worker
from tests.support.batches import JPEG, submitted
from tests.support.origin import Origin
from tests.support.parallel import wait_until

IMAGES = 1000


def count(calls: Counter[str], monkeypatch: MonkeyPatch, owner: Any, name: str) -> None:
    """Count the calls of a function, in whichever thread."""
    function = getattr(owner, name)

    def counted(*args: Any, **options: Any) -> Any:
        calls.update([name])
        return function(*args, **options)

    monkeypatch.setattr(owner, name, counted)


@pytest.mark.needs("Redis")
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("broker", "no_worker")
def test_what_a_thousand_pictures_cost(
    origin: Origin, monkeypatch: MonkeyPatch, settings: Settings, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path
    monkeypatch.setattr(lane, "SLICE_SECONDS", 60)  # how many slices there are is the machine's doing
    urls = [origin.add(f"/{number}.jpg", JPEG) for number in range(IMAGES)]
    queries, stored, messages = Counter[str](), Counter[str](), Counter[str]()
    for name in ("execute", "executemany"):
        count(queries, monkeypatch, CursorWrapper, name)
    for name in ("save", "exists", "open", "size", "delete"):
        count(stored, monkeypatch, storages["default"], name)
    count(messages, monkeypatch, dramatiq.get_broker(), "enqueue")
    with dramatiq_worker():
        batch = submitted(*[[url, url] for url in urls])
        finished = Request.objects.filter(pk=batch.pk, status=Request.Status.COMPLETED)
        wait_until(finished.exists)
    assert Counter(request.target for request in origin.received) == {f"/{n}.jpg": 1 for n in range(IMAGES)}
    assert stored == {"save": IMAGES}
    assert queries.total() * 100 / IMAGES < 80  # one query for each image alone would be 100
    assert messages.total() * 1000 / IMAGES < 40  # one to ingest, a few for lanes
