"""Hostile inputs against the running service, with another user beside: `make hostile`.

The factor by which that user is slowed down depends on the machine, so it is judged here only.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.hostile.canary import Canary, Times, slow_down
from tests.hostile.inputs import INPUTS, Attacker
from tests.support.disk import small_disk
from tests.support.origin import Origin
from tests.support.stack import Cluster, Deployment, Embedded

pytestmark = pytest.mark.timeout(600)

MAX_SLOW_DOWN = 3
MODES = ("embedded", "cluster")
Beside = tuple[Deployment, Canary, Times]


def start(mode: str, directory: Path) -> Deployment:
    limits = {"USER_UPLOADS_PER_MINUTE": "100000", "OPEN_ACCESS": "false"}
    return Embedded(directory, **limits) if mode == "embedded" else Cluster(directory, **limits)


@pytest.fixture(scope="module")
def origin_of_all() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@pytest.fixture(scope="module", params=MODES)
def beside(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, origin_of_all: Origin
) -> Iterator[Beside]:
    """A service, the other user, and that user's times while all is quiet."""
    with ExitStack() as stack:
        directory = tmp_path_factory.mktemp(request.param)
        disk = stack.enter_context(small_disk(directory / "uploads", "24m"))
        service = stack.enter_context(start(request.param, directory))
        service.prefix = disk.prefix
        if isinstance(service, Cluster):
            service.manage("collectstatic", "--no-input", "-v0")  # pages need the hashed names
            service.run(workers=1)
            service.webhooks()
        elif isinstance(service, Embedded):
            service.serve()
        canary = stack.enter_context(closing(Canary(service, origin_of_all)))
        yield service, canary, canary.quiet_times()


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


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_costs_others_little(
    name: str, beside: Beside, origin_of_all: Origin, record_property: Callable[[str, object], None]
) -> None:
    service, canary, quiet = beside
    token = {"Authorization": f"Token {service.token('attacker')}"}
    with service.client(headers=token) as client:
        attacker = Attacker(service, origin_of_all, client, *canary.addresses)
        cpu, begun = cpu_seconds(service), time.monotonic()
        times = canary.times_while(lambda: INPUTS[name](attacker))
        cost = cpu_seconds(service) - cpu, time.monotonic() - begun
    factors = slow_down(times, quiet)
    listed = ", ".join(f"{act} {factor:.1f}" for act, factor in factors.items())
    record_property("hostile", f"{name:<56} {cost[0]:7.1f} {cost[1]:7.1f}  {listed}")
    assert max(factors.values()) <= MAX_SLOW_DOWN, listed
    assert "Traceback" not in service.log()
