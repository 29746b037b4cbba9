"""Heads of responses that strict parsers refuse and browsers read. Chromium and curl got the same bytes."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from processing.http.connection import MAX_HEAD_BYTES
from processing.http.head import tidied
from tests.support.clients import Client
from tests.support.clients import client as guarded_client
from tests.support.origin import Handler, Origin

PICTURE = bytes(range(256)) * 4
LENGTH = f"Content-Length: {len(PICTURE)}\r\n".encode()
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(PICTURE), PICTURE)
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def client() -> Iterator[Client]:
    with guarded_client("127.0.0.1") as client:
        yield client


def sending(data: bytes, *, closing: bool = False) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.wfile.write(data)
        handler.close_connection = closing

    return answer


@pytest.mark.parametrize(
    "fields",
    [
        b"X Powered By: y\r\n",
        b"X-Cache : HIT\r\n",
        b"no colon in this line\r\n",
        b": no name\r\n",
        "X-Größe: 3\r\n".encode(),
        b"X-Control: a\x0bb\x0cc\x7f\r\n",
        b"X Powered By: y\r\n and more of it: z\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding:\r\n",
    ],
)
@pytest.mark.parametrize("position", ["before", "after"])
def test_lines_that_browsers_do_not_mind_are_not_minded(
    origin: Origin, client: Client, fields: bytes, position: str
) -> None:
    head = fields + LENGTH if position == "before" else LENGTH + fields
    url = origin.add("/", sending(OK + head + b"Content-Type: image/png\r\n\r\n" + PICTURE))
    for _ in range(2):
        response = client.get(url)
        assert (response.content, response.headers["Content-Type"]) == (PICTURE, "image/png")


def test_a_line_that_continues_nothing_is_left_out(origin: Origin, client: Client) -> None:
    url = origin.add("/", sending(OK + b" continues nothing\r\n" + LENGTH + b"\r\n" + PICTURE))
    assert client.get(url).content == PICTURE


@pytest.mark.parametrize(
    "status",
    [
        *(
            b"http/1.1 200 OK",
            b"Http/1.1 200 OK",
            b"HTTP/1.1  200 OK",
            b"HTTP/1.1\t200 OK",
            b"HTTP/1.1 200OK",
        ),
        *(b"HTTP/1.1 200", b"HTTP/2 200 OK", b"HTTP/2.0 200 OK", b"HTTP 200 OK", b"HTTP/1.0 200 OK"),
    ],
)
def test_status_lines_that_browsers_read_are_read(origin: Origin, client: Client, status: bytes) -> None:
    url = origin.add("/", sending(status + b"\r\n" + LENGTH + b"\r\n" + PICTURE))
    for _ in range(2):
        response = client.get(url)
        assert (response.status_code, response.content) == (200, PICTURE)


@pytest.mark.parametrize(
    "codings",
    [
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked, Chunked\r\n",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"TRANSFER-ENCODING: chunked\r\nContent-Length: 3\r\n",
    ],
)
def test_a_transfer_encoding_may_be_said_twice(origin: Origin, client: Client, codings: bytes) -> None:
    url = origin.add("/", sending(OK + codings + b"\r\n" + CHUNKED))
    assert client.get(url).content == PICTURE


@pytest.mark.parametrize("length", [b"", b"abc", b"-1", b"+4", b"1024;"])
def test_without_a_number_for_its_length_a_body_ends_with_the_connection(
    origin: Origin, client: Client, length: bytes
) -> None:
    head = OK + b"Content-Length: " + length + b"\r\n\r\n"
    assert client.get(origin.add("/", sending(head + PICTURE, closing=True))).content == PICTURE


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 4\r\nContent-Length: 5\r\n",
        b"Content-Length : 4\r\nContent-Length: 5\r\n",
        b"Content-Length: 4, 5\r\n",
        b"Content-Length: 4\r\nContent-Length: abc\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: xchunked\r\nContent-Length: 4\r\n",
        b"X: a\rContent-Length: 5\r\nContent-Length: 4\r\n",
        b"X: a\0b\r\nContent-Length: 4\r\n",
        b"X Y: a\0b\r\nContent-Length: 4\r\n",
    ],
)
def test_what_may_end_elsewhere_for_others_is_refused(origin: Origin, client: Client, fields: bytes) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(origin.add("/", sending(OK + fields + b"\r\nhalf")))


@pytest.mark.parametrize(
    "fields", [b"X-Cache : HIT\r\n", b"X Y: z\r\n", b"Transfer-Encoding: identity\r\n", b" x\r\n"]
)
def test_after_an_irregular_head_the_connection_is_not_used_again(
    origin: Origin, client: Client, fields: bytes
) -> None:
    """Another reader of the head may have seen the body end elsewhere."""
    odd = origin.add("/odd", sending(OK + fields + LENGTH + b"\r\n" + PICTURE))
    plain = origin.add("/plain", sending(OK + LENGTH + b"\r\n" + PICTURE))
    for url in (plain, plain, odd, plain):
        client.get(url)
    assert len(origin.clients) == 2


@pytest.mark.parametrize("coding", [b"Transfer-Encoding: chunked", b"Transfer-Encoding:Chunked"])
def test_after_a_chunked_response_the_connection_is_used_again(
    origin: Origin, client: Client, coding: bytes
) -> None:
    """The order of nginx: other fields follow."""
    fields = b"Server: nginx\r\n" + coding + b"\r\nConnection: keep-alive\r\nVary: Accept\r\n\r\n"
    url = origin.add("/", sending(OK + fields + CHUNKED))
    for _ in range(5):
        assert client.get(url).content == PICTURE
    assert len(origin.clients) == 1


def test_interim_responses_are_mended_as_well(origin: Origin, client: Client) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink : x\r\nno colon\r\n\r\n"
    url = origin.add("/", sending(hints + b"HTTP/1.1 100\r\n\r\n" + OK + LENGTH + b"\r\n" + PICTURE))
    assert client.get(url).content == PICTURE


def test_interim_responses_have_an_end(origin: Origin, client: Client) -> None:
    url = origin.add("/", sending(b"HTTP/1.1 100 Continue\r\n\r\n" * 5_000))
    with pytest.raises(httpx.RemoteProtocolError, match="interim"):
        client.get(url)


def test_a_head_is_bounded_whatever_is_wrong_with_it(origin: Origin, client: Client) -> None:
    url = origin.add("/", sending(OK + b"no colon\r\n" * MAX_HEAD_BYTES))
    with pytest.raises(httpx.RemoteProtocolError, match="too long"):
        client.get(url)


def test_a_head_may_arrive_in_any_pieces(origin: Origin, client: Client) -> None:
    data = b"http/1.1 200 OK\r\nX Y: z\r\n" + LENGTH + b"\r\n" + PICTURE

    def answer(handler: Handler) -> None:
        cut = int(handler.path.removeprefix("/"))
        handler.wfile.write(data[:cut])
        handler.wfile.flush()
        handler.wfile.write(data[cut:])

    for cut in range(1, 60):
        assert client.get(origin.add(f"/{cut}", answer)).content == PICTURE, cut


@pytest.mark.parametrize(
    "head",
    [
        OK + b"\r\n",
        OK + LENGTH + b'ETag: "1"\r\nX-Name:no blank\r\nX-Empty:\r\n\r\n',
        b"HTTP/1.1 404\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n",
        OK + b"transfer-encoding:Chunked\r\nX: y\r\n\r\n",
        b"HTTP/1.0 200 M\xf6bel\r\n\r\n",
    ],
)
def test_a_regular_head_stays_as_it_is(head: bytes) -> None:
    assert tidied(head) == head
