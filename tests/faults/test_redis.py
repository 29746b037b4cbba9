"""The broker emptied, killed, and silent."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import pytest
import redis

from tests.faults.conftest import NewJob
from tests.support.jobs import Cost, Job, Report, problems, upload
from tests.support.servers import Redis
from tests.support.stack import Cluster, wait_for

pytestmark = pytest.mark.timeout(900)


def test_an_emptied_redis_loses_no_work(
    cluster: Cluster, cluster_redis: Redis, new_job: NewJob, report: Report
) -> None:
    job = new_job(cluster).submit()
    with report.fault("Redis emptied (FLUSHALL)", job), redis.Redis.from_url(cluster_redis.url) as client:
        client.flushall()
    assert job.refetched() == 0


def test_redis_killed_costs_no_work_and_no_upload(
    cluster: Cluster, cluster_redis: Redis, new_job: NewJob, report: Report
) -> None:
    job = new_job(cluster).submit()
    with report.fault("Redis killed, and started empty", job):
        cluster_redis.kill()
        wait_for(lambda: problems(cluster) == {"broker"}, "the broker is named")
        uploaded = submit_without_redis(job.another("?uploaded", pictures=200), report)
        cluster_redis.start()
        back_at = datetime.now(UTC)
    wait_for(lambda: problems(cluster) == set(), "all is ready")
    report.outlived("  the upload meanwhile: finished, after Redis was back", uploaded, back_at)


def test_a_silent_redis_costs_no_work_and_no_upload(
    cluster: Cluster, cluster_redis: Redis, new_job: NewJob, report: Report
) -> None:
    """An upload whose web process is killed between its row and its answer is there when it is repeated."""
    job = new_job(cluster).submit()
    with report.fault("Redis silent for a while", job), ThreadPoolExecutor(1) as thread:
        cluster_redis.pause()
        wait_for(lambda: problems(cluster) == {"broker"}, "the broker is named")
        uploaded = submit_without_redis(job.another("?uploaded", pictures=200), report)
        unanswered = job.another("?unanswered", pictures=200)
        answer = thread.submit(upload, unanswered.client, unanswered.rows, "b")
        wait_for(lambda: len(cluster.query("SELECT 1 FROM products_request")) == 3, "the row is there")
        cluster.end(cluster.processes[0], signal.SIGKILL)
        killed_at = datetime.now(UTC)
        with pytest.raises(httpx.TransportError):
            answer.result(60)
        cluster.web()
        cluster_redis.resume()
        back_at = datetime.now(UTC)
    wait_for(lambda: problems(cluster) == set(), "all is ready")
    report.outlived("  the upload meanwhile: finished, after Redis was back", uploaded, back_at)
    again = upload(unanswered.client, unanswered.rows, "b")
    assert again.status_code == 200
    unanswered.id = again.json()["id"]
    report.outlived("web killed between a row and its answer", unanswered, killed_at)
    assert len(cluster.query("SELECT 1 FROM products_request")) == 3


def submit_without_redis(job: Job, report: Report) -> Job:
    """Submit while Redis does not answer: the upload has to be answered all the same."""
    began_at = time.monotonic()
    job.submit()
    took = time.monotonic() - began_at
    report.add(Cost("  the upload meanwhile: answered", len(job.rows), 0, took))
    return job
