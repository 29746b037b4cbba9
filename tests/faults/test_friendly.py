"""Origins that large catalogues sit on: how many requests they see, and what a limit of theirs costs."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Lock

import pytest

from tests.faults.conftest import NewJob
from tests.support.jobs import Job, make_rows, picture
from tests.support.origin import Answer, Handler, Origin
from tests.support.servers import Redis
from tests.support.stack import QUICK_TO_NOTICE, Cluster, Deployment, Embedded, wait_for

pytestmark = pytest.mark.timeout(900)

Figure = Callable[[str], None]
Start = Callable[[int], Deployment]
PER_SECOND = 5
PICTURES = 60
QUICK_PICTURES = 200


class Crowd:
    """Routes that note how many of their requests are answered at the same time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = Lock()
        self.now = self.most = 0

    def __call__(self, number: int) -> Callable[[Handler], None]:
        def answer(handler: Handler) -> None:
            with self._lock:
                self.now += 1
                self.most = max(self.most, self.now)
            handler.origin.stopping.wait(self._seconds)
            with self._lock:
                self.now -= 1
            handler.answer(Answer(picture(number)))

        return answer


class Limited:
    """Routes that answer so many requests in a second and 429 to the others."""

    def __init__(self, retry_after: str | None) -> None:
        self._headers = {"Retry-After": retry_after} if retry_after else {}
        self._lock = Lock()
        self._answered: list[float] = []
        self.refused = 0

    def __call__(self, number: int) -> Callable[[Handler], None]:
        def answer(handler: Handler) -> None:
            with self._lock:
                now = time.monotonic()
                self._answered = [at for at in self._answered if now - at < 1]
                is_free = len(self._answered) < PER_SECOND
                if is_free:
                    self._answered.append(now)
                else:
                    self.refused += 1
            handler.answer(Answer(picture(number)) if is_free else Answer(status=429, headers=self._headers))

        return answer


@pytest.fixture
def start(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Start]:
    """Gives a deployment with none or two workers; none is embedded."""
    with ExitStack() as stack:

        def start(workers: int) -> Deployment:
            if workers:
                cluster: Cluster = request.getfixturevalue("cluster")
                return cluster
            embedded = stack.enter_context(Embedded(tmp_path, **QUICK_TO_NOTICE))
            embedded.serve()
            return embedded

        yield start


def finished(job: Job, seconds: float = 300) -> Job:
    job.wait_until_finished(seconds)
    assert job.fields("status") == ("completed",)
    return job


def test_two_workers_together_ask_an_origin_for_no_more_at_once_than_it_may_see_even_if_one_is_killed(
    tmp_path: Path, new_job: NewJob, origin: Origin, figure: Figure, own_redis: Redis
) -> None:
    """The times are real ones: a lease too short for a busy machine would be given to two."""
    crowd = Crowd(seconds=0.05)
    with Cluster(tmp_path, redis_url=own_redis.url, FETCH_PER_HOST="4") as cluster:
        cluster.run(workers=2)
        _web, first, _second = cluster.processes
        job = new_job(cluster, make_rows(origin, crowd, pictures=1000)).submit()
        job.wait_until_under_way(done=100, pending=500)
        cluster.end(first, signal.SIGKILL)
        wait_for(lambda: crowd.now == 2, "only the other one is at work")
        wait_for(lambda: crowd.now == 4, "the other one has all places")
        finished(job)
    assert crowd.most == 4
    figure(f"two workers, FETCH_PER_HOST=4: the origin saw {crowd.most} at a time")


@pytest.mark.parametrize("workers", [0, 2])
def test_an_origin_with_a_limit_completes_and_delays_no_other(
    workers: int, start: Start, new_job: NewJob, figure: Figure
) -> None:
    deployment = start(workers)
    for retry_after in ("1", None):
        cost = check_limit(retry_after, deployment, new_job)
        figure(f"{f'{workers} workers' if workers else 'embedded'}, {cost}")


def check_limit(retry_after: str | None, deployment: Deployment, new_job: NewJob) -> str:
    """Return what pictures of an origin with a limit have cost it, themselves and others."""
    limited = Limited(retry_after)
    with Origin() as origin, Origin() as other:
        job = new_job(deployment, make_rows(origin, limited, pictures=PICTURES))
        quick = make_rows(other, lambda number: Answer(picture(number)), pictures=QUICK_PICTURES)
        alone = finished(replace(job, rows=quick).submit()).seconds_to_settle()
        mixed = [*job.rows, *[[*row[:2], f"{row[2]}?again"] for row in quick]]
        both = finished(replace(job, rows=mixed).submit())
        beside = both.seconds_to_settle(f"host = '127.0.0.1:{other.port}'")
    # On any machine, workers that only waited after a refusal would be refused more often than answered: of
    # the requests that then go out together, five are answered. tests/processing/hosts/test_rate_limit.py has
    # a closer limit.
    assert limited.refused < PICTURES
    return (
        f"{PICTURES} pictures at {PER_SECOND} a second, Retry-After: {retry_after}: "
        f"{both.seconds_to_settle():.0f} s, {limited.refused} answers 429; {QUICK_PICTURES} pictures of "
        f"another host: {beside:.1f} s beside it, {alone:.1f} s alone"
    )
