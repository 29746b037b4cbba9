"""Deployments to strike, and the table of what the faults have cost."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.faults.jobs import Job, Report, make_rows, watch
from tests.origin import Origin
from tests.stack import Cluster, Deployment

_report = Report()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _report.lines:
        terminalreporter.section("faults")
        for line in _report.table():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def report() -> Report:
    """Takes what each fault has cost; printed at the end of the run."""
    return _report


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """gunicorn and two worker processes."""
    with Cluster(tmp_path) as cluster:
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
