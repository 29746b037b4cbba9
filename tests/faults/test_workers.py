"""Workers that are killed, and one that is asked to go."""

import os
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from threading import Event

import psycopg
import pytest

from tests.faults.conftest import NewJob
from tests.support.fork_server import Process
from tests.support.jobs import Job, Report, make_rows, picture, watch
from tests.support.origin import Answer, Handler, Origin, Route
from tests.support.servers import Redis
from tests.support.stack import QUICK_TO_NOTICE, Cluster, wait_for

pytestmark = pytest.mark.timeout(900)

#: Whose ingest is held up by a lock.
WHO_WAITS = """
    SELECT application_name FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND query LIKE 'COPY "products_productimage"%'
"""


def worker_in_hand(job: Job) -> tuple[str, int]:
    """Id and pid of the worker that has most Images in hand."""
    statement = """
        SELECT id, pid FROM processing_worker
        WHERE id = (SELECT claimed_by FROM products_image WHERE claimed_by IS NOT NULL
                    GROUP BY claimed_by ORDER BY count(*) DESC LIMIT 1)
    """
    worker_id, pid = wait_for(lambda: job.deployment.query(statement), "a worker has images in hand")[0]
    return str(worker_id), pid


def kill_with_images_in_hand(job: Job) -> None:
    """Stop a worker, see that it has Images in hand, and kill it."""

    def is_killed() -> bool:
        worker_id, pid = worker_in_hand(job)
        os.kill(pid, signal.SIGSTOP)
        has_any = job.count(f"status = 'pending' AND claimed_by = '{worker_id}'") > 0
        os.kill(pid, signal.SIGKILL if has_any else signal.SIGCONT)
        return has_any

    wait_for(is_killed, "a worker is stopped with images in hand")


def process_of(cluster: Cluster, pid: int) -> Process:
    """The process that the worker `pid` was started by."""
    return next(process for process in cluster.processes if process.pid == os.getpgid(pid))


@pytest.fixture
def cluster_in_real_time(tmp_path: Path, own_redis: Redis) -> Iterator[Cluster]:
    """A cluster with the times and the command that workers have outside of tests."""
    with Cluster(tmp_path, redis_url=own_redis.url) as cluster:
        watch(cluster)
        web = cluster.start_web()
        for _ in range(2):
            cluster.start("manage.py", "rundramatiq", "--processes", "1", "--queues", "images")
        cluster.wait_until_all_up(web, workers=2)
        yield cluster


def test_pictures_of_a_killed_worker_are_made_by_the_others(
    cluster_in_real_time: Cluster, new_job: NewJob, report: Report
) -> None:
    job = new_job(cluster_in_real_time).submit()
    with report.fault("one of two workers killed", job):
        kill_with_images_in_hand(job)
    assert job.count("crashes = 1") > 0 and job.count("crashes > 1") == 0


def test_new_workers_take_up_what_all_killed_ones_have_left(
    cluster: Cluster, new_job: NewJob, report: Report
) -> None:
    job = new_job(cluster).submit()
    with report.fault("all workers killed, others started", job):
        for process in cluster.processes[1:]:
            cluster.end(process, signal.SIGKILL)
        in_hand = job.in_hand()
        cluster.workers(2)
    assert job.count("crashes = 1") == in_hand


def test_two_hundred_pictures_in_flight_survive_a_kill(
    tmp_path: Path, own_redis: Redis, new_job: NewJob, origin: Origin, report: Report
) -> None:
    """Their origin answers none of them until the worker is dead."""
    opened, asked = Event(), count(1)
    in_flight = 0

    def held(number: int) -> Route:
        def answer(handler: Handler) -> None:
            nonlocal in_flight
            in_flight = next(asked)
            opened.wait(300)
            handler.answer(Answer(picture(number)))

        return answer

    # Hosts that have not answered yet get three quarters of the slots.
    slots = {"FETCH_CONCURRENCY": "288", "FETCH_PER_HOST": "288", "FETCH_TIMEOUT": "300"}
    with Cluster(tmp_path, redis_url=own_redis.url, **slots, **QUICK_TO_NOTICE) as cluster:
        watch(cluster)
        cluster.run(workers=1)
        job = new_job(cluster, make_rows(origin, held, pictures=400)).submit()
        wait_for(lambda: in_flight >= 200, "200 pictures are in flight")
        with report.fault("a worker killed with 200 pictures in flight", job, done=0, pending=300):
            cluster.end(cluster.processes[-1], signal.SIGKILL)
            opened.set()
            cluster.workers(1)
        assert job.count("crashes = 1") >= 200 and job.count("crashes > 1") == 0
        assert 200 <= job.refetched() <= job.count("crashes = 1"), "fetched again once for each"


def test_a_worker_asked_to_go_leaves_nothing_undone_and_nothing_done_twice(
    cluster: Cluster, new_job: NewJob, report: Report
) -> None:
    job = new_job(cluster).submit()
    with report.fault("one of two workers asked to go (SIGTERM)", job):
        worker_id, pid = worker_in_hand(job)
        process = process_of(cluster, pid)
        cluster.end(process, signal.SIGTERM)
        assert process.returncode == 0
        assert job.count(f"claimed_by = '{worker_id}'") == 0
    assert job.refetched() == 0
    assert job.count("crashes > 0") == 0


@pytest.fixture
def cluster_of_named_workers(tmp_path: Path, own_redis: Redis) -> Iterator[Cluster]:
    """PostgreSQL knows each worker by its place among the processes."""
    with Cluster(tmp_path, redis_url=own_redis.url, **QUICK_TO_NOTICE) as cluster:
        watch(cluster)
        web = cluster.start_web()
        for name in ("1", "2"):
            cluster.environment["PGAPPNAME"] = name
            cluster.start_workers(1)
        cluster.wait_until_all_up(web, workers=2)
        yield cluster


def test_an_ingest_that_is_killed_in_the_middle_of_a_chunk_goes_on_where_the_chunk_began(
    cluster_of_named_workers: Cluster, new_job: NewJob, origin: Origin, report: Report
) -> None:
    """A lock stops the ingest inside the transaction of a chunk, when it has inserted some of it."""
    cluster = cluster_of_named_workers
    job = new_job(cluster, make_rows(origin, pictures=1000, rows_per_picture=8))
    with psycopg.connect(cluster.environment["DATABASE_URL"]) as blocker:
        job.submit()
        wait_for(lambda: job.fields("ingested_rows")[0] > 0, "the first chunk is in")
        blocker.execute("LOCK TABLE products_productimage IN SHARE MODE")
        ((name,),) = wait_for(lambda: cluster.query(WHO_WAITS), "the next chunk is under way")
        with report.fault("the worker killed that ingests", job, done=0, pending=50):
            ingested = job.fields("ingested_rows")[0]
            assert 0 < ingested < len(job.rows)
            job.in_hand()
            cluster.end(cluster.processes[int(name)], signal.SIGKILL)
            blocker.rollback()
