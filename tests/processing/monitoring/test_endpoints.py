"""Health endpoints of real processes from which a service is missing."""

import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.factories import make_csv
from tests.support.fork_server import Process
from tests.support.origin import Origin
from tests.support.pictures import photo_jpeg
from tests.support.stack import Cluster, Embedded, wait_for


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port on which connections are taken and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield server.getsockname()[1]


@pytest.fixture
def source(origin: Origin, tmp_path: Path) -> Path:
    """A catalogue with a picture that can be fetched."""
    path = tmp_path / "lamps.csv"
    path.write_bytes(make_csv((1, "Lamp", origin.add("/a.jpg", photo_jpeg(60, 40, seed=1)))))
    return path


def finish(extract: Process) -> int:
    """The exit status of a process, when it has come to its end."""
    wait_for(lambda: extract.poll() is not None, "extract ends")
    return extract.returncode


@pytest.mark.needs("PostgreSQL and Redis")
def test_the_web_process_answers_though_database_and_redis_are_silent(
    tmp_path: Path, silent_port: int
) -> None:
    with Cluster(tmp_path, OPEN_ACCESS="yes") as cluster:
        cluster.environment["DATABASE_URL"] = f"postgresql://postgres@127.0.0.1:{silent_port}/postgres"
        cluster.environment["REDIS_URL"] = f"redis://127.0.0.1:{silent_port}/0"
        cluster.web()
        with cluster.client() as client:
            answer = client.get("/readyz")
        assert answer.status_code == 503
        no_answer = "No answer within 2 s."
        assert answer.json() == {"status": "unavailable", "database": no_answer, "broker": no_answer}


@pytest.mark.needs("PostgreSQL and Redis")
def test_a_cluster_is_not_ready_while_work_waits_without_a_worker(tmp_path: Path, source: Path) -> None:
    with Cluster(tmp_path) as cluster:
        cluster.web()
        with cluster.client() as client:
            assert client.get("/readyz").json() == {"status": "ok"}
            extract = cluster.start("manage.py", "extract", str(source))
            said = wait_for(lambda: client.get("/readyz").json().get("workers"), "work waits")
            assert said.startswith("No worker seen since ")
            cluster.workers(1)
            assert finish(extract) == 0
            wait_for(lambda: client.get("/readyz").json() == {"status": "ok"}, "nothing waits")


@pytest.mark.needs("PostgreSQL and Redis")
def test_extract_in_a_cluster_without_workers_says_so_once_and_what_to_do(
    tmp_path: Path, source: Path
) -> None:
    with Cluster(tmp_path) as cluster:
        extract = cluster.start("manage.py", "extract", str(source))
        wait_for(lambda: "No worker seen since" in cluster.log(), "extract says that nobody works")
        assert "Start one with `python manage.py rundramatiq`" in cluster.log()
        cluster.workers(1)
        assert finish(extract) == 0
        assert cluster.log().count("No worker seen since") == 1


@pytest.mark.needs("the service in a process of its own")
def test_an_extract_that_follows_a_process_without_a_worker_says_so(tmp_path: Path, source: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with Embedded(data) as service:
        service.manage("migrate")
        lock = os.open(data / "lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)
        extract = service.start("manage.py", "extract", str(source))
        wait_for(lambda: "No worker seen since" in service.log(), "extract says that nobody works")
        assert "Start one with `python manage.py serve`" in service.log()
        os.close(lock)
        service.serve()
        assert finish(extract) == 0
