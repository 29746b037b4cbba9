"""Deployments to strike, and the table of what the faults have cost."""

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.jobs import Cost, Job, Report, as_table, make_rows, watch
from tests.support.origin import Origin
from tests.support.servers import Redis
from tests.support.stack import QUICK_TO_NOTICE, Cluster, Deployment

FAULT, FIGURE = "fault", "figure"
FAILED = pytest.StashKey[bool]()
#: Of the shared cluster. Its deliveries are impatient; only a test that starts a process for them has any.
SETTINGS = QUICK_TO_NOTICE | {"WEBHOOK_TIMEOUT": "2"}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.getreports("passed")
    costs = [Cost(*value) for report in reports for name, value in report.user_properties if name == FAULT]
    for report in reports:
        for name, value in report.user_properties:
            if name == FIGURE:
                terminalreporter.write_line(f"\n{value}")
    if costs:
        terminalreporter.section("faults")
        for line in as_table(costs):
            terminalreporter.write_line(line)


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Report:
    """Takes what each fault has cost; printed at the end of the run."""
    return Report(lambda cost: record_property(FAULT, tuple(cost)))


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Takes a sentence with something measured; printed at the end of the run."""
    return lambda sentence: record_property(FIGURE, sentence)


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """A Redis that the test may strike."""
    with Redis() as server:
        yield server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[FAILED] = report.failed or item.stash.get(FAILED, False)
    return report


class SharedCluster:
    """A cluster with a Redis of its own that tests use one after another, until one of them fails."""

    def __init__(self, make_directory: Callable[[], Path]) -> None:
        self._make_directory = make_directory
        self._stack = ExitStack()
        self._cluster: Cluster | None = None

    def take(self) -> Cluster:
        """gunicorn and two worker processes that have seen no work, or work of which nothing is left."""
        if self._cluster:
            self._cluster.restore(workers=2)
            return self._cluster
        self.redis = self._stack.enter_context(Redis())
        cluster = Cluster(self._make_directory(), redis_url=self.redis.url, **SETTINGS)
        self._stack.enter_context(cluster)
        watch(cluster)
        cluster.run(workers=2)
        self._cluster = cluster
        return cluster

    def close(self) -> None:
        self._cluster = None
        self._stack.close()


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedCluster]:
    shared = SharedCluster(lambda: tmp_path_factory.mktemp("cluster"))
    yield shared
    shared.close()


@pytest.fixture
def cluster(shared_cluster: SharedCluster, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """gunicorn and two worker processes, shared with other tests; each finds it as it was at its start."""
    try:
        cluster = shared_cluster.take()
    except BaseException:
        shared_cluster.close()
        raise
    yield cluster
    if request.node.stash[FAILED]:
        sys.stderr.write(cluster.log())
        shared_cluster.close()


@pytest.fixture
def cluster_redis(shared_cluster: SharedCluster, cluster: Cluster) -> Redis:
    """The Redis of `cluster`. The test may strike it, and has to leave it running."""
    return shared_cluster.redis


NewJob = Callable[..., Job]


@pytest.fixture
def new_job(origin: Origin) -> Iterator[NewJob]:
    """Makes a job of pictures from the origin in a deployment, not yet submitted."""
    with ExitStack() as stack:

        def new(deployment: Deployment, rows: list[list[str]] | None = None) -> Job:
            headers = (
                {"Authorization": f"Token {deployment.token()}"} if isinstance(deployment, Cluster) else {}
            )
            client: httpx.Client = stack.enter_context(deployment.client(headers=headers))
            return Job(deployment, client, origin, rows or make_rows(origin))

        yield new
