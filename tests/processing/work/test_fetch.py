import gzip
import socket
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import httpx
import pytest

from processing.http.content_encoding import INFLATE_BYTES, Inflater
from processing.work.fetch import Fetched, FetchError
from tests.support.clients import fetch, transport
from tests.support.origin import Answer, Handler, Origin

URL = "http://shop.example/red.jpg"
PICTURE = bytes(range(256)) * 4


@pytest.fixture
def real_transport() -> Iterator[httpx.AsyncBaseTransport]:
    with transport("127.0.0.1") as guarded:
        yield guarded


def answering(answer: httpx.Response | Callable[[httpx.Request], httpx.Response]) -> httpx.AsyncBaseTransport:
    return httpx.MockTransport(answer if callable(answer) else lambda _: answer)


def fetched(transport: httpx.AsyncBaseTransport, url: str = URL) -> Fetched:
    return fetch(transport, url, timeout=60, max_bytes=10_000, user_agent="tests/1")


def failure(
    transport: httpx.AsyncBaseTransport, url: str = URL, *, timeout: float = 20, max_bytes: int = 10_000
) -> FetchError:
    with pytest.raises(FetchError) as caught:
        fetch(transport, url, timeout=timeout, max_bytes=max_bytes)
    return caught.value


def raising(error: Exception) -> httpx.AsyncBaseTransport:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    return answering(answer)


def redirecting(table: dict[str, str]) -> httpx.AsyncBaseTransport:
    """Redirects each URL to what the table says; others answer with themselves."""

    def answer(request: httpx.Request) -> httpx.Response:
        location = table.get(str(request.url))
        if location is None:
            return httpx.Response(200, text=str(request.url))
        return httpx.Response(302, headers=[(b"Location", location.encode())])

    return answering(answer)


def test_a_picture_comes_with_the_url_it_was_found_at() -> None:
    found = fetched(answering(httpx.Response(200, content=PICTURE)))
    assert (found.data, found.version.url) == (PICTURE, URL)


def test_a_picture_is_asked_for_uncompressed(
    origin: Origin, real_transport: httpx.AsyncBaseTransport
) -> None:
    url = origin.add("/red.jpg", PICTURE)
    assert fetched(real_transport, url).data == PICTURE
    assert origin.received[0].headers["accept"] == "image/*,*/*;q=0.8"
    assert origin.received[0].headers["accept-encoding"] == "identity"
    assert origin.received[0].headers["user-agent"] == "tests/1"


@pytest.mark.parametrize(
    ("url", "requested"),
    [
        ("http://shop.example/red car.jpg", "http://shop.example/red%20car.jpg"),
        ("http://shop.example/a%20b.jpg", "http://shop.example/a%20b.jpg"),
        (
            "http://shop.example/größe.jpg?für=ä b",
            "http://shop.example/gr%C3%B6%C3%9Fe.jpg?f%C3%BCr=%C3%A4%20b",
        ),
        ("http://bücher.example/a.jpg", "http://xn--bcher-kva.example/a.jpg"),
        ("http://shop.example/w_300,h_200;q|x/a.jpg", "http://shop.example/w_300,h_200;q|x/a.jpg"),
        ("http://shop.example/fetch/https://other.example/a.jpg", None),
        ("http://shop.example:8080/a.jpg", None),
        (" \nHTTP://Shop.Example/a.jpg ", "http://shop.example/a.jpg"),
        ("//shop.example/a.jpg", "https://shop.example/a.jpg"),
    ],
)
def test_an_address_is_requested_as_a_browser_would(url: str, requested: str | None) -> None:
    assert fetched(redirecting({}), url).data.decode() == (requested or url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "red.jpg",
        "/red.jpg",
        "//",
        "http://",
        "http:///red.jpg",
        "http://[",
        "http://[::1",
        "http://[fe80::1%25eth0]/",
        "http://1.2.3.256/",
        "http://shop.example:99999/",
        "http://shop.example:0/",
        "http://shop.example:-1/",
        "http://shop.example:eighty/",
        "http://shop .example/",
        "http://shop\\images\\red.jpg",
        "http://☃☃--.example/",
        "http://xn--zz--zz/",
        "http://" + "ü" * 64 + ".example/",
        "http://shop.example/re\x00d.jpg",
        "http://shop.example/\nred.jpg",
        "http://shop.example/\udc80.jpg",
        "http://shop.example/" + "x" * 70_000,
        "http://user:secret@shop.example/",
        "http://user@shop.example/",
        "ftp://shop.example/red.jpg",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
    ],
)
def test_what_is_no_web_address_is_an_invalid_url(url: str) -> None:
    error = failure(redirecting({}), url)
    assert error.code == "invalid_url"
    assert error.permanent


@pytest.mark.parametrize(
    ("location", "final"),
    [
        ("https://cdn.example/b.jpg", "https://cdn.example/b.jpg"),
        ("/b.jpg", "http://shop.example/b.jpg"),
        ("b.jpg", "http://shop.example/b.jpg"),
        ("?size=2", "http://shop.example/red.jpg?size=2"),
        ("//cdn.example/b.jpg", "http://cdn.example/b.jpg"),
        ("/ü b.jpg", "http://shop.example/%C3%BC%20b.jpg"),
    ],
)
def test_a_redirect_is_followed(location: str, final: str) -> None:
    found = fetched(redirecting({URL: location}))
    assert (found.data, found.version.url) == (final.encode(), final)


def test_a_redirect_in_utf_8_is_followed_beside_a_header_in_latin_1(
    origin: Origin, real_transport: httpx.AsyncBaseTransport
) -> None:
    def redirect(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 302 Found\r\nX-Shop: M\xf6bel\r\nContent-Length: 0\r\n")
        handler.wfile.write("Location: /größe.jpg\r\n\r\n".encode())

    origin.add("/gr%C3%B6%C3%9Fe.jpg", PICTURE)
    assert fetched(real_transport, origin.add("/red.jpg", redirect)).data == PICTURE


def ask_for_cookie(handler: Handler) -> None:
    """Redirect to the same address with a cookie until the cookie is sent back."""
    if "visitor=1" in handler.received.headers.get("cookie", ""):
        handler.answer(Answer(PICTURE))
    else:
        headers = {"Location": handler.path, "Set-Cookie": "visitor=1; Path=/"}
        handler.answer(Answer(status=302, headers=headers))


def test_a_cookie_lives_as_long_as_the_redirects(
    origin: Origin, real_transport: httpx.AsyncBaseTransport
) -> None:
    url = origin.add("/red.jpg", ask_for_cookie)
    for _ in range(2):
        assert fetched(real_transport, url).data == PICTURE
    cookies = [received.headers.get("cookie") for received in origin.received]
    assert cookies == [None, "visitor=1"] * 2


def test_a_cookie_goes_to_no_other_host(origin: Origin, real_transport: httpx.AsyncBaseTransport) -> None:
    with Origin(host="localhost") as other:
        target = other.add("/blue.jpg", PICTURE)
        headers = {"Location": target, "Set-Cookie": "visitor=1"}
        url = origin.add("/red.jpg", Answer(status=302, headers=headers))
        assert fetched(real_transport, url).data == PICTURE
        assert "cookie" not in other.received[0].headers


@pytest.mark.parametrize(
    "location",
    [
        "ftp://shop.example/b.jpg",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "http://user:secret@shop.example/",
        "http://[",
        "//[::1",
        "http://shop.example:eighty/",
        "http://shop.example:99999/",
        "http://☃☃--.example/",
        "http://xn--zz--zz/",
    ],
)
def test_a_redirect_to_what_is_no_web_address_is_an_invalid_url(location: str) -> None:
    error = failure(redirecting({URL: location}))
    assert error.code == "invalid_url"
    assert error.permanent


def test_five_redirects_are_followed_and_a_sixth_is_not() -> None:
    hops = [f"http://shop.example/{number}" for number in range(7)]
    transport = redirecting(dict(pairwise(hops)))
    assert fetched(transport, hops[1]).version.url == hops[6]
    error = failure(transport, hops[0])
    assert error.code == "too_many_redirects"
    assert error.permanent


def test_a_redirect_into_a_private_network_is_blocked(
    origin: Origin, real_transport: httpx.AsyncBaseTransport
) -> None:
    url = origin.add(
        "/red.jpg", Answer(status=302, headers={"Location": "http://127.0.0.2/latest/meta-data"})
    )
    error = failure(real_transport, url)
    assert error.code == "blocked_address"
    assert error.permanent
    assert "127.0.0.2" in error.detail


@pytest.mark.parametrize(
    ("status", "permanent"),
    [
        (304, True),
        (400, True),
        (401, True),
        (403, True),
        (404, True),
        (408, False),
        (410, True),
        (425, False),
        (429, False),
        (500, False),
        (503, False),
        (999, True),
    ],
)
def test_a_status_tells_whether_trying_again_makes_sense(status: int, permanent: bool) -> None:
    error = failure(answering(httpx.Response(status)))
    assert error.code == f"http_{status}"
    assert error.permanent is permanent
    assert str(status) in error.detail
    assert "shop.example" in error.detail


@pytest.mark.parametrize(
    ("status", "value", "seconds"),
    [
        (429, "120", 120),
        (503, "120", 120),
        (503, "99999999999999999999", 86_400),
        (429, "Fri, 31 Dec 1999 23:59:59 GMT", 0),
        (429, "Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        (429, "-5", None),
        (429, "soon", None),
        (429, "Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None),
        (429, "", None),
        (500, "120", None),
    ],
)
def test_retry_after_is_heeded_for_a_day_at_most(status: int, value: str, seconds: float | None) -> None:
    error = failure(answering(httpx.Response(status, headers={"Retry-After": value})))
    assert error.retry_after == seconds


def test_retry_after_may_be_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    error = failure(answering(httpx.Response(429, headers={"Retry-After": date})))
    assert error.retry_after == pytest.approx(3600, abs=120)


def test_a_body_as_long_as_allowed_is_taken() -> None:
    assert len(fetched(answering(httpx.Response(200, content=bytes(10_000)))).data) == 10_000


def test_a_body_announced_as_too_long_is_not_read(
    origin: Origin, real_transport: httpx.AsyncBaseTransport
) -> None:
    url = origin.add("/red.jpg", Answer(bytes(20_000), stall_after=0))
    error = failure(real_transport, url)
    assert error.code == "too_large"
    assert error.permanent


def test_a_body_of_unknown_length_is_cut_off_when_too_long(
    origin: Origin, real_transport: httpx.AsyncBaseTransport
) -> None:
    def send_for_ever(handler: Handler) -> None:
        handler.send_response_only(200)
        handler.end_headers()
        while not handler.origin.stopping.is_set():
            handler.wfile.write(bytes(1000))

    assert failure(real_transport, origin.add("/red.jpg", send_for_ever)).code == "too_large"


@pytest.mark.parametrize(
    "encoding",
    [
        *("", "identity", "identity, identity", "none", "binary", "utf-8", "base64", "aws-chunked"),
        *("image/jpeg", "compress", "ü", ", ,"),
    ],
)
def test_an_encoding_that_is_none_is_accepted(
    origin: Origin, real_transport: httpx.AsyncBaseTransport, encoding: str
) -> None:
    url = origin.add("/red.jpg", Answer(PICTURE, headers={"Content-Encoding": encoding}))
    assert fetched(real_transport, url).data == PICTURE


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_one_layer_of_gzip_is_undone(
    origin: Origin, real_transport: httpx.AsyncBaseTransport, encoding: str
) -> None:
    url = origin.add("/red.jpg", Answer(gzip.compress(PICTURE), headers={"Content-Encoding": encoding}))
    assert fetched(real_transport, url).data == PICTURE


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


@pytest.mark.parametrize("encoding", ["deflate", "Deflate, identity", "aws-chunked,deflate"])
@pytest.mark.parametrize("compress", [zlib.compress, raw_deflate])
def test_deflate_is_undone_with_and_without_the_header_of_zlib(
    origin: Origin,
    real_transport: httpx.AsyncBaseTransport,
    encoding: str,
    compress: Callable[[bytes], bytes],
) -> None:
    url = origin.add("/red.jpg", Answer(compress(PICTURE), headers={"Content-Encoding": encoding}))
    assert fetched(real_transport, url).data == PICTURE


@pytest.mark.parametrize("compress", [zlib.compress, raw_deflate])
def test_deflate_may_arrive_byte_by_byte(compress: Callable[[bytes], bytes]) -> None:
    pieces = (bytes([byte]) for byte in compress(PICTURE))
    inflater = Inflater("deflate")
    assert b"".join(part for piece in pieces for part in inflater.decode(piece)) == PICTURE
    inflater.finish()


def test_what_is_left_in_the_inflater_at_the_end_of_the_data_is_not_lost() -> None:
    for size in range(INFLATE_BYTES, INFLATE_BYTES + 60):
        inflater = Inflater("deflate")
        assert sum(map(len, inflater.decode(raw_deflate(bytes(size))))) == size
        inflater.finish()


def test_gzip_that_inflates_beyond_the_limit_is_too_large_before_it_fills_the_memory(
    origin: Origin, real_transport: httpx.AsyncBaseTransport
) -> None:
    bomb = gzip.compress(bytes(8_000_000))
    url = origin.add("/red.jpg", Answer(bomb, headers={"Content-Encoding": "gzip"}))
    assert len(bomb) < 10_000
    tracemalloc.start()
    try:
        assert failure(real_transport, url).code == "too_large"
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", PICTURE),
        ("gzip", gzip.compress(PICTURE)[:-10]),
        ("deflate", PICTURE),
        ("deflate", b""),
        ("deflate", b"x"),
        ("deflate", zlib.compress(PICTURE)[:-10]),
    ],
)
def test_an_encoding_that_the_data_does_not_have_is_no_picture(
    origin: Origin, real_transport: httpx.AsyncBaseTransport, encoding: str, body: bytes
) -> None:
    url = origin.add("/red.jpg", Answer(body, headers={"Content-Encoding": encoding}))
    error = failure(real_transport, url)
    assert error.code == "not_an_image"
    assert error.permanent
    assert encoding in error.detail


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "deflate, gzip", "gzip, br"])
def test_an_encoding_that_is_not_supported_is_refused_by_name(
    origin: Origin, real_transport: httpx.AsyncBaseTransport, encoding: str
) -> None:
    url = origin.add("/red.jpg", Answer(PICTURE, headers={"Content-Encoding": encoding}))
    error = failure(real_transport, url)
    assert (error.code, error.permanent) == ("unsupported_format", True)
    assert encoding in error.detail


@pytest.mark.parametrize("status", [200, 204])
def test_an_empty_answer_is_not_an_image(status: int) -> None:
    error = failure(answering(httpx.Response(status)))
    assert error.code == "not_an_image"
    assert error.permanent


def test_the_time_counts_over_all_redirects(origin: Origin, real_transport: httpx.AsyncBaseTransport) -> None:
    origin.add("/red.jpg", Answer(status=302, headers={"Location": "/red.jpg"}, delay=0.2))
    error = failure(real_transport, origin.url("/red.jpg"), timeout=0.5)
    assert error.code == "timeout"
    assert not error.permanent
    assert "0.5 seconds" in error.detail


def test_a_stalled_body_is_a_timeout(origin: Origin, real_transport: httpx.AsyncBaseTransport) -> None:
    url = origin.add("/red.jpg", Answer(PICTURE, stall_after=100))
    assert failure(real_transport, url, timeout=0.2).code == "timeout"


def short_body(handler: Handler) -> None:
    handler.answer(Answer(b"half", headers={"Content-Length": "8", "Connection": "close"}))


def broken_chunks(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense\r\n")


def missing_chunk(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
    handler.close_connection = True


def no_answer(handler: Handler) -> None:
    handler.close_connection = True


def no_http(handler: Handler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n")
    handler.close_connection = True


def endless_header(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 500_000)


def contradictory_lengths(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nhalf")


@pytest.mark.parametrize(
    "behaviour",
    [short_body, broken_chunks, missing_chunk, no_answer, no_http, endless_header, contradictory_lengths],
)
def test_an_answer_that_is_broken_may_be_asked_for_again(
    origin: Origin, real_transport: httpx.AsyncBaseTransport, behaviour: Callable[[Handler], None]
) -> None:
    error = failure(real_transport, origin.add("/red.jpg", behaviour))
    assert error.code == "connect"
    assert not error.permanent


def test_a_refused_connection_may_be_tried_again(real_transport: httpx.AsyncBaseTransport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    error = failure(real_transport, f"http://127.0.0.1:{port}/")
    assert error.code == "connect"
    assert not error.permanent


@pytest.mark.parametrize(("reason", "permanent"), [(socket.EAI_NONAME, True), (socket.EAI_AGAIN, False)])
def test_an_unknown_name_is_permanent_and_a_failed_lookup_is_not(
    real_transport: httpx.AsyncBaseTransport, monkeypatch: pytest.MonkeyPatch, reason: int, permanent: bool
) -> None:
    def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(reason, "")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    error = failure(real_transport)
    assert error.code == "dns"
    assert error.permanent is permanent
    assert "shop.example" in error.detail


def test_a_server_without_tls_is_a_permanent_tls_failure(
    origin: Origin, real_transport: httpx.AsyncBaseTransport
) -> None:
    error = failure(real_transport, f"https://127.0.0.1:{origin.port}/")
    assert error.code == "tls"
    assert error.permanent


@pytest.mark.parametrize("status", [302, 404, 500])
def test_the_connection_serves_again_after_an_answer_without_a_picture(
    origin: Origin, real_transport: httpx.AsyncBaseTransport, status: int
) -> None:
    origin.add("/red.jpg", Answer(b"moved or gone", status=status, headers={"Location": "/blue.jpg"}))
    origin.add("/blue.jpg", PICTURE)
    if status == 302:
        assert fetched(real_transport, origin.url("/red.jpg")).data == PICTURE
    else:
        failure(real_transport, origin.url("/red.jpg"))
        fetched(real_transport, origin.url("/blue.jpg"))
    assert len(origin.clients) == 1


@pytest.mark.timeout(25)
def test_an_endless_error_page_is_hung_up_on(
    origin: Origin, real_transport: httpx.AsyncBaseTransport
) -> None:
    def deny_for_ever(handler: Handler) -> None:
        handler.send_response_only(404)
        handler.end_headers()
        while not handler.origin.stopping.is_set():
            handler.wfile.write(bytes(1000))

    assert failure(real_transport, origin.add("/red.jpg", deny_for_ever), timeout=1000).code == "http_404"
