"""Origins that misbehave, each at a job of its own, all at the same time."""

import os
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.conftest import NewJob
from tests.faults.jobs import Job, Report, good_answer, make_rows, watch
from tests.origin import Answer, Handler, Origin, Route
from tests.servers import Redis
from tests.stack import Cluster

pytestmark = pytest.mark.timeout(300)

STALLED = range(0, 1000, 50)


class AtFirst:
    """Routes that misbehave when a picture is asked for the first time."""

    def __init__(self, misbehave: Callable[[Handler], None]) -> None:
        self._misbehave = misbehave
        self.asked_at: dict[int, list[float]] = {}

    def __call__(self, number: int) -> Route:
        times = self.asked_at.setdefault(number, [])

        def answer(handler: Handler) -> None:
            times.append(time.monotonic())
            if len(times) == 1:
                self._misbehave(handler)
            else:
                handler.answer(good_answer(number))

        return answer


def unavailable(handler: Handler) -> None:
    handler.answer(Answer(status=503, delay=0.05))


def too_many(handler: Handler) -> None:
    handler.answer(Answer(status=429, headers={"Retry-After": "2"}, delay=0.05))


def reset(handler: Handler) -> None:
    """Break the connection off with RST instead of an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(handler.connection.detach())
    handler.close_connection = True


def stall(handler: Handler) -> None:
    handler.origin.stopping.wait()


def some_stall(number: int) -> Route:
    return stall if number in STALLED else good_answer(number)


def test_origins_that_misbehave_cost_time_and_only_what_never_answers(
    tmp_path: Path, own_redis: Redis, new_job: NewJob, report: Report
) -> None:
    refusing, breaking, slowing = AtFirst(unavailable), AtFirst(reset), AtFirst(too_many)
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(tmp_path, redis_url=own_redis.url, FETCH_TIMEOUT="3"))
        watch(cluster)
        cluster.run(workers=2)
        any_job = new_job(cluster)

        def job(route: Callable[[int], Route]) -> Job:
            origin = stack.enter_context(Origin())
            return replace(any_job, origin=origin, rows=make_rows(origin, route)).submit()

        stalled, refused, broken, slowed = job(some_stall), job(refusing), job(breaking), job(slowing)
        timeouts = {stalled.origin.url(f"/{number}.jpg"): "timeout" for number in STALLED}
        with (
            report.fault("20 of 1,000 URLs stall for ever", stalled, done=1, pending=1, failed=timeouts),
            report.fault("503 to each first request", refused, done=1, pending=1),
            report.fault("connection reset at each first request", broken, done=1, pending=1),
            report.fault("429 with Retry-After: 2 to each first request", slowed, done=1, pending=1),
        ):
            pass
        assert stalled.count("status = 'failed' AND attempts = 5") == len(timeouts)
        assert refused.count("attempts < 2") == broken.count("attempts < 2") == 0
        assert slowed.count("attempts > 1") == 0  # being asked to wait costs no attempt
        assert all(times[1] - times[0] >= 2 for times in slowing.asked_at.values())
