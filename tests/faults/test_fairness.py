"""One user's origins that accept connections and never answer, and another user's pictures."""

from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path
from socket import create_server

import pytest

from tests.support.jobs import Job, make_rows, picture, watch
from tests.support.origin import Answer, Origin
from tests.support.stack import Cluster, Deployment, Embedded, wait_for

pytestmark = pytest.mark.timeout(300)

SILENT_HOSTS = 300
PICTURES = 200
#: No silent host gives a slot back by its time limit while the test runs.
PATIENT = {"FETCH_TIMEOUT": "600", "OPEN_ACCESS": "false"}


@pytest.fixture(params=["embedded", "cluster"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    with ExitStack() as stack:
        if request.param == "embedded":
            embedded = stack.enter_context(Embedded(tmp_path, **PATIENT))
            embedded.serve()
            yield embedded
        else:
            cluster = stack.enter_context(Cluster(tmp_path, **PATIENT))
            cluster.run(workers=1)
            yield cluster


@pytest.fixture
def silent_rows() -> Iterator[list[list[str]]]:
    """The rows of a catalogue with a picture on each of many hosts that never answer."""
    with create_server(("0.0.0.0", 0), backlog=SILENT_HOSTS) as server:  # noqa: S104 (all of 127.0.0.0/8)
        port, first = server.getsockname()[1], int(IPv4Address("127.1.0.1"))
        urls = [f"http://{IPv4Address(first + number)}:{port}/lamp.jpg" for number in range(SILENT_HOSTS)]
        yield [[str(number), "Lamp", url] for number, url in enumerate(urls)]


def job_of(user: str, rows: list[list[str]], service: Deployment, origin: Origin, stack: ExitStack) -> Job:
    headers = {"Authorization": f"Token {service.token(user)}"}
    return Job(service, stack.enter_context(service.client(headers=headers)), origin, rows)


def test_silent_hosts_of_one_user_leave_slots_for_the_pictures_of_another(
    service: Deployment, silent_rows: list[list[str]], origin: Origin
) -> None:
    watch(service)
    rows = make_rows(origin, lambda number: Answer(picture(number)), pictures=PICTURES)
    with ExitStack() as stack:
        silent = job_of("ann", silent_rows, service, origin, stack).submit()
        wait_for(lambda: silent.pending_and_in_hand()[1] >= 24, "silent hosts hold their share")
        good = job_of("bob", rows, service, origin, stack).submit()
        good.wait_until_finished(seconds=250)
        assert good.count("status = 'completed'") == PICTURES
        assert silent.pending_and_in_hand()[0] == SILENT_HOSTS
        silent.client.post(f"/api/requests/{silent.id}/cancel/").raise_for_status()
