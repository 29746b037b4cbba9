"""Storage that takes nothing for a while."""

import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.conftest import NewJob
from tests.support.disk import small_disk
from tests.support.jobs import Job, Report, watch
from tests.support.servers import Redis
from tests.support.stack import QUICK_TO_NOTICE, TIME_SCALE, Cluster, Embedded, wait_for

pytestmark = pytest.mark.timeout(900)

#: Long enough for several pauses of claims, each twice as long as the one before.
REFUSES_SECONDS = 20 * TIME_SCALE


def assert_waiting_for_storage(job: Job) -> None:
    """Pictures that could not be stored wait and say why, and it costs them no attempt."""
    waiting = "status = 'pending' AND error_code = 'storage'"
    wait_for(lambda: job.count(waiting) > 10, "pictures wait for storage")
    assert job.count(f"{waiting} AND attempts > 0") == 0
    assert job.count("status NOT IN ('pending', 'completed')") == 0
    errors = [
        row["error"]
        for row in job.client.get(f"/api/requests/{job.id}/images/?status=pending").json()["results"]
    ]
    assert "storage" in {error["code"] for error in errors if error}


def test_storage_that_refuses_writes_for_a_while_costs_no_picture(
    cluster: Cluster, new_job: NewJob, report: Report
) -> None:
    """A file stands where the folder of the outputs should be: not even root can write there."""
    job = new_job(cluster).submit()
    with report.fault("storage refuses writes for some time", job):
        images = Path(cluster.directory, "media", "images")
        images.rename(images.with_name("away"))
        images.touch()
        refuses_until = time.monotonic() + REFUSES_SECONDS
        assert_waiting_for_storage(job)
        wait_for(lambda: time.monotonic() > refuses_until, "claims have been paused more than once")
        images.unlink()
        images.with_name("away").rename(images)
    assert "Not a directory" in cluster.log()
    assert job.count("attempts <> 1") == 0


def test_a_full_disk_costs_no_picture(
    tmp_path: Path, own_redis: Redis, new_job: NewJob, report: Report
) -> None:
    """The disk of the outputs has room for a quarter of them, until it grows."""
    with (
        small_disk(tmp_path / "media" / "images", "600k") as disk,
        Cluster(tmp_path, redis_url=own_redis.url, **QUICK_TO_NOTICE) as cluster,
    ):
        watch(cluster)
        cluster.prefix = disk.prefix
        cluster.run(workers=2)
        job = new_job(cluster).submit()
        with report.fault("the disk of the pictures full until some wait", job):
            assert_waiting_for_storage(job)
            disk.grow("64m")
        assert "No space left on device" in cluster.log()
        assert job.count("attempts <> 1") == 0


def test_an_upload_that_meets_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """The folder that is full: that of catalogues, or that of incoming bodies."""
    rows = "".join(f"{number},{'x' * 1000},https://shop.example/{number}.jpg\n" for number in range(4000))
    files = {"file": ("a.csv", f"Serial Number,Product Name,Input Image Urls\n{rows}")}
    with small_disk(tmp_path / "uploads", "1m") as disk, Embedded(tmp_path) as service:
        service.prefix = disk.prefix
        service.serve()
        with service.client() as client:
            for path in ("/api/requests/", "/upload"):
                answer = client.post(path, files=files)
                assert answer.status_code == 507
                assert "disk of the server is full" in answer.json()["errors"][0]["detail"]
        listed = subprocess.run([*disk.prefix, "ls", tmp_path / "uploads"], capture_output=True, check=True)
        assert listed.stdout == b""
        assert service.query("SELECT id FROM products_request") == []


def test_a_body_that_meets_a_full_disk_is_answered(tmp_path: Path) -> None:
    data, temporary = tmp_path / "data", tmp_path / "temporary"
    data.mkdir()
    files = {"file": ("a.csv", b"x" * 4_000_000)}
    with small_disk(temporary, "1m") as disk, Embedded(data, TMPDIR=str(temporary)) as service:
        service.prefix = disk.prefix
        service.serve()
        with service.client() as client:
            client.get("/")
            token = {"X-CSRFToken": client.cookies["csrftoken"]}
            for path in ("/api/requests/", "/upload", "/"):
                answer = client.post(path, files=files, headers=token if path == "/" else {})
                assert answer.status_code == 507
                assert "disk of the server is full" in answer.text
