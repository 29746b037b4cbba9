"""Origins that misbehave."""

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from threading import Lock

import pytest

from tests.faults.conftest import NewJob
from tests.support.jobs import Report, make_rows, picture, watch
from tests.support.origin import Answer, Handler, Origin, Route
from tests.support.servers import Redis
from tests.support.stack import QUICK_TO_NOTICE, Cluster

pytestmark = pytest.mark.timeout(900)

#: Of faults of single requests, which need no strike in the middle of a large job.
FEW = 200
SOME = range(0, FEW, 20)


def good_answer(number: int) -> Answer:
    """The picture after 50 to 150 ms."""
    return Answer(picture(number), delay=0.05 + number % 11 / 100)


def at_first(misbehave: Callable[[Handler], None], number: int) -> Route:
    """A route that misbehaves when its picture is asked for the first time."""
    asked = count(1)

    def answer(handler: Handler) -> None:
        if next(asked) == 1:
            misbehave(handler)
        else:
            handler.answer(good_answer(number))

    return answer


class Bursts:
    """Routes that answer so many requests and then 429 to all others for two seconds, again and again."""

    ANSWERED, SECONDS, PICTURES = 100, 2, 400

    def __init__(self) -> None:
        self._lock = Lock()
        self._answered = 0
        self._closed_until = 0.0
        self.refused = 0
        self.closed = 0

    def __call__(self, number: int) -> Route:
        def answer(handler: Handler) -> None:
            if self._is_closed():
                handler.answer(Answer(status=429, headers={"Retry-After": str(self.SECONDS)}))
            else:
                handler.answer(good_answer(number))

        return answer

    def _is_closed(self) -> bool:
        with self._lock:
            now = time.monotonic()
            if self._answered == self.ANSWERED:
                self._answered, self._closed_until = 0, now + self.SECONDS
                self.closed += 1
            if now < self._closed_until:
                self.refused += 1
                return True
            self._answered += 1
            return False


def unavailable(handler: Handler) -> None:
    handler.answer(Answer(status=503, delay=0.05))


def reset(handler: Handler) -> None:
    """Break the connection off with RST instead of an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(handler.connection.detach())
    handler.close_connection = True


def stall(handler: Handler) -> None:
    handler.origin.stopping.wait()


FAILURES = {"503 to each first request": unavailable, "connection reset at each first request": reset}


def some_stall(number: int) -> Route:
    return stall if number in SOME else good_answer(number)


@pytest.fixture
def impatient_cluster(tmp_path: Path, own_redis: Redis) -> Iterator[Cluster]:
    """Workers that wait 3 s for an answer: much longer than good pictures take on a busy machine."""
    environment = QUICK_TO_NOTICE | {"FETCH_TIMEOUT": "3"}
    with Cluster(tmp_path, redis_url=own_redis.url, **environment) as cluster:
        watch(cluster)
        cluster.run(workers=2)
        yield cluster


def test_urls_that_stall_for_ever_fail_and_cost_no_other_picture(
    impatient_cluster: Cluster, new_job: NewJob, origin: Origin, report: Report
) -> None:
    job = new_job(impatient_cluster, make_rows(origin, some_stall, pictures=FEW)).submit()
    timeouts = {origin.url(f"/{number}.jpg"): "timeout" for number in SOME}
    with report.fault("10 of 200 URLs stall for ever", job, done=1, pending=1, failed=timeouts):
        pass
    assert job.count("status = 'failed' AND attempts = 5") == len(timeouts)


@pytest.mark.parametrize("name", FAILURES)
def test_what_fails_at_first_is_tried_again(
    cluster: Cluster, new_job: NewJob, origin: Origin, report: Report, name: str
) -> None:
    route = partial(at_first, FAILURES[name])
    job = new_job(cluster, make_rows(origin, route, pictures=FEW)).submit()
    with report.fault(name, job, done=1, pending=1):
        pass
    assert job.count("attempts < 2") == 0


def test_an_origin_that_asks_to_be_left_alone_is_left_alone(
    cluster: Cluster, new_job: NewJob, origin: Origin, report: Report
) -> None:
    bursts = Bursts()
    job = new_job(cluster, make_rows(origin, bursts, pictures=Bursts.PICTURES)).submit()
    with report.fault("429 with Retry-After: 2 after each 100 answers", job, done=1, pending=1):
        pass
    assert bursts.closed == 3
    assert bursts.refused <= 3 * 32  # what two workers had on its way when it closed
    assert job.count("attempts > 1") == 0
