"""The web process killed, or asked to go, while it takes a catalogue."""

import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.faults.conftest import NewJob
from tests.support.jobs import Job, Report, as_csv, assert_intact, upload
from tests.support.stack import Cluster, wait_for

pytestmark = pytest.mark.timeout(900)

REQUESTS = "SELECT id, source FROM products_request"
INSERT_WAITS = """
    SELECT 1 FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO "products_request"%'
"""


def assert_no_row_without_its_file(cluster: Cluster) -> None:
    for _, source in cluster.query(REQUESTS):
        assert Path(cluster.directory, "uploads", source).stat().st_size > 0


def retry(lost: Job, key: str) -> Job:
    """The job that the upload becomes when it is sent again with its key, to its end."""
    again = replace(lost)
    answer = upload(again.client, again.rows, key)
    assert answer.status_code == 201, answer.text
    again.id = answer.json()["id"]
    again.wait_until_finished(seconds=600)
    assert_intact(again)
    return again


def test_an_upload_cut_short_by_a_kill_leaves_nothing_and_can_be_repeated(
    cluster: Cluster, new_job: NewJob, report: Report
) -> None:
    job = new_job(cluster).submit()
    lost = job.another("", pictures=200)
    with report.fault("web killed while a file arrives", job):
        with half_sent(lost) as (client, _rest):
            job.in_hand()
            cluster.end(cluster.processes[0], signal.SIGKILL)
            assert is_broken(client)
        assert len(cluster.query(REQUESTS)) == 1
        cluster.web()
    retry(lost, "b")
    assert len(cluster.query(REQUESTS)) == 2
    assert_no_row_without_its_file(cluster)


@contextmanager
def half_sent(job: Job) -> Iterator[tuple[socket.socket, bytes]]:
    """A connection on which half an upload has been sent, and the rest of it."""
    files = {"file": ("lamps.csv", as_csv(job.rows))}
    request = job.client.build_request(
        "POST", "/api/requests/", files=files, headers={"Idempotency-Key": "b"}
    )
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    whole = f"POST /api/requests/ HTTP/1.1\r\n{head}\r\n".encode() + request.read()
    middle = len(whole) // 2
    with socket.create_connection(("127.0.0.1", job.deployment.port), timeout=60) as client:
        client.sendall(whole[:middle])
        yield client, whole[middle:]


def is_broken(client: socket.socket) -> bool:
    """Return True if the peer has closed the connection without an answer."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def is_read(client: socket.socket) -> bool:
    """Return True if a process has accepted the connection and read all that was sent on it."""
    (_, port), (_, server_port) = client.getsockname(), client.getpeername()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, _, _, _, _, inode, *_ = line.split()
        if (int(local.split(":")[1], 16), int(remote.split(":")[1], 16)) == (server_port, port):
            return inode != "0" and queues.endswith(":00000000")
    return False


def test_an_upload_killed_between_its_file_and_its_row_can_be_repeated(
    cluster: Cluster, new_job: NewJob, report: Report
) -> None:
    """A lock stops the upload when its file is kept and its row is about to be inserted."""
    job = new_job(cluster).submit()
    lost = job.another("", pictures=200)
    with (
        report.fault("web killed between a file and its row", job),
        ThreadPoolExecutor(1) as thread,
        psycopg.connect(cluster.environment["DATABASE_URL"]) as blocker,
    ):
        blocker.execute("LOCK TABLE products_request IN SHARE MODE")
        answer = thread.submit(upload, lost.client, lost.rows, "b")
        wait_for(lambda: cluster.query(INSERT_WAITS), "the row is about to be inserted")
        job.in_hand()
        cluster.end(cluster.processes[0], signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            answer.result(60)
        blocker.rollback()
        assert len(cluster.query(REQUESTS)) == 1
        assert_no_row_without_its_file(cluster)
        cluster.web()
    retry(lost, "b")
    assert len(cluster.query(REQUESTS)) == 2
    assert_no_row_without_its_file(cluster)


def test_an_upload_under_way_when_the_server_is_asked_to_go_is_answered(
    cluster: Cluster, new_job: NewJob
) -> None:
    job = new_job(cluster)
    server = cluster.processes[0]
    with half_sent(job) as (client, rest):
        wait_for(lambda: is_read(client), "it has begun to read the upload")
        server.send_signal(signal.SIGTERM)
        wait_for(lambda: "Worker exiting" in cluster.log(), "of its two processes the idle one has ended")
        client.sendall(rest)
        assert client.recv(100).startswith(b"HTTP/1.1 201 ")
    assert server.wait(60) == 0
    assert len(cluster.query(REQUESTS)) == 1
