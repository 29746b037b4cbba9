import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from threading import Event

import httpx
import pytest

from processing import loop
from processing.http.guard import BlockedAddress, TLSError, UnknownName, UnresolvedName, is_permitted
from processing.http.transport import GuardedTransport
from tests.support.certificates import make_chain
from tests.support.clients import Client
from tests.support.clients import client as guarded_client
from tests.support.names import Names
from tests.support.origin import Answer, Handler, Origin
from tests.support.parallel import wait_until

LOOPBACK = ip_network("127.0.0.1/32")

# For pictures.test, signed by itself, valid from 2020 to 2120; nobody else trusts it.
KEY_AND_CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgsmXLUGs2ib6IIdyE
3O8THxR6DXOgPd/8ZiLUcroWI7OhRANCAASuRBKf2fGxg4QEH5NUjDgXXLUlT4Uw
fZ0hA1pRr1oxQhX0ZANjkIhBky5MCZ2yQBy0+t7V+6jVJoHwL5ZW/Hxc
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBbTCCAROgAwIBAgIBATAKBggqhkjOPQQDAjAYMRYwFAYDVQQDDA1waWN0dXJl
cy50ZXN0MCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAYMRYwFAYD
VQQDDA1waWN0dXJlcy50ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAErkQS
n9nxsYOEBB+TVIw4F1y1JU+FMH2dIQNaUa9aMUIV9GQDY5CIQZMuTAmdskActPre
1fuo1SaB8C+WVvx8XKNMMEowGAYDVR0RBBEwD4INcGljdHVyZXMudGVzdDAPBgNV
HRMBAf8EBTADAQH/MB0GA1UdDgQWBBQwCwj7MPahpaMmO0pU84lB2mJ0yTAKBggq
hkjOPQQDAgNIADBFAiBhpFB4uvZZXGIsSQcjigAHVUqJ7WW22eq42+YgfpYBhAIh
AI+fnvbwuj7cGv50YuE4H+4BaIEgE2w5vldCwGY3yugd
-----END CERTIFICATE-----
"""


@pytest.fixture
def client() -> Iterator[Client]:
    with guarded_client("127.0.0.1", max_connections=64) as client:
        yield client


@pytest.fixture
def strict_client() -> Iterator[Client]:
    with guarded_client() as client:
        yield client


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "certificate.pem"
    path.write_text(KEY_AND_CERTIFICATE)
    return path


@pytest.fixture
def secure_origin(certificate: Path) -> Iterator[Origin]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with Origin(tls=context) as origin:
        yield origin


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.8",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",  # IPv4-compatible
        "::ffff:10.0.0.1",  # IPv4-mapped
        "::ffff:0:10.0.0.1",  # IPv4-translated
        "64:ff9b::10.0.0.1",  # NAT64
        "64:ff9b:1::8.8.8.8",  # NAT64 of a local network
        "100::1",
        "2001:0:808:808::1",  # Teredo
        "2001:db8::1",
        "2002:a00:1::1",  # 6to4 for 10.0.0.1
        "2002:c058:6301::",  # 6to4 for its own relay
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fe80::1",
        "fe80::1%1",
        "fec0::1",
        "ff0e::1",
    ],
)
def test_an_address_that_is_not_global_is_not_permitted(address: str) -> None:
    assert not is_permitted(ip_address(address), [])


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "2606:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
    ],
)
def test_a_global_address_is_permitted(address: str) -> None:
    assert is_permitted(ip_address(address), [])


def test_an_allowed_network_permits_its_own_addresses_only() -> None:
    allowed = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
    assert is_permitted(ip_address("10.1.2.3"), allowed)
    assert is_permitted(ip_address("::ffff:10.1.2.3"), allowed)
    assert is_permitted(ip_address("fd00::1"), allowed)
    assert not is_permitted(ip_address("192.168.1.1"), allowed)
    assert not is_permitted(ip_address("fc00::1"), allowed)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "0x7f.1", "[::ffff:127.0.0.1]"])
def test_no_spelling_of_a_private_address_gets_a_connection(
    origin: Origin, strict_client: Client, host: str
) -> None:
    with pytest.raises(BlockedAddress):
        strict_client.get(origin.url("/", host=host))
    assert origin.clients == []


def test_a_name_that_leads_to_a_private_address_gets_no_connection(
    origin: Origin, strict_client: Client, names: Names
) -> None:
    names["pictures.test"] = ["127.0.0.1"]
    with pytest.raises(BlockedAddress, match="pictures"):
        strict_client.get(origin.url("/", host="pictures.test"))
    assert origin.clients == []


def test_a_name_is_looked_up_once_and_that_address_connected_to(
    origin: Origin, client: Client, names: Names
) -> None:
    names["pictures.test"] = ["127.0.0.1"]
    url = origin.url("/", host="pictures.test")
    client.get(url)
    assert names.lookups.count("pictures.test") == 1
    assert origin.received[0].headers["host"] == f"pictures.test:{origin.port}"


def test_a_name_is_judged_anew_for_every_connection(origin: Origin, client: Client, names: Names) -> None:
    origin.add("/", Answer(headers={"Connection": "close"}))
    names["pictures.test"] = ["127.0.0.1"]
    client.get(origin.url("/", host="pictures.test"))
    names["pictures.test"] = ["169.254.169.254"]
    with pytest.raises(BlockedAddress):
        client.get(origin.url("/", host="pictures.test"))


def test_of_several_addresses_only_the_permitted_are_used(
    origin: Origin, client: Client, names: Names
) -> None:
    names["pictures.test"] = ["10.0.0.1", "127.0.0.1"]
    assert client.get(origin.url("/", host="pictures.test")).status_code == 404
    assert "10.0.0.1" not in names.lookups


def test_the_next_address_is_tried_when_one_does_not_answer(origin: Origin, names: Names) -> None:
    names["pictures.test"] = ["127.0.0.3", "127.0.0.1"]
    with guarded_client("127.0.0.0/8", max_connections=1) as client:
        assert client.get(origin.url("/", host="pictures.test")).status_code == 404


def test_an_address_that_never_answers_leaves_time_for_the_next(origin: Origin, names: Names) -> None:
    names["pictures.test"] = ["127.0.0.3", "127.0.0.1"]
    with (
        socket.create_server(("127.0.0.3", origin.port), backlog=0) as full,
        socket.create_connection(full.getsockname()),
        guarded_client("127.0.0.0/8", max_connections=1) as client,
    ):
        assert client.get(origin.url("/", host="pictures.test")).status_code == 404


@pytest.mark.parametrize("error", [socket.EAI_NONAME, socket.EAI_NODATA])
def test_a_name_that_does_not_exist_is_told_from_a_lookup_that_failed(
    client: Client, names: Names, error: int
) -> None:
    names["gone.test"] = socket.gaierror(error, "no such name")
    with pytest.raises(UnknownName):
        client.get("http://gone.test/")
    names["later.test"] = socket.gaierror(socket.EAI_AGAIN, "try again")
    with pytest.raises(UnresolvedName) as caught:
        client.get("http://later.test/")
    assert not isinstance(caught.value, UnknownName)


@pytest.mark.parametrize("host", ["x" * 64 + ".test", "a..test"])
def test_a_name_that_cannot_exist_is_unknown(client: Client, host: str) -> None:
    with pytest.raises(UnknownName):
        client.get(f"http://{host}/")


def test_a_refused_connection_is_a_connect_error(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(httpx.ConnectError):
        client.get(f"http://127.0.0.1:{port}/")


def test_a_body_that_breaks_off_is_a_protocol_error(origin: Origin, client: Client) -> None:
    url = origin.add("/", Answer(b"half", headers={"Content-Length": "8", "Connection": "close"}))
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(url)


def test_requests_to_an_origin_share_a_connection(origin: Origin, client: Client) -> None:
    for _ in range(3):
        client.get(origin.url("/"))
    assert len(origin.received) == 3
    assert len(origin.clients) == 1


def test_a_connection_serves_again_after_a_large_body(origin: Origin, client: Client) -> None:
    """aiohttp has paused reading it meanwhile."""
    url = origin.add("/", bytes(3_000_000))
    for _ in range(5):
        assert len(client.get(url).content) == 3_000_000
    assert len(origin.clients) == 1


def test_sixty_four_threads_share_a_client(origin: Origin, client: Client) -> None:
    urls = [origin.add(f"/{number}", str(number).encode()) for number in range(256)]
    with ThreadPoolExecutor(64) as threads:
        bodies = list(threads.map(lambda url: client.get(url).text, urls))
    assert bodies == [str(number) for number in range(256)]
    assert len(origin.clients) <= 64


def test_proxies_from_the_environment_are_ignored(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with guarded_client("127.0.0.1", max_connections=1) as client:
        client.get(origin.url("/"))
    assert origin.received[0].headers["user-agent"] == "tests/1"


def test_cookies_are_not_kept(origin: Origin, client: Client) -> None:
    url = origin.add("/", Answer(headers={"Set-Cookie": "visitor=1"}))
    client.get(url)
    client.get(url)
    assert "cookie" not in origin.received[1].headers


@contextmanager
def trusting_client(certificate: Path) -> Iterator[Client]:
    context = ssl.create_default_context(cafile=certificate)
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # as by default from Python 3.13
    transport = GuardedTransport(allowed_networks=[LOOPBACK], max_connections=4, ssl_context=context)
    yield Client(transport)
    loop.run(transport.aclose())


def test_a_certificate_is_checked_against_the_name_and_not_the_address(
    secure_origin: Origin, certificate: Path, names: Names
) -> None:
    names["pictures.test"] = names["other.test"] = ["127.0.0.1"]
    with trusting_client(certificate) as client:
        assert client.get(secure_origin.url("/", host="pictures.test")).status_code == 404
        with pytest.raises(TLSError, match=r"other\.test"):
            client.get(secure_origin.url("/", host="other.test"))


def test_the_server_is_told_the_name_that_is_wanted(certificate: Path, names: Names) -> None:
    wanted: list[str | None] = []
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _socket, name, _context: wanted.append(name)
    names["pictures.test"] = ["127.0.0.1"]
    with Origin(tls=context) as origin, trusting_client(certificate) as client:
        client.get(origin.url("/", host="pictures.test"))
    assert wanted == ["pictures.test"]


def test_an_untrusted_certificate_is_a_tls_error(secure_origin: Origin, client: Client, names: Names) -> None:
    names["pictures.test"] = ["127.0.0.1"]
    with pytest.raises(TLSError, match="self-signed"):
        client.get(secure_origin.url("/", host="pictures.test"))
    assert secure_origin.received == []


def test_a_missing_intermediate_certificate_is_called_that(tmp_path: Path, names: Names) -> None:
    """The certificates have no Authority Key Identifier, which browsers do not ask for."""
    root, chain = make_chain("pictures.test")
    (tmp_path / "root.pem").write_bytes(root)
    names["pictures.test"] = ["127.0.0.1"]
    for sent, is_complete in ((chain, True), (chain[:2], False)):
        (tmp_path / "server.pem").write_bytes(b"".join(sent))
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(tmp_path / "server.pem")
        with Origin(tls=tls) as origin, trusting_client(tmp_path / "root.pem") as client:
            url = origin.url("/", host="pictures.test")
            if is_complete:
                assert client.get(url).status_code == 404
            else:
                with pytest.raises(TLSError, match="does not send the intermediate certificate"):
                    client.get(url)


def test_a_server_that_speaks_no_tls_is_a_tls_error(origin: Origin, client: Client) -> None:
    with pytest.raises(TLSError):
        client.get(f"https://127.0.0.1:{origin.port}/")


SMUGGLED = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"


def smuggle(handler: Handler) -> None:
    """Send a response, and in the same TLS record a second one without a request."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst" + SMUGGLED)


def smuggle_after_a_large_body(handler: Handler) -> None:
    """Send a body of several TLS records and reads, followed by a response without a request."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n" + bytes(1000))
    handler.wfile.write(bytes(39_000) + SMUGGLED)


def smuggle_after_chunks(handler: Handler) -> None:
    """Send a chunked body, followed by a response without a request."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    handler.wfile.write(head + b"5\r\nfirst\r\n0\r\n\r\n" + SMUGGLED)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("route", [smuggle, smuggle_after_a_large_body, smuggle_after_chunks])
def test_bytes_that_follow_a_response_are_not_the_next_response(
    certificate: Path, names: Names, route: Callable[[Handler], None], scheme: str
) -> None:
    names["pictures.test"] = ["127.0.0.1"]
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    with (
        Origin(tls=tls if scheme == "https" else None) as origin,
        trusting_client(certificate) as client,
    ):
        origin.add("/first", route)
        origin.add("/second", b"second")
        for _ in range(3):
            assert b"smuggled" not in client.get(origin.url("/first", host="pictures.test")).content
            assert client.get(origin.url("/second", host="pictures.test")).content == b"second"


def hang_up(server: socket.socket) -> None:
    server.accept()[0].close()


def test_a_connection_that_ends_during_the_handshake_is_no_tls_error(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as threads:
        threads.submit(hang_up, server)
        with pytest.raises(httpx.ConnectError) as caught:
            client.get(f"https://127.0.0.1:{server.getsockname()[1]}/")
    assert not isinstance(caught.value, TLSError)


def drip_body(handler: Handler) -> None:
    handler.send_response_only(200)
    handler.end_headers()
    while not handler.origin.stopping.wait(0.01):
        handler.wfile.write(b"x")


def drip_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while not handler.origin.stopping.wait(0.01):
        handler.wfile.write(b"x")


def keep_announcing(handler: Handler) -> None:
    while not handler.origin.stopping.wait(0.01):
        handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def say_nothing(handler: Handler) -> None:
    handler.origin.stopping.wait()


# Each of these goes on for ever, so that without the deadline the test would too.
@pytest.mark.timeout(25)
@pytest.mark.parametrize("behaviour", [drip_body, drip_headers, keep_announcing, say_nothing])
def test_nothing_that_an_origin_does_outlasts_the_deadline(
    origin: Origin, client: Client, behaviour: Callable[[Handler], None]
) -> None:
    url = origin.add("/", behaviour)
    with pytest.raises(TimeoutError):
        client.get(url, within=0.3)


@pytest.mark.timeout(25)
def test_a_tls_handshake_does_not_outlast_the_deadline(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"https://127.0.0.1:{server.getsockname()[1]}/"
        with pytest.raises(TimeoutError):
            client.get(url, within=0.2)


@pytest.mark.timeout(25)
def test_waiting_for_a_free_connection_does_not_outlast_the_deadline(origin: Origin) -> None:
    gate = Event()

    def wait(handler: Handler) -> None:
        gate.wait(60)
        handler.answer(Answer(b"late"))

    with guarded_client("127.0.0.1", max_connections=1) as client, ThreadPoolExecutor(1) as threads:
        url = origin.add("/", wait)
        first = threads.submit(client.get, url)
        wait_until(lambda: origin.clients)
        with pytest.raises(TimeoutError):
            client.get(url, within=0.2)
        gate.set()
        assert first.result().text == "late"
    assert len(origin.clients) == 1


def count_slowly(server: socket.socket, hurry: Event) -> int:
    connection, _ = server.accept()
    with connection:
        received = 0
        while data := connection.recv(64 * 1024):
            received += len(data)
            hurry.wait(0.002)
        return received


@pytest.mark.timeout(25)
def test_a_server_that_takes_a_request_bit_by_bit_does_not_outlast_the_deadline(client: Client) -> None:
    content = bytes(60_000_000)
    hurry = Event()
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as threads:
        received = threads.submit(count_slowly, server, hurry)
        with pytest.raises(TimeoutError):
            client.post(f"http://127.0.0.1:{server.getsockname()[1]}/", content=content, within=0.3)
        hurry.set()
        assert received.result() < len(content)


# --- Heads that browsers read, and bytes that nobody asked for ---


def raw(*parts: bytes) -> Callable[[Handler], None]:
    """Send these bytes, each part as soon as the one before has left."""

    def answer(handler: Handler) -> None:
        for part in parts:
            handler.wfile.write(part)
            handler.wfile.flush()

    return answer


BODY = b"Content-Length: 5\r\n\r\nfirst"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nX Powered By: y\r\n",
        b"HTTP/1.1 200 OK\r\nX-Cache : HIT\r\n",
        b"HTTP/1.1 200 OK\r\nwithout colon\r\n",
        b"http/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\nServer: old\n",
        b"HTTP/1.1 200\r\n",
        b"HTTP/1.1 200 OK\r\nServer: M\xf6bel\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nX Y: z\r\n",
    ],
)
def test_a_head_is_read_as_browsers_do(origin: Origin, client: Client, head: bytes) -> None:
    for parts in ([head + BODY], [bytes([byte]) for byte in head + BODY]):
        response = client.get(origin.add("/", raw(*parts)))
        assert (response.status_code, response.content) == (200, b"first")


def test_two_lengths_that_differ_are_refused_however_they_are_written(origin: Origin, client: Client) -> None:
    url = origin.add("/", raw(b"HTTP/1.1 200 OK\r\nContent-Length : 4\r\n" + BODY))
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(url)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_bytes_that_follow_a_response_close_the_connection(
    certificate: Path, names: Names, scheme: str
) -> None:
    names["pictures.test"] = ["127.0.0.1"]
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
    with (
        Origin(tls=tls if scheme == "https" else None) as origin,
        trusting_client(certificate) as client,
    ):
        origin.add("/second", b"second")
        for number, rest in enumerate([forged, b"anything", b"HTTP/1.1 2"], 1):
            origin.add("/first", raw(b"HTTP/1.1 200 OK\r\n" + BODY + rest))
            assert client.get(origin.url("/first", host="pictures.test")).content == b"first"
            assert client.get(origin.url("/second", host="pictures.test")).content == b"second"
            assert len(origin.clients) == number + 1
