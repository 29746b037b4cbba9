"""Names that no nameserver answers for, which occupy threads for longer than their fetches last."""

from ipaddress import ip_address
from threading import Event
from typing import Any

import pytest
from pytest import MonkeyPatch
from pytest_django import Settings

from processing.http import guard
from processing.http.guard import UnresolvedName
from processing.work.claim import claim
from processing.work.pipeline import Pipeline
from tests.support.batches import JPEG, catalogue, completed, held, ingest, ingested
from tests.support.factories import make_user, submit
from tests.support.origin import Origin
from tests.support.parallel import PATIENCE_SECONDS, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("small_pool")]


def test_names_that_are_never_answered_leave_threads_to_others(
    pipeline: Pipeline, origin: Origin, settings: Settings, monkeypatch: MonkeyPatch
) -> None:
    answered = Event()

    def resolve(host: str, port: int) -> list[Any]:
        if host.startswith("stalled"):
            answered.wait(PATIENCE_SECONDS)
            raise UnresolvedName("Try again")
        return [ip_address("127.0.0.1")]

    monkeypatch.setattr(guard, "resolve", resolve)
    settings.FETCH_TIMEOUT = 0.1
    anns = ingested(*(f"http://stalled-{number}.example/a.jpg" for number in range(20)))
    pipeline.submit(anns, claim(anns, pipeline.worker_id, 100))
    timed_out = anns.images.filter(attempts=1, error_code="timeout")
    wait_until(lambda: timed_out.count() >= 6)

    settings.FETCH_TIMEOUT = 60
    url = origin.add("/lamp.jpg", JPEG).replace("127.0.0.1", "localhost")
    bobs = ingest(submit(make_user("bob"), catalogue(url)))
    pipeline.submit(bobs, claim(bobs, pipeline.worker_id, 100))
    wait_until(lambda: completed(bobs) == 1)
    assert timed_out.count() == 6, (
        "three quarters of the slots are for hosts of one owner that have never answered"
    )

    answered.set()
    wait_until(lambda: not held())
    assert anns.images.filter(attempts=1).count() == 20
