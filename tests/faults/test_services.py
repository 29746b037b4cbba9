"""Each service that a cluster needs is killed or missing: what /readyz, the start and the log say."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import httpx
import pytest

from tests.faults.conftest import NewJob
from tests.support.disk import small_disk
from tests.support.fork_server import Process
from tests.support.jobs import Job, as_csv
from tests.support.origin import Origin
from tests.support.servers import Postgres, Redis
from tests.support.stack import Cluster, wait_for
from tests.support.stores import Moto

pytestmark = pytest.mark.timeout(900)


class Service(Protocol):
    def kill(self) -> None: ...

    def start(self) -> None: ...


@pytest.fixture
def services() -> Iterator[dict[str, Service]]:
    """PostgreSQL, Redis and S3 by the names that /readyz has for them."""
    with Postgres() as postgres, Redis() as redis, Moto() as moto:
        yield {"database": postgres, "broker": redis, "storage": moto}


@pytest.fixture
def cluster(tmp_path: Path, services: dict[str, Service]) -> Iterator[Cluster]:
    postgres, redis, moto = services["database"], services["broker"], services["storage"]
    assert isinstance(postgres, Postgres)
    assert isinstance(redis, Redis)
    assert isinstance(moto, Moto)
    bucket = moto.store.environment("pictures")
    urls = {"database_url": postgres.url, "redis_url": redis.url}
    with Cluster(tmp_path, **urls, **bucket) as cluster:
        cluster.manage("create_bucket")
        yield cluster


def ready(cluster: Cluster) -> httpx.Response:
    return httpx.get(f"{cluster.url}/readyz")


def wait_for_problem(cluster: Cluster, name: str) -> None:
    """Until /readyz names this and nothing else: each web process gives an answer again for a while."""

    def is_named() -> bool:
        answer = ready(cluster)
        return answer.status_code == 503 and list(answer.json()) == ["status", name]

    wait_for(is_named, f"{name} is named")


def test_whatever_is_killed_the_web_process_is_up_and_names_it_until_it_is_back(
    cluster: Cluster, services: dict[str, Service]
) -> None:
    cluster.web()
    for name, service in services.items():
        wait_for(lambda: ready(cluster).status_code == 200, "all is ready")
        service.kill()
        wait_for_problem(cluster, name)
        assert httpx.get(f"{cluster.url}/healthz").status_code == 200
        service.start()
        if name == "storage":  # moto has forgotten everything
            wait_for_problem(cluster, name)
            cluster.manage("create_bucket")
    wait_for(lambda: ready(cluster).status_code == 200, "all is ready")


def test_a_full_disk_is_not_ready(tmp_path: Path) -> None:
    with small_disk(tmp_path / "media" / "images", "1m") as disk, Cluster(tmp_path) as cluster:
        cluster.prefix = disk.prefix
        cluster.web()
        assert ready(cluster).status_code == 200
        disk.fill()
        wait_for_problem(cluster, "storage")
        assert httpx.get(f"{cluster.url}/healthz").status_code == 200
        disk.grow("2m")
        wait_for(lambda: ready(cluster).status_code == 200, "all is ready")


def test_a_picture_is_followed_through_the_log_by_its_ids(
    tmp_path: Path, new_job: NewJob, origin: Origin
) -> None:
    with Cluster(tmp_path, LOG_FORMAT="json") as cluster:
        cluster.run(workers=1)
        assert_followed(cluster, new_job(cluster, [["1", "Lamp", origin.url("/missing.jpg")]]))


def assert_followed(cluster: Cluster, job: Job) -> None:
    answer = job.client.post("/api/requests/", files={"file": ("lamps.csv", as_csv(job.rows))})
    batch = answer.json()["id"]
    assert job.client.get(f"/api/requests/{batch}/").status_code == 200

    def about() -> list[dict[str, str]]:
        lines = [json.loads(line) for line in cluster.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("request_id") == batch]

    failed = wait_for(lambda: [line for line in about() if "image_id" in line], "a picture fails")[0]
    assert failed["lane"]
    loggers = {line["logger"] for line in about()}
    assert {"access", "processing.work.receivers", "processing.work.pipeline"} <= loggers
    processes = {line["process"] for line in about()}
    assert len(processes) >= 2, "the web process and a worker"


def test_without_its_bucket_nothing_starts_and_the_reason_is_said(tmp_path: Path) -> None:
    with Moto() as moto, Cluster(tmp_path, **moto.store.environment("missing")) as cluster:
        assert_ends_for_want_of_a_bucket(cluster, cluster.start_web())
        os.truncate(tmp_path / "log", 0)
        assert_ends_for_want_of_a_bucket(cluster, *cluster.start_workers(1))


def assert_ends_for_want_of_a_bucket(cluster: Cluster, process: Process) -> None:
    wait_for(lambda: process.poll() is not None, "it ends")
    assert process.returncode != 0
    assert "AWS_STORAGE_BUCKET_NAME is not an existing bucket" in cluster.log()
    assert "`manage.py create_bucket` creates 'missing'" in cluster.log()


def test_behind_a_tls_proxy_public_url_is_all_it_takes(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        cluster.environment["PUBLIC_URL"] = "https://images.example.com"
        cluster.environment["ALLOWED_HOSTS"] = "images.example.com,127.0.0.1"
        cluster.web()
        headers = {"Host": "images.example.com"}
        plain = httpx.get(f"{cluster.url}/api/requests/", headers=headers)
        assert plain.headers["Location"] == "https://images.example.com/api/requests/"
        through = httpx.get(f"{cluster.url}/api/requests/", headers=headers | {"X-Forwarded-Proto": "https"})
        assert through.status_code == 401
        assert through.headers["Strict-Transport-Security"]
        assert httpx.get(f"{cluster.url}/readyz").status_code == 200, "asked past the proxy"
