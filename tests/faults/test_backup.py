"""Backup and restore in the middle of a job, as docs/operations.md has them: database first, bucket next."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import NewJob
from tests.support.jobs import watch
from tests.support.servers import Postgres, Redis, find_program
from tests.support.stack import QUICK_TO_NOTICE, Cluster, execute, wait_for, with_database
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


class Place:
    """An installation's database server, queue and bucket, all its own."""

    def __init__(self, postgres: Postgres, redis: Redis, account: Store, bucket: str) -> None:
        self.postgres, self.redis, self.account, self.bucket = postgres, redis, account, bucket

    def cluster(self, directory: Path) -> Cluster:
        directory.mkdir()
        return Cluster(
            directory,
            database_url=self.postgres.url,
            redis_url=self.redis.url,
            **QUICK_TO_NOTICE,
            **self.account.environment(self.bucket),
        )


@pytest.fixture
def places(account: Store) -> Iterator[list[Place]]:
    """Folders of the service and of its restored copy."""
    names = [account.new_bucket(), account.new_bucket()]
    with Postgres() as one, Redis() as queue, Postgres() as other, Redis() as other_queue:
        yield [Place(one, queue, account, names[0]), Place(other, other_queue, account, names[1])]
    for name in names:
        account.remove(name)


def test_what_is_restored_goes_on_where_the_backup_was_made(
    tmp_path: Path, places: list[Place], account: Store, new_job: NewJob
) -> None:
    before, after = places
    dump = tmp_path / "database.dump"
    with before.cluster(tmp_path / "before") as cluster:
        cluster.manage("create_bucket")
        watch(cluster)
        cluster.run(workers=2)
        job = new_job(cluster).submit()
        wait_for(lambda: job.count("status = 'completed'") > 20, "the job is under way")
        url = cluster.environment["DATABASE_URL"]
        subprocess.run([program("pg_dump"), "--format", "custom", "--file", dump, url], check=True)
        wait_for(lambda: job.count("status = 'completed'") > 40, "the job goes on between dump and copy")
        account.client().create_bucket(Bucket=after.bucket)
        copy_bucket(account, before.bucket, after.bucket)
        secret_key = cluster.environment["SECRET_KEY"]
    with after.cluster(tmp_path / "after") as cluster:
        cluster.environment["SECRET_KEY"] = secret_key
        name = cluster.environment["DATABASE_URL"].rpartition("/")[2]
        execute(after.postgres.url, f"DROP DATABASE {name} WITH (FORCE)")
        execute(after.postgres.url, f"CREATE DATABASE {name}")
        target = with_database(after.postgres.url, name)
        subprocess.run([program("pg_restore"), "--no-owner", "--dbname", target, dump], check=True)
        cluster.manage("create_bucket")
        cluster.manage("storage_check")
        completed = "SELECT count(*) FROM products_image WHERE status = 'completed'"
        pending = "SELECT count(*) FROM products_image WHERE status = 'pending'"
        assert cluster.query(completed)[0][0] > 20
        assert cluster.query(pending)[0][0] > 0, "the dump was made in the middle"
        cluster.run(workers=2)
        finished = "SELECT 1 FROM products_request WHERE status = 'completed'"
        wait_for(lambda: cluster.query(finished), "the restored job comes to its end", seconds=600)
        assert cluster.query(pending) == [(0,)]
        keys = {key for (key,) in cluster.query("SELECT output_key FROM products_image")}
        assert keys <= set(account.keys(after.bucket)), "every picture is in the restored bucket"
        picture = account.client().head_object(Bucket=after.bucket, Key=min(keys))
        assert picture["CacheControl"] == "public, max-age=31536000, immutable"
