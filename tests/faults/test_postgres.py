"""The database killed and started again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import NewJob
from tests.support.jobs import Report, problems, watch
from tests.support.servers import Postgres, Redis
from tests.support.stack import QUICK_TO_NOTICE, Cluster, wait_for

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL that the test may strike."""
    with Postgres() as server:
        yield server


@pytest.fixture
def cluster(tmp_path: Path, own_postgres: Postgres, own_redis: Redis) -> Iterator[Cluster]:
    urls = {"database_url": own_postgres.url, "redis_url": own_redis.url}
    with Cluster(tmp_path, **urls, **QUICK_TO_NOTICE) as cluster:
        watch(cluster)
        cluster.run(workers=2)
        yield cluster


def test_a_postgresql_that_is_killed_and_started_again_loses_no_work(
    cluster: Cluster, own_postgres: Postgres, new_job: NewJob, report: Report
) -> None:
    job = new_job(cluster).submit()
    with report.fault("PostgreSQL killed and started again", job):
        own_postgres.kill()
        wait_for(lambda: problems(cluster) == {"database"}, "the database is named")
        own_postgres.start()
    wait_for(lambda: problems(cluster) == set(), "all is ready")
    assert all(process.poll() is None for process in cluster.processes)
