"""URLs that strangers type to make the service call where it must not: none gets a connection.

Each goes to the client that fetches pictures and to the one that posts webhooks, which differ in what is
allowed to them, directly and as the target of a redirect; some also to the page that compares a source with
its output, which fetches in a web process.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_network

import httpx
import pytest
from django.urls import reverse
from pytest_django import Settings

from processing import loop
from processing.http.guard import BlockedAddress, InvalidAddress
from processing.work.fetch import FetchError
from tests.support.canary import Canary
from tests.support.clients import Client, client, fetch, transport
from tests.support.factories import JPEG, URL, client_of, ingest, make_user, settle, submit
from tests.support.hostile_urls import BLOCKED, INSIDE, INVALID, NEVER_A_LOCATION
from tests.support.names import Names
from tests.support.origin import Answer, Handler, Origin
from tests.support.stack import wait_for

# Stand for the outside: each is what one of the two clients may connect to.
PICTURES = "127.77.0.1"
WEBHOOKS = "127.77.0.2"

ATTACKS = [*((url, "blocked_address") for url in BLOCKED), *((url, "invalid_url") for url in INVALID)]


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


@pytest.fixture
def pictures() -> Iterator[httpx.AsyncBaseTransport]:
    with transport(PICTURES) as guarded:
        yield guarded


@pytest.fixture
def webhooks() -> Iterator[Client]:
    with client(WEBHOOKS) as posting:
        yield posting


@pytest.fixture
def compare(db: None, settings: Settings) -> Callable[[str], bytes]:
    """Give the picture this URL; return the thumbnail of its source as a page requests it."""
    settings.FETCH_ALLOWED_NETWORKS = [ip_network(PICTURES)]
    user = make_user()
    batch = settle(ingest(submit(user)), {URL: JPEG})
    page, path = client_of(user), reverse("source-thumbnail", args=[batch.images.get().pk])

    def shown(url: str) -> bytes:
        batch.images.update(url=url)
        return page.get(path).content

    return shown


def code_of(transport: httpx.AsyncBaseTransport, url: str) -> str:
    """Fetch a picture and return its error."""
    with pytest.raises(FetchError) as caught:
        fetch(transport, url, timeout=60, max_bytes=10_000)
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
def test_no_picture_is_fetched_from_there(canary: Canary, pictures: httpx.AsyncBaseTransport) -> None:
    for url, code in [*ATTACKS, *((url, "invalid_url") for url in NEVER_A_LOCATION)]:
        assert code_of(pictures, url.replace("{port}", str(canary.port))) == code, url
        assert canary.take() == ([], []), url


@pytest.mark.usefixtures("names")
def test_no_webhook_is_posted_there(canary: Canary, webhooks: Client) -> None:
    for url in [*(url for url, _ in ATTACKS), *NEVER_A_LOCATION]:
        with pytest.raises((BlockedAddress, InvalidAddress, httpx.InvalidURL)):
            pytest.fail(
                f"{url} answers {webhooks.post(url.replace('{port}', str(canary.port)), content=b'{}')}"
            )
        assert canary.take() == ([], []), url


@pytest.mark.usefixtures("names")
def test_no_redirect_takes_a_fetch_there(
    canary: Canary, shop: Origin, pictures: httpx.AsyncBaseTransport
) -> None:
    for number, (url, code) in enumerate(ATTACKS, 1):
        shop.add("/a.jpg", redirect_to(url.replace("{port}", str(canary.port))))
        assert code_of(pictures, shop.url("/a.jpg", host="shop.test")) == code, url
        assert shop.count("/a.jpg") == number, url
        attempts, visitors = canary.take()
        assert set(attempts) <= {PICTURES} and not visitors, url  # a kept connection needs no other


@pytest.mark.usefixtures("names")
def test_no_redirect_takes_a_webhook_there(canary: Canary, receiver: Origin, webhooks: Client) -> None:
    for number, (url, _code) in enumerate(ATTACKS, 1):
        receiver.add("/hook", redirect_to(url.replace("{port}", str(canary.port))))
        assert webhooks.post(receiver.url("/hook", host="hooks.test"), content=b"{}").status_code == 307, url
        assert receiver.count("/hook") == number, url
        attempts, visitors = canary.take()
        assert set(attempts) <= {WEBHOOKS} and not visitors, url


@pytest.mark.sample("url", keep=4)
@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("url", [url for url, _ in ATTACKS[::8]], ids=repr)
def test_no_comparison_is_made_with_what_is_there(
    compare: Callable[[str], bytes], canary: Canary, shop: Origin, url: str
) -> None:
    url = url.replace("{port}", str(canary.port))
    assert b"Not available" in compare(url)
    assert (canary.attempts, canary.visitors) == ([], [])
    shop.add("/a.jpg", redirect_to(url))
    assert b"Not available" in compare(shop.url("/a.jpg", host="shop.test"))
    assert (canary.attempts, canary.visitors) == ([PICTURES], [])


@pytest.mark.usefixtures("names")
def test_what_is_allowed_to_one_is_not_to_the_other(
    canary: Canary, shop: Origin, receiver: Origin, pictures: httpx.AsyncBaseTransport, webhooks: Client
) -> None:
    assert code_of(pictures, shop.url("/", host="shop.test")) == "http_404"
    assert webhooks.post(receiver.url("/", host="hooks.test")).status_code == 404
    assert code_of(pictures, receiver.url("/", host="hooks.test")) == "blocked_address"
    with pytest.raises(BlockedAddress):
        webhooks.post(shop.url("/", host="shop.test"))
    assert canary.attempts == [PICTURES, WEBHOOKS]


@pytest.mark.parametrize("inside", ["127.0.0.1", "::1", "169.254.169.254", "::ffff:10.0.0.1"])
def test_a_name_that_changes_after_it_was_judged_changes_nothing(
    canary: Canary, names: Names, shop: Origin, pictures: httpx.AsyncBaseTransport, inside: str
) -> None:
    names.change("shop.test", [PICTURES], [inside])
    assert code_of(pictures, shop.url("/", host="shop.test")) == "http_404"
    assert names.lookups.count("shop.test") == 1
    assert (canary.attempts, canary.visitors) == ([PICTURES], [])


@pytest.mark.parametrize("inside", ["127.0.0.1", "::1", "169.254.169.254", "::ffff:10.0.0.1"])
def test_a_name_that_has_changed_by_the_next_connection_is_blocked(
    canary: Canary, names: Names, shop: Origin, pictures: httpx.AsyncBaseTransport, inside: str
) -> None:
    names.change("shop.test", [PICTURES], [inside])
    back = shop.url("/b.jpg", host="shop.test")
    shop.add("/a.jpg", Answer(status=302, headers={"Location": back, "Connection": "close"}))
    assert code_of(pictures, shop.url("/a.jpg", host="shop.test")) == "blocked_address"
    assert names.lookups.count("shop.test") == 2
    assert (canary.attempts, canary.visitors) == ([PICTURES], [])


def test_a_name_that_changes_between_two_attempts_gets_no_webhook(
    canary: Canary, names: Names, receiver: Origin, webhooks: Client
) -> None:
    names.change("hooks.test", [WEBHOOKS], ["127.0.0.1"])
    url = receiver.url("/hook", host="hooks.test")
    receiver.add("/hook", Answer(headers={"Connection": "close"}))
    assert webhooks.post(url, content=b"{}").status_code == 200
    with pytest.raises(BlockedAddress):
        webhooks.post(url, content=b"{}")
    assert (canary.attempts, canary.visitors) == ([WEBHOOKS], [])


@pytest.mark.usefixtures("names")
def test_escaped_line_ends_stay_escaped(shop: Origin, pictures: httpx.AsyncBaseTransport) -> None:
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


def test_the_canary_notices_connections_of_an_event_loop_that_is_older() -> None:
    async def connect(port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()

    loop.call(lambda: None)  # it is running
    with Canary() as canary:
        loop.run(connect(canary.port))
        wait_for(lambda: canary.visitors, "it has been noticed")
    assert canary.attempts == ["127.0.0.1"]


def test_the_canary_leaves_out_the_threads_of_earlier_tests() -> None:
    go = threading.Event()

    def connect_later() -> None:
        go.wait()
        socket.create_connection(("127.0.0.1", watching.port)).close()

    thread = threading.Thread(target=connect_later)
    thread.start()
    with Canary() as watching:
        go.set()
        thread.join()
    assert watching.attempts == []
