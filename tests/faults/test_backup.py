"""Backup and restore in the middle of a job, as docs/operations.md has them: database first, bucket next."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest

from tests.faults.conftest import NewJob
from tests.support.jobs import make_rows, picture, watch
from tests.support.origin import Answer, Handler, Origin, Route
from tests.support.servers import Redis, find_program
from tests.support.stack import QUICK_TO_NOTICE, Cluster, execute, wait_for
from tests.support.stores import REAL, Moto, Store

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def account() -> Iterator[Store]:
    """A store that tells apart what it keeps: moto's server, or the one that is named."""
    if REAL:
        yield Store.real()
    else:
        with Moto() as moto:
            yield moto.store


def program(name: str) -> str:
    """One of PostgreSQL's own, which come with the server."""
    path = find_program(name)
    assert path, f"{name} is not installed"
    return path


def copy_bucket(account: Store, source: str, target: str) -> None:
    """As `aws s3 sync` does between buckets."""
    client = account.client()
    for key in account.keys(source):
        client.copy_object(Bucket=target, Key=key, CopySource={"Bucket": source, "Key": key})


#: No picture that is held back takes too long, or the slot of one that is to be answered before it.
PATIENT = {"FETCH_TIMEOUT": "600", "FETCH_CONCURRENCY": "288", "FETCH_PER_HOST": "288"}


class Stages:
    """Routes that answer 40 pictures at once and each further 40 when they are told to."""

    PICTURES = 40

    def __init__(self, count: int) -> None:
        self._opened = [Event() for _ in range(count)]
        self.open_next()

    def open_next(self) -> None:
        next(stage for stage in self._opened if not stage.is_set()).set()

    def __call__(self, number: int) -> Route:
        def answer(handler: Handler) -> None:
            self._opened[number // self.PICTURES].wait(600)
            handler.answer(Answer(picture(number)))

        return answer


@pytest.fixture
def place(tmp_path: Path, account: Store) -> Iterator[Callable[..., Cluster]]:
    """Makes an installation with a database, a bucket and a folder of its own."""
    buckets = []

    def new(name: str, **options: str) -> Cluster:
        directory = tmp_path / name
        directory.mkdir()
        buckets.append(account.new_bucket())
        environment = QUICK_TO_NOTICE | PATIENT | account.environment(buckets[-1])
        return Cluster(directory, **options, **environment)

    yield new
    for bucket in buckets:
        account.remove(bucket)


def test_what_is_restored_goes_on_where_the_backup_was_made(
    place: Callable[..., Cluster], account: Store, own_redis: Redis, new_job: NewJob, origin: Origin
) -> None:
    stages = Stages(4)
    rows = make_rows(origin, stages, pictures=4 * Stages.PICTURES)
    before, after = place("before"), place("after", redis_url=own_redis.url)
    dump = before.directory / "database.dump"
    old_bucket, bucket = (one.environment["AWS_STORAGE_BUCKET_NAME"] for one in (before, after))
    with before as cluster:
        cluster.manage("create_bucket")
        watch(cluster)
        cluster.run(workers=1)
        job = new_job(cluster, rows).submit()
        wait_for(lambda: job.count("status = 'completed'") == 40, "the job is under way")
        url = cluster.environment["DATABASE_URL"]
        subprocess.run([program("pg_dump"), "--format", "custom", "--file", dump, url], check=True)
        stages.open_next()
        wait_for(lambda: job.count("status = 'completed'") == 80, "the job goes on between dump and copy")
        account.client().create_bucket(Bucket=bucket)
        copy_bucket(account, old_bucket, bucket)
        stages.open_next()
        wait_for(lambda: job.count("status = 'completed'") == 120, "the job goes on after the copy")
    with after as cluster:
        cluster.environment["SECRET_KEY"] = before.environment["SECRET_KEY"]
        server, _, name = cluster.environment["DATABASE_URL"].rpartition("/")
        execute(f"{server}/postgres", f"DROP DATABASE {name} WITH (FORCE)")
        execute(f"{server}/postgres", f"CREATE DATABASE {name}")
        target = f"{server}/{name}"
        subprocess.run([program("pg_restore"), "--no-owner", "--dbname", target, dump], check=True)
        cluster.manage("create_bucket")
        cluster.manage("storage_check")
        counts = "SELECT status, count(*) FROM products_image GROUP BY status ORDER BY status"
        assert cluster.query(counts) == [("completed", 40), ("pending", 120)], "as when the dump was made"
        stages.open_next()
        cluster.run(workers=1)
        finished = "SELECT 1 FROM products_request WHERE status = 'completed'"
        wait_for(lambda: cluster.query(finished), "the restored job comes to its end", seconds=600)
        assert cluster.query(counts) == [("completed", 160)]
        keys = {key for (key,) in cluster.query("SELECT output_key FROM products_image")}
        assert keys <= set(account.keys(bucket)), "every picture is in the restored bucket"
        stored = account.client().head_object(Bucket=bucket, Key=min(keys))
        assert stored["CacheControl"] == "public, max-age=31536000, immutable"
