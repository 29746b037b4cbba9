"""Deployments to strike, and the table of what the faults have cost."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.jobs import Cost, Job, Report, as_table, make_rows, watch
from tests.support.origin import Origin
from tests.support.servers import Redis
from tests.support.stack import Cluster, Deployment

FAULT, FIGURE = "fault", "figure"


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


@pytest.fixture
def cluster(tmp_path: Path, own_redis: Redis) -> Iterator[Cluster]:
    """gunicorn and two worker processes."""
    with Cluster(tmp_path, redis_url=own_redis.url) as cluster:
        watch(cluster)
        cluster.run(workers=2)
        yield cluster


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
