"""Clients that send or receive slowly, over real sockets: they take no thread, and end at a deadline."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.factories import URL, make_csv
from tests.support.stack import TLS, Cluster, Deployment, Embedded, wait_for

pytestmark = pytest.mark.needs("the service in a process of its own")

#: More than there are threads in all processes of the web server.
MANY = 24
#: Of 10 KB each in a result: twice as much as the buffers of a socket hold.
ROWS = 800
#: Connections that each process has here, and how many of them one client may have.
CONNECTIONS, SHARE = 100, 25
ENVIRONMENT = {"GUNICORN_CMD_ARGS": f"--worker-connections {CONNECTIONS}"}
HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
#: Other addresses than that of the tests' client, which count as other clients.
STRANGER, NEIGHBOUR = "127.0.0.2", "127.0.0.3"


@pytest.fixture(scope="module", params=["embedded", "cluster"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("data")
    if request.param == "embedded":
        with Embedded(directory, **ENVIRONMENT) as embedded:
            embedded.serve()
            yield embedded
    else:
        with Cluster(directory, **ENVIRONMENT) as cluster:
            cluster.web()
            yield cluster


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connect(
    service: Deployment, stack: ExitStack, address: str = "127.0.0.1", receive_bytes: int | None = None
) -> socket.socket:
    client = stack.enter_context(socket.socket())
    client.settimeout(60)
    if receive_bytes:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    client.bind((address, 0))
    client.connect(("127.0.0.1", service.port))
    return client


def assert_serves(service: Deployment) -> None:
    with ThreadPoolExecutor(MANY) as threads:
        url = f"{service.url}/healthz"
        answers = [threads.submit(httpx.get, url, timeout=60, verify=TLS) for _ in range(MANY)]
    assert [answer.result().status_code for answer in answers] == [200] * MANY


def status(client: socket.socket) -> int:
    """The status of the answer, which ends the connection and has the header of all answers."""
    received = b""
    while data := client.recv(65_536):
        received += data
    assert b"\r\nX-Application: image-extractor\r\n" in received
    return int(received.split()[1])


def begin_upload(
    client: socket.socket, length: bytes = b"Content-Length: 1000", body: bytes = b"--b\r\n"
) -> None:
    lines = [b"POST /upload HTTP/1.1", b"Host: 127.0.0.1", b"Content-Type: multipart/form-data; boundary=b"]
    client.sendall(b"\r\n".join([*lines, length, b"", body]))


@pytest.mark.parametrize("part", ["nothing", "half a head", "half a body", "half a chunk"])
def test_requests_that_have_not_arrived_take_no_thread(
    service: Deployment, stack: ExitStack, part: str
) -> None:
    for _ in range(MANY):
        client = connect(service, stack)
        if part == "half a head":
            client.sendall(HEAD)
        elif part == "half a body":
            begin_upload(client)
        elif part == "half a chunk":
            begin_upload(client, b"Transfer-Encoding: chunked", b"5\r\n--b")
    assert_serves(service)


def test_a_request_that_arrives_byte_by_byte_is_answered(service: Deployment, stack: ExitStack) -> None:
    client = connect(service, stack)
    for byte in HEAD + b"Connection: close\r\n\r\n":
        client.sendall(bytes([byte]))
    assert status(client) == 200


def test_requests_that_arrive_together_are_answered_in_order(service: Deployment, stack: ExitStack) -> None:
    client = connect(service, stack)
    missing = HEAD.replace(b"/healthz", b"/api/nothing/") + b"\r\n"
    client.sendall(HEAD + b"\r\n" + missing + HEAD + b"Connection: close\r\n\r\n")
    received = b""
    while data := client.recv(65_536):
        received += data
    statuses = [part.split()[0] for part in received.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"404", b"200"]


def test_a_client_that_waits_for_100_is_told_to_go_on(service: Deployment, stack: ExitStack) -> None:
    client = connect(service, stack)
    client.sendall(
        b"POST /api/nothing/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"{}")
    assert status(client) == 404


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 10_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 20_000, 431),
        (b"GET /" + b"x" * 5_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"\0\0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n", 400),
    ],
)
def test_malformed_requests_are_refused(
    service: Deployment, stack: ExitStack, request_bytes: bytes, expected: int
) -> None:
    client = connect(service, stack)
    client.sendall(request_bytes)
    assert status(client) == expected


def test_chunks_that_are_mostly_overhead_are_refused(service: Deployment, stack: ExitStack) -> None:
    client = connect(service, stack)
    client.sendall(b"POST /upload HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.sendall((b"1;" + b"x" * 4_000 + b"\r\na\r\n") * 40)
    assert status(client) == 400


def test_one_client_cannot_take_all_connections(service: Deployment, stack: ExitStack) -> None:
    """Uploads that have begun are not given up for others, so there are only so many of one client."""
    processes = 1 if isinstance(service, Embedded) else 2
    clients = [connect(service, stack, STRANGER) for _ in range(processes * SHARE + 50)]
    for client in clients:
        try:
            begin_upload(client)
        except ConnectionError:
            continue
    neighbour = connect(service, stack, NEIGHBOUR)
    neighbour.sendall(HEAD + b"Connection: close\r\n\r\n")
    assert status(neighbour) == 200
    assert sum(map(is_closed, clients)) >= 1


def is_closed(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_waiting_connections_give_way_to_new_ones(service: Deployment, stack: ExitStack) -> None:
    for _ in range(3 * CONNECTIONS):
        client = connect(service, stack)
        client.sendall(HEAD)
    assert_serves(service)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A service whose deadlines are a twentieth of the usual ones: 1 s for a head, 3 s for 1 MB."""
    with Embedded(tmp_path_factory.mktemp("data"), TEST_TIME_SCALE="0.05") as service:
        service.serve()
        yield service


@pytest.mark.parametrize("part", ["head", "body", "chunks"])
def test_a_byte_now_and_then_does_not_keep_a_request_alive(
    impatient: Embedded, stack: ExitStack, part: str
) -> None:
    client = connect(impatient, stack)
    if part == "head":
        client.sendall(HEAD)
    else:
        begin_upload(
            client, b"Content-Length: 1000" if part == "body" else b"Transfer-Encoding: chunked", b""
        )
    piece = b"1\r\na\r\n" if part == "chunks" else b"a"
    client.settimeout(0.1)

    def has_ended() -> bool:
        try:
            client.sendall(piece)
            return bool(client.recv(100))
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    wait_for(has_ended, "it is refused")


@pytest.mark.parametrize("part", ["head", "body", "chunks"])
def test_a_request_that_stops_is_answered(impatient: Embedded, stack: ExitStack, part: str) -> None:
    client = connect(impatient, stack)
    if part == "head":
        client.sendall(HEAD)
    else:
        begin_upload(
            client, b"Content-Length: 1000" if part == "body" else b"Transfer-Encoding: chunked", b""
        )
    assert status(client) == 408


def test_a_connection_on_which_nothing_is_sent_ends(impatient: Embedded, stack: ExitStack) -> None:
    assert connect(impatient, stack).recv(1) == b""


def upload_large(service: Deployment) -> tuple[str, dict[str, str]]:
    """The path of a result that no socket's buffers hold, and the headers that it is asked for with."""
    headers = {"Authorization": f"Token {service.token()}"} if isinstance(service, Cluster) else {}
    rows = [(number, "x" * 10_000, "") for number in range(ROWS)]
    with service.client(headers=headers) as client:
        answer = client.post("/api/requests/", files={"file": ("a.csv", make_csv(*rows, (1, "", URL)))})
        assert answer.status_code == 201, answer.text
    return f"/api/requests/{answer.json()['id']}/results.csv", headers


def begin_download(
    service: Deployment, stack: ExitStack, path: str, headers: dict[str, str]
) -> socket.socket:
    client = connect(service, stack, receive_bytes=4096)
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    client.sendall("\r\n".join([*lines, "", ""]).encode())
    assert client.recv(12) == b"HTTP/1.1 200"
    return client


def read_all(client: socket.socket) -> bytes:
    received = bytearray()
    while data := client.recv(1 << 20):
        received += data
    return bytes(received)


def test_downloads_that_nobody_reads_take_no_thread(service: Deployment, stack: ExitStack) -> None:
    path, headers = upload_large(service)
    clients = [begin_download(service, stack, path, headers) for _ in range(MANY)]
    assert_serves(service)
    with ThreadPoolExecutor(MANY) as threads:  # at once, since each is given a minute for a megabyte
        bodies = list(threads.map(read_all, clients))
    assert all(body.endswith(b"\r\n0\r\n\r\n") for body in bodies)
    assert {body.count(b"x" * 10_000) for body in bodies} == {ROWS}


def test_a_download_that_stands_still_ends(tmp_path: Path, stack: ExitStack) -> None:
    with Embedded(tmp_path) as patient:
        patient.serve()
        path, headers = upload_large(patient)
    service = stack.enter_context(Embedded(tmp_path, TEST_TIME_SCALE="0.05"))
    service.serve()
    client = begin_download(service, stack, path, headers)
    pid = Path("/proc", str(service.processes[0].pid))
    (worker,) = (pid / "task" / pid.name / "children").read_text().split()
    sources = Path("/proc", worker, "fd")

    def is_open() -> bool:
        return any("/uploads/" in str(file.readlink()) for file in sources.iterdir() if file.is_symlink())

    wait_for(lambda: not is_open(), "the catalogue is closed")
    assert not read_all(client).endswith(b"\r\n0\r\n\r\n")
