"""Times by which workers notice what has died: their order, at the scale that fault tests use too."""

import os
import subprocess
import sys

import pytest

from processing.timing import DELIVERY_SLICE_SECONDS
from processing.work import lane, tasks
from tests.support.stack import ROOT, TIME_SCALE

PRINT = """
import django
django.setup()
from processing import timing
print(timing.HEARTBEAT.total_seconds(), timing.DEAD_AFTER.total_seconds(), timing.LEASE_SECONDS,
      timing.MESSAGE_LOST_AFTER.total_seconds(), *timing.RETRY_DELAYS_SECONDS)
"""


def times(scale: float) -> list[float]:
    """Return heartbeat, dead after, lease, lost after and retry delays in seconds, at this scale."""
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "imageextractor.settings"}
    environment["TEST_TIME_SCALE"] = str(scale)
    done = subprocess.run(
        [sys.executable, "-c", PRINT],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(word) for word in done.stdout.split()]


@pytest.mark.needs("a process of its own")
def test_the_real_times_are_those_that_are_documented() -> None:
    assert times(1) == [10, 30, 15, 30, 2, 5, 15, 30]


@pytest.mark.needs("a process of its own")
@pytest.mark.parametrize("scale", [1, TIME_SCALE])
def test_no_scale_makes_something_late_before_it_could_be_on_time(scale: float) -> None:
    heartbeat, dead_after, lease, lost_after, *delays = times(scale)
    assert dead_after >= 2.9 * heartbeat
    assert lease > 2 * max(1.0, lane.IDLE_SECONDS)
    assert lost_after > max(lane.SLICE_SECONDS, tasks.INGEST_SECONDS, DELIVERY_SLICE_SECONDS)
    assert delays == sorted(delays)
