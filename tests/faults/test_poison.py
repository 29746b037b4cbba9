"""A picture that kills the process that decodes it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import NewJob
from tests.support.fork_server import Process
from tests.support.jobs import Report, make_rows, watch
from tests.support.origin import Answer, Handler, Origin
from tests.support.servers import Redis
from tests.support.stack import QUICK_TO_NOTICE, Cluster, wait_for
from tests.support.weakness import make_weak_decoder, touching

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def cluster(tmp_path: Path, own_redis: Redis) -> Iterator[Cluster]:
    """Workers whose decoder has a weakness."""
    weak = make_weak_decoder(tmp_path / "weak")
    environment = QUICK_TO_NOTICE | {"PYTHONPATH": str(weak)}
    with Cluster(tmp_path, redis_url=own_redis.url, **environment) as cluster:
        watch(cluster)
        cluster.run(workers=2)
        yield cluster


def test_a_picture_that_kills_its_worker_costs_only_itself(
    cluster: Cluster, new_job: NewJob, origin: Origin, report: Report
) -> None:
    """Its origin holds it back until others are in hand of the same worker."""
    rows = make_rows(origin, pictures=200)
    job = new_job(cluster, rows)

    def strike(handler: Handler) -> None:
        claimed = "claimed_by = (SELECT claimed_by FROM products_image WHERE url LIKE '%/poison.jpg')"
        wait_for(lambda: job.count(claimed) > 5, "others are in hand of the same worker")
        handler.answer(Answer(touching("segfault")))

    poison = origin.add("/poison.jpg", strike)
    rows.insert(30, ["SN-poison", "Lamp", poison])
    job.submit()
    with report.fault(
        "a picture that kills its worker", job, done=0, pending=100, failed={poison: "crashed"}
    ):
        process = wait_for(lambda: next(filter(has_ended, cluster.processes), None), "a worker has died")
        assert job.in_hand() > 5
    assert job.count("crashes = 1 AND status = 'completed'") > 4
    assert job.count("crashes > 1") == 0
    assert [other.poll() for other in cluster.processes if other is not process] == [None, None]


def has_ended(process: Process) -> bool:
    return process.poll() is not None
