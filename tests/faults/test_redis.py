"""The broker emptied, killed, and silent."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import redis

from tests.faults.conftest import NewJob
from tests.faults.jobs import Job, Report, assert_intact, upload, watch
from tests.servers import Redis
from tests.stack import Cluster, wait_for

pytestmark = pytest.mark.timeout(300)

#: Seconds; an upload that Redis keeps from sending its message has to be answered all the same.
PROMPT = 15


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """A Redis that the test may strike."""
    with Redis() as server:
        yield server


@pytest.fixture
def cluster(tmp_path: Path, own_redis: Redis) -> Iterator[Cluster]:
    with Cluster(tmp_path, redis_url=own_redis.url) as cluster:
        watch(cluster)
        cluster.web()
        cluster.workers(2)
        yield cluster


def test_an_emptied_redis_loses_no_work(
    cluster: Cluster, own_redis: Redis, new_job: NewJob, report: Report
) -> None:
    job = new_job(cluster).submit()
    with report.fault("Redis emptied (FLUSHALL)", job), redis.Redis.from_url(own_redis.url) as client:
        client.flushall()
    assert job.refetched() == 0


def test_redis_killed_costs_no_work_and_no_upload(
    cluster: Cluster, own_redis: Redis, new_job: NewJob, report: Report
) -> None:
    job = new_job(cluster).submit()
    with report.fault("Redis killed, a file uploaded, Redis started empty", job):
        own_redis.kill()
        uploaded = upload_promptly(job, report)
        own_redis.start()
    uploaded.wait_until_finished(seconds=200)
    assert_intact(uploaded)


def test_a_silent_redis_costs_no_work_and_no_upload(
    cluster: Cluster, own_redis: Redis, new_job: NewJob, report: Report
) -> None:
    """An upload that is killed between its row and its answer is there when it is repeated."""
    job = new_job(cluster).submit()
    with report.fault("Redis silent, a file uploaded", job), ThreadPoolExecutor(1) as thread:
        own_redis.pause()
        uploaded = upload_promptly(job, report)
        unanswered = thread.submit(upload, job.client, job.rows, "unanswered")
        wait_for(lambda: len(cluster.query("SELECT 1 FROM products_request")) == 3, "the row is there")
        cluster.end(cluster.processes[0], signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            unanswered.result(30)
        cluster.web()
        own_redis.resume()
    uploaded.wait_until_finished(seconds=200)
    assert_intact(uploaded)
    again = upload(job.client, job.rows, "unanswered")
    assert again.status_code == 200
    repeated = Job(job.deployment, job.client, job.origin, job.rows, again.json()["id"])
    repeated.wait_until_finished(seconds=200)
    assert_intact(repeated)
    assert len(cluster.query("SELECT 1 FROM products_request")) == 3


def upload_promptly(job: Job, report: Report) -> Job:
    """The same catalogue uploaded once more, which must not wait for Redis."""
    began_at = time.monotonic()
    answer = upload(job.client, job.rows)
    took = time.monotonic() - began_at
    assert answer.status_code == 201, answer.text
    assert took < PROMPT
    report.lines.append(("  … and the upload answered", len(job.rows), 0, took))
    return Job(job.deployment, job.client, job.origin, job.rows, answer.json()["id"])
