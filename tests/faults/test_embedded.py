"""The embedded service, killed in part and as a whole."""

import csv
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.faults.conftest import NewJob
from tests.support.jobs import Job, Report, as_csv, make_rows, read_result, read_zip, watch
from tests.support.origin import Origin
from tests.support.stack import QUICK_TO_NOTICE, TIME_SCALE, Embedded, wait_for

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Embedded]:
    with Embedded(tmp_path, **QUICK_TO_NOTICE) as service:
        service.serve()
        watch(service)
        yield service


def kill_serving_process(job: Job) -> None:
    """Kill the process that serves and works, with Images in hand; the arbiter starts another."""
    before = job.deployment.query("SELECT id, pid FROM processing_worker")
    ((_, pid),) = before
    os.kill(pid, signal.SIGKILL)
    job.in_hand()
    wait_for(
        lambda: job.deployment.query("SELECT id, pid FROM processing_worker") not in ([], before),
        "another process is at work",
    )
    job.deployment.wait_until_up(job.deployment.processes[0])


def test_a_serving_process_killed_three_times_in_a_job_costs_only_time(
    service: Embedded, new_job: NewJob, report: Report
) -> None:
    job = new_job(service).submit()
    with report.fault("embedded: the serving process killed three times", job):
        for done in (30, 90, 150):
            job.wait_until_under_way(done, pending=60)
            kill_serving_process(job)
    assert job.count("crashes > 0") > 0


def test_a_serving_process_that_was_stopped_for_a_while_goes_on_where_it_was(
    service: Embedded, new_job: NewJob, report: Report
) -> None:
    job = new_job(service).submit()
    seconds = 1.2 * 30 * TIME_SCALE
    is_old = f"SELECT seen_at < datetime('now', '-{seconds} seconds') FROM processing_worker"  # noqa: S608
    with report.fault("embedded: the serving process stopped twice, as if dead", job):
        ((pid,),) = service.query("SELECT pid FROM processing_worker")
        for _ in range(2):
            job.in_hand()
            os.kill(pid, signal.SIGSTOP)
            wait_for(lambda: service.query(is_old) == [(1,)], "the heartbeat is too old")
            os.kill(pid, signal.SIGCONT)
            wait_for(lambda: service.query(is_old) == [(0,)], "the heartbeat goes on")
    assert job.count("crashes > 0") == 0
    assert job.refetched() == 0


def test_a_service_killed_as_a_whole_goes_on_when_it_is_started_again(
    service: Embedded, new_job: NewJob, report: Report
) -> None:
    job = new_job(service).submit()
    with report.fault("embedded: all of `serve` killed and started again", job):
        service.end(service.processes[0], signal.SIGKILL)
        in_hand = job.in_hand()
        service.serve()
    assert job.count("crashes = 1") == in_hand


def test_a_picture_has_all_of_its_outputs_or_none_when_its_worker_is_killed(
    service: Embedded, new_job: NewJob, origin: Origin
) -> None:
    job = new_job(service, make_rows(origin, pictures=300))
    renditions = '[{"name": "thumb", "width": 60}, {"name": "small", "width": 100, "format": "webp"}]'
    files = {"file": ("lamps.csv", as_csv(job.rows))}
    answer = job.client.post("/api/requests/", files=files, data={"renditions": renditions})
    job.id = answer.raise_for_status().json()["id"]
    of_image = "(SELECT count(*) FROM products_rendition WHERE image_id = products_image.id)"
    for done in (30, 90):
        job.wait_until_under_way(done, pending=60)
        kill_serving_process(job)
        assert job.count(f"{of_image} <> 2 * (status = 'completed')") == 0

    job.wait_until_finished(seconds=600)
    assert job.count("crashes > 0") > 0, "pictures were in hand"
    assert job.count(f"status = 'completed' AND {of_image} = 2") == job.count("TRUE")
    ((outputs,),) = job.images("sum(output_bytes)")
    ((others,),) = service.query("SELECT sum(bytes) FROM products_rendition")
    assert job.fields("bytes_output") == (outputs + others,)
    pictures = read_zip(job)
    for kind in ("thumb", "small"):
        assert sum(f"-{kind}." in name for name in pictures) == len(pictures) / 3


def test_extract_beside_a_service_follows_to_the_end_whatever_happens_to_that(
    service: Embedded, new_job: NewJob, report: Report
) -> None:
    job = new_job(service)
    source, output = service.directory / "lamps.csv", service.directory / "out.csv"
    source.write_bytes(as_csv(job.rows))
    extract = service.start("manage.py", "extract", str(source), "-o", str(output))
    ((key,),) = wait_for(lambda: service.query("SELECT id FROM products_request"), "extract submits")
    job.id = str(uuid.UUID(key))
    with report.fault("embedded: the serving process killed, `extract` follows", job):
        kill_serving_process(job)
    assert extract.wait(300) == 0
    with output.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert [without_host(row) for row in rows] == [without_host(row) for row in read_result(job)]


def without_host(row: list[str]) -> list[str]:
    """A row of a result; who asked over HTTP is told another host and port."""
    return [*row[:3], urlsplit(row[3]).path, *row[4:]]
