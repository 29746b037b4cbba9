"""URLs that strangers type to make the service call where it must not: none gets a connection.

Each goes to the client that fetches pictures and to the one that posts webhooks, which differ in what is
allowed to them, directly and as the target of a redirect.
"""

import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_network

import httpx
import pytest

from processing.addresses import InvalidAddress
from processing.fetch import FetchError, fetch
from processing.transport import BlockedAddress, guarded_client
from tests.canary import Canary
from tests.names import Names
from tests.origin import Answer, Handler, Origin
from tests.stack import wait_for

# Stand for the outside: each is what one of the two clients may connect to.
PICTURES = "127.77.0.1"
WEBHOOKS = "127.77.0.2"

# `{port}` is the canary's, on every address of this machine.
BLOCKED = [
    # Spellings of loopback
    "http://127.0.0.1:{port}/",
    "HTTP://127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    " http://127.0.0.1:{port}/ ",
    "http://localhost:{port}/",
    "http://LOCALHOST:{port}/",
    "http://localhost.:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://2130706433:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://127.255.255.254:{port}/",
    "http://0x7f.1:{port}/",
    "http://0X7F.1:{port}/",
    "http://0x7f.0x0.0x0.0x1:{port}/",
    "http://0x7f000001:{port}/",
    "http://0177.1:{port}/",
    "http://0177.0.1:{port}/",
    "http://017700000001:{port}/",
    "http://127.0x1:{port}/",
    "http://127。0。1:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://0x0:{port}/",
    # IPv6
    "http://[::1]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://[0000::0001]:{port}/",
    "http://[::]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::FFFF:7F00:1]:{port}/",
    "http://[0:0:0:0:0:ffff:127.0.0.1]:{port}/",
    "http://[::ffff:0:127.0.0.1]:{port}/",
    "http://[::ffff:10.0.0.1]:{port}/",
    "http://[::ffff:169.254.169.254]/latest/meta-data/",
    "http://[64:ff9b::127.0.0.1]:{port}/",
    "http://[64:ff9b::a9fe:a9fe]/latest/meta-data/",
    "http://[64:ff9b:1::127.0.0.1]:{port}/",
    "http://[2002:7f00:1::1]:{port}/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[2001:0:7f00:1::1]:{port}/",
    "http://[2001:0:4136:e378:8000:63bf:80ff:fffe]/",
    "http://[2001:db8::1]/",
    "http://[3fff::1]/",
    "http://[100::1]/",
    "http://[fc00::1]/",
    "http://[fd12:3456:789a::1]/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    # Networks of others
    "http://10.0.0.1/",
    "http://10.255.255.255:6379/",
    "http://100.64.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.0.1/",
    "http://0xc0.0xa8.0.1/",
    "http://192.0.2.1/",
    "http://192.88.99.1/",
    "http://198.18.0.1/",
    "http://203.0.113.1/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    # Metadata and platforms of clouds
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "http://169.254.43518/latest/meta-data/",
    "http://0xa9.0xfe.0xa9.0xfe/computeMetadata/v1/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://169.254.170.2/v2/credentials/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://[fd20:ce::254]/computeMetadata/v1/",
    "http://100.100.100.200/latest/meta-data/",
    "http://192.0.0.192/latest/",
    "http://168.63.129.16/machine/?comp=goalstate",
    "http://kubernetes.default.svc/api/v1/secrets",
    # Names
    "http://loopback.test:{port}/",
    "http://LoopBack.Test:{port}/",
    "http://loopback6.test:{port}/",
    "http://mapped.test:{port}/",
    "http://unspecified.test:{port}/",
    "http://private.test/",
    "http://several.test:{port}/",
    "http://bücher.test:{port}/",
    "https://loopback.test:{port}/",
    # What is in the path, escaped, changes nothing
    "http://127.0.0.1:{port}/%0d%0aHost:%20shop.test",
    "http://127.0.0.1:{port}/?url=http://shop.test/",
    "http://127.0.0.1:{port}#@shop.test/",
]
INVALID = [
    # Spellings that are not resolved at all
    "http://0177.0.0.1:{port}/",
    "http://127.000.000.001:{port}/",
    "http://①②⑦.0.0.1:{port}/",
    "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://127.0.0.256:{port}/",
    "http://loc%61lhost:{port}/",
    "http://127%2e0%2e0%2e1:{port}/",
    "http://127.0.0.1%00.shop.test:{port}/",
    "http://127.0.0.1%2f@shop.test:{port}/",
    "http://[::1%25lo]:{port}/",
    "http://[fe80::1%25eth0]:{port}/",
    "http://[::1:{port}/",
    "http://[v1.127.0.0.1]:{port}/",
    # Other schemes
    "file:///etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "FILE:///etc/passwd",
    "gopher://127.0.0.1:{port}/_FLUSHALL",
    "ftp://127.0.0.1:{port}/a.jpg",
    "sftp://127.0.0.1:{port}/",
    "tftp://127.0.0.1:{port}/a",
    "dict://127.0.0.1:{port}/info",
    "ldap://127.0.0.1:{port}/",
    "ws://127.0.0.1:{port}/",
    "wss://127.0.0.1:{port}/",
    "jar:http://127.0.0.1:{port}/a!/b",
    "unix:/run/docker.sock",
    "http+unix://%2frun%2fdocker.sock/info",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    # Credentials, and what looks like them
    "http://root@127.0.0.1:{port}/",
    "http://root:secret@127.0.0.1:{port}/",
    "http://shop.test@127.0.0.1:{port}/",
    "http://shop.test:80@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}@shop.test/",
    "http://shop.test\\@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@shop.test/",
    # Ports
    "http://127.0.0.1:0/",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:-1/",
    "http://127.0.0.1:{port}:80/",
    "http://127.0.0.1:eighty/",
]
# A redirect cannot carry these, or means something harmless by them.
NEVER_A_LOCATION = [
    "http://shop.test/\r\nHost: 127.0.0.1",
    "http://shop.test/ HTTP/1.1\r\nX: y",
    "http://shop.test\r\n.127.0.0.1:{port}/",
    "http://127.0.0.1:{port}/\r\nX: y",
    "http://127.0.0.1:{port}/\tx",
    "http://127.0.0.1\x00.shop.test/",
    "http:127.0.0.1:{port}/",
    "http:/127.0.0.1:{port}/",
    "http:///127.0.0.1:{port}/",
    "///127.0.0.1:{port}/",
    "\\\\127.0.0.1:{port}\\",
    "127.0.0.1:{port}/",
    "http://",
    "",
]


ATTACKS = [*((url, "blocked_address") for url in BLOCKED), *((url, "invalid_url") for url in INVALID)]
INSIDE: dict[str, list[str] | OSError] = {
    "localhost": ["127.0.0.1", "::1"],
    "localhost.": ["127.0.0.1"],
    "127.0.0.1.": ["127.0.0.1"],
    "loopback.test": ["127.0.0.1"],
    "loopback6.test": ["::1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "unspecified.test": ["0.0.0.0"],  # noqa: S104
    "private.test": ["10.0.0.1"],
    "several.test": ["10.0.0.1", "192.168.0.1", "127.0.0.1", "::1", "fd00::1"],
    "xn--bcher-kva.test": ["127.0.0.1"],
    "metadata.google.internal": ["169.254.169.254"],
    "kubernetes.default.svc": ["10.96.0.1"],
}


@pytest.fixture
def canary() -> Iterator[Canary]:
    with Canary() as canary:
        yield canary


@pytest.fixture
def names(names: Names) -> Names:
    names.update(INSIDE)
    names["shop.test"], names["hooks.test"] = [PICTURES], [WEBHOOKS]
    return names


@pytest.fixture
def shop() -> Iterator[Origin]:
    """The only server that pictures may be fetched from."""
    with Origin(host=PICTURES) as origin:
        yield origin


@pytest.fixture
def receiver() -> Iterator[Origin]:
    """The only server that webhooks may be posted to."""
    with Origin(host=WEBHOOKS) as origin:
        yield origin


def client_for(address: str) -> httpx.Client:
    return guarded_client(
        allowed_networks=[ip_network(address)], user_agent="tests/1", max_connections=4, timeout=20
    )


@pytest.fixture
def pictures() -> Iterator[httpx.Client]:
    with client_for(PICTURES) as client:
        yield client


@pytest.fixture
def webhooks() -> Iterator[httpx.Client]:
    with client_for(WEBHOOKS) as client:
        yield client


def code_of(client: httpx.Client, url: str) -> str:
    """How fetching a picture fails."""
    with pytest.raises(FetchError) as caught:
        fetch(client, url, timeout=20, max_bytes=10_000)
    return caught.value.code


def redirect_to(location: str) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.wfile.write(
            b"HTTP/1.1 307 Go\r\nContent-Length: 0\r\nLocation: " + location.encode() + b"\r\n\r\n"
        )

    return answer


def test_the_table_is_as_long_as_promised() -> None:
    assert len({url for url, _ in ATTACKS} | set(NEVER_A_LOCATION)) >= 80


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(
    ("url", "code"), [*ATTACKS, *((url, "invalid_url") for url in NEVER_A_LOCATION)], ids=repr
)
def test_no_picture_is_fetched_from_there(
    canary: Canary, pictures: httpx.Client, url: str, code: str
) -> None:
    assert code_of(pictures, url.replace("{port}", str(canary.port))) == code
    assert (canary.attempts, canary.visitors) == ([], [])


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("url", [*(url for url, _ in ATTACKS), *NEVER_A_LOCATION], ids=repr)
def test_no_webhook_is_posted_there(canary: Canary, webhooks: httpx.Client, url: str) -> None:
    with pytest.raises((BlockedAddress, InvalidAddress, httpx.InvalidURL)):
        webhooks.post(url.replace("{port}", str(canary.port)), content=b"{}")
    assert (canary.attempts, canary.visitors) == ([], [])


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(("url", "code"), ATTACKS, ids=repr)
def test_no_redirect_takes_a_fetch_there(
    canary: Canary, shop: Origin, pictures: httpx.Client, url: str, code: str
) -> None:
    shop.add("/a.jpg", redirect_to(url.replace("{port}", str(canary.port))))
    assert code_of(pictures, shop.url("/a.jpg", host="shop.test")) == code
    assert (canary.attempts, canary.visitors) == ([PICTURES], [])


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("url", [url for url, _ in ATTACKS], ids=repr)
def test_no_redirect_takes_a_webhook_there(
    canary: Canary, receiver: Origin, webhooks: httpx.Client, url: str
) -> None:
    receiver.add("/hook", redirect_to(url.replace("{port}", str(canary.port))))
    try:
        answer = webhooks.post(receiver.url("/hook", host="hooks.test"), content=b"{}")
    except (httpx.RemoteProtocolError, httpx.InvalidURL, ValueError):
        pass  # httpx looks at `Location` even when it is not to follow it
    else:
        assert answer.status_code == 307
    assert receiver.count("/hook") == 1
    assert (canary.attempts, canary.visitors) == ([WEBHOOKS], [])


@pytest.mark.usefixtures("names")
def test_what_is_allowed_to_one_is_not_to_the_other(
    canary: Canary, shop: Origin, receiver: Origin, pictures: httpx.Client, webhooks: httpx.Client
) -> None:
    assert code_of(pictures, shop.url("/", host="shop.test")) == "http_404"
    assert webhooks.post(receiver.url("/", host="hooks.test")).status_code == 404
    assert code_of(pictures, receiver.url("/", host="hooks.test")) == "blocked_address"
    with pytest.raises(BlockedAddress):
        webhooks.post(shop.url("/", host="shop.test"))
    assert canary.attempts == [PICTURES, WEBHOOKS]


@pytest.mark.parametrize("inside", ["127.0.0.1", "::1", "169.254.169.254", "::ffff:10.0.0.1"])
def test_a_name_that_changes_after_it_was_judged_changes_nothing(
    canary: Canary, names: Names, shop: Origin, pictures: httpx.Client, inside: str
) -> None:
    names.change("shop.test", [PICTURES], [inside])
    assert code_of(pictures, shop.url("/", host="shop.test")) == "http_404"
    assert names.lookups.count("shop.test") == 1
    assert (canary.attempts, canary.visitors) == ([PICTURES], [])


@pytest.mark.parametrize("inside", ["127.0.0.1", "::1", "169.254.169.254", "::ffff:10.0.0.1"])
def test_a_name_that_has_changed_by_the_next_connection_is_blocked(
    canary: Canary, names: Names, shop: Origin, pictures: httpx.Client, inside: str
) -> None:
    names.change("shop.test", [PICTURES], [inside])
    back = shop.url("/b.jpg", host="shop.test")
    shop.add("/a.jpg", Answer(status=302, headers={"Location": back, "Connection": "close"}))
    assert code_of(pictures, shop.url("/a.jpg", host="shop.test")) == "blocked_address"
    assert names.lookups.count("shop.test") == 2
    assert (canary.attempts, canary.visitors) == ([PICTURES], [])


def test_a_name_that_changes_between_two_attempts_gets_no_webhook(
    canary: Canary, names: Names, receiver: Origin, webhooks: httpx.Client
) -> None:
    names.change("hooks.test", [WEBHOOKS], ["127.0.0.1"])
    url = receiver.url("/hook", host="hooks.test")
    receiver.add("/hook", Answer(headers={"Connection": "close"}))
    assert webhooks.post(url, content=b"{}").status_code == 200
    with pytest.raises(BlockedAddress):
        webhooks.post(url, content=b"{}")
    assert (canary.attempts, canary.visitors) == ([WEBHOOKS], [])


@pytest.mark.usefixtures("names")
def test_escaped_line_ends_stay_escaped(shop: Origin, pictures: httpx.Client) -> None:
    code_of(pictures, shop.url("/a%0d%0aX-Injected:%20y", host="shop.test"))
    (received,) = shop.received
    assert received.target == "/a%0d%0aX-Injected:%20y"
    assert "x-injected" not in received.headers
    assert received.headers["host"] == f"shop.test:{shop.port}"


def test_the_canary_notices_who_connects() -> None:
    with Canary() as canary:
        socket.create_connection(("127.0.0.1", canary.port)).close()
        socket.create_connection(("::ffff:127.0.0.2", canary.port)).close()
        wait_for(lambda: len(canary.visitors) == 2, "both have been noticed")
    assert canary.attempts == ["127.0.0.1", "::ffff:127.0.0.2"]
