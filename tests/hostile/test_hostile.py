"""Hostile inputs against the running service, with another user beside: `make hostile`.

The factor by which that user is slowed down depends on the machine, so it is judged here only.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.hostile.canary import Canary, Times, slow_down
from tests.hostile.inputs import DISK_INPUTS, GIANT_ROWS, INPUTS, Attacker
from tests.support.disk import small_disk
from tests.support.origin import Origin
from tests.support.servers import redis_database
from tests.support.stack import Cluster, Deployment, Embedded

pytestmark = pytest.mark.timeout(600)

MAX_SLOW_DOWN = 3
MODES = ("embedded", "cluster")
Beside = tuple[Deployment, Canary, Times]
Judge = Callable[[str, Callable[[Attacker], object], Beside], None]


def deployment(mode: str, directory: Path, number: int = 1) -> Deployment:
    """Return a service that is not running yet. Those that run side by side have numbers of their own."""
    limits = {"USER_UPLOADS_PER_MINUTE": "100000", "OPEN_ACCESS": "false"}
    if mode == "embedded":
        return Embedded(directory, **limits)
    return Cluster(directory, redis_url=redis_database(os.environ["REDIS_URL"], number), **limits)


@pytest.fixture(scope="module")
def origin_of_all() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@contextmanager
def running(service: Deployment, origin: Origin) -> Iterator[Beside]:
    """Run a service. Yields it, the other user, and that user's times while all is quiet."""
    with service:
        if isinstance(service, Cluster):
            service.manage("collectstatic", "--no-input", "-v0")  # pages need the hashed names
            service.run(workers=1)
            service.webhooks()
        elif isinstance(service, Embedded):
            service.serve()
        with closing(Canary(service, origin)) as canary:
            yield service, canary, canary.quiet_times()


@pytest.fixture(scope="module", params=MODES)
def beside(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, origin_of_all: Origin
) -> Iterator[Beside]:
    with running(deployment(request.param, tmp_path_factory.mktemp(request.param)), origin_of_all) as beside:
        yield beside


@pytest.fixture(params=MODES)
def beside_small_disk(
    request: pytest.FixtureRequest, tmp_path: Path, origin_of_all: Origin
) -> Iterator[Beside]:
    with small_disk(tmp_path / "uploads", "24m") as disk:
        service = deployment(request.param, tmp_path, number=2)
        service.prefix = disk.prefix
        with running(service, origin_of_all) as beside:
            yield beside


def cpu_seconds(service: Deployment) -> float:
    """Return the CPU time of the service's processes and of the children that they have waited for."""
    groups = {process.pid for process in service.processes}
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[2]) in groups:
            total += sum(map(int, fields[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def judge(origin_of_all: Origin, record_property: Callable[[str, object], None]) -> Judge:
    def judge(name: str, act: Callable[[Attacker], object], beside: Beside) -> None:
        service, canary, quiet = beside
        token = {"Authorization": f"Token {service.token('attacker')}"}
        with service.client(headers=token) as client:
            attacker = Attacker(service, origin_of_all, client, *canary.addresses)
            cpu, begun = cpu_seconds(service), time.monotonic()
            times = canary.times_while(lambda: act(attacker))
            cost = cpu_seconds(service) - cpu, time.monotonic() - begun
            if name != GIANT_ROWS:  # which stay in hand during the next input
                attacker.clean_up()
        factors = slow_down(times, quiet)
        listed = ", ".join(f"{act} {factor:.1f}" for act, factor in factors.items())
        record_property("hostile", f"{name:<56} {cost[0]:7.1f} {cost[1]:7.1f}  {listed}")
        assert max(factors.values()) <= MAX_SLOW_DOWN, listed
        assert "Traceback" not in service.log()

    return judge


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_costs_others_little(name: str, beside: Beside, judge: Judge) -> None:
    judge(name, INPUTS[name], beside)


@pytest.mark.parametrize("name", DISK_INPUTS)
def test_an_input_for_a_small_disk_costs_others_little(
    name: str, beside_small_disk: Beside, judge: Judge
) -> None:
    judge(name, DISK_INPUTS[name], beside_small_disk)
