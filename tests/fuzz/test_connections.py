"""Whatever bytes an origin sends over a connection: a picture's data within the limit, or a `FetchError`."""

from contextlib import suppress
from socket import create_server, socket
from threading import Thread

from hypothesis import strategies as st

from processing.work.fetch import FetchError
from tests.support.clients import fetch, transport
from tests.support.effort import fuzz

MAX_BYTES = 1000
LINES = [
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 100 Continue",
    b"HTTP/1.0 304 Not Modified",
    b"HTTP/1.1 302 Found",
    b"HTTP/9 999",
    b"Content-Length: 5",
    b"Content-Length: 99999999999999999999",
    b"Content-Length: -1",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Content-Encoding: gzip",
    b"Connection: keep-alive",
    b"Location: //[",
    b"Location: /lamp.jpg",
    b"Set-Cookie: visitor=1",
    b"X Powered By : y",
    b"Content-Encoding: deflate",
    b" folded",
    b"",
    b"5",
    b"hello",
    b"0",
    b"ffffffffffffffff;x=" + b"y" * 100,
]
lines = st.sampled_from(LINES) | st.binary(max_size=20)
answers = st.tuples(st.just(LINES[0]) | lines, st.lists(lines, max_size=12)).map(
    lambda parts: b"\r\n".join([parts[0], *parts[1]])
)


def answer_once(server: socket, answer: bytes) -> None:
    connection, _ = server.accept()
    with connection, suppress(OSError):  # the client may have seen enough
        connection.recv(65536)
        connection.sendall(answer)


@fuzz(first=answers, following=answers)
def test_any_bytes_of_an_origin(first: bytes, following: bytes) -> None:
    with create_server(("127.0.0.1", 0)) as server, transport("127.0.0.0/8", max_connections=1) as guarded:
        thread = Thread(target=answer_once, args=(server, first + following), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/lamp.jpg"
        try:
            assert len(fetch(guarded, url, timeout=60, max_bytes=MAX_BYTES).data) <= MAX_BYTES
        except FetchError as error:
            assert error.code
            assert error.detail.endswith(".")
