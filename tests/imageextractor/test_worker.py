"""The worker of the web server, its loop run by the test."""

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import h11
import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.http.message import Request
from gunicorn.http.unreader import IterUnreader
from gunicorn.workers.base import Worker

from imageextractor.server.body import Body
from imageextractor.server.worker import BufferingWorker
from products.models.files import StorageFull

POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"


class Server:
    """A worker that has one listener and runs `worker.wsgi`."""

    def __init__(self, listener: socket.socket) -> None:
        cfg = Config()
        self.worker = BufferingWorker(0, 0, [listener], None, 30, cfg, Logger(cfg))
        self.worker.init_process()
        self.worker.wsgi = answer
        self.worker._poller.register(self.worker._calls.fileno(), 1, self.worker._calls.run_callbacks)
        self.worker._accept_connections(True)
        self.address = listener.getsockname()

    def ask(self, request: bytes) -> bytes:
        """Return what the worker sends until it ends the connection."""
        with socket.create_connection(self.address) as client:
            client.sendall(request)
            client.settimeout(0)
            received = b""
            while True:
                self.worker._serve_events()
                try:
                    data = client.recv(65_536)
                except BlockingIOError:
                    continue
                if not data:
                    break
                received += data
        while self.worker._connections:
            self.worker._serve_events()
        return received


def answer(_environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(Worker, "init_process", lambda _worker: None)  # no signals, and no loop of its own
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.setblocking(False)
        server = Server(listener)
        yield server
        server.worker._threads.shutdown()
        server.worker._poller.close()
        server.worker._calls.close()


@pytest.mark.parametrize("body", [b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\nnonsense\r\n"])
def test_no_bytes_of_a_body_stay_counted(server: Server, body: bytes) -> None:
    server.ask(CHUNKED + body)
    assert not server.worker._shares._bytes


@pytest.mark.parametrize("before", [b"", POST + b"Content-Length: 1\r\n\r\nx"])
def test_chunks_are_decoded_a_little_at_a_time(
    server: Server, monkeypatch: pytest.MonkeyPatch, before: bytes
) -> None:
    sizes = []
    feed_chunks = Body._feed_chunks

    def spy(body: Body, chunks: h11.Connection, data: bytes) -> bytes:
        sizes.append(len(data))
        return feed_chunks(body, chunks, data)

    monkeypatch.setattr(Body, "_feed_chunks", spy)
    assert server.ask(before + CHUNKED + b"1\r\na\r\n" * 10_000 + b"0\r\n\r\n").endswith(b"ok")
    assert sum(sizes) > 59_000
    assert max(sizes) <= 4096


def fail_to_read(_environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    def read(_size: int) -> bytes:
        raise OSError("The disk does not answer")

    start_response("200 OK", [])
    return map(read, [1])


def test_an_application_that_raises_oserror_is_answered_with_500(server: Server) -> None:
    server.worker.wsgi = fail_to_read
    assert server.ask(POST + b"\r\n").startswith(b"HTTP/1.1 500 ")


class Disturbed(list[bytes]):
    """A response whose end is not orderly."""

    def close(self) -> None:
        raise SystemExit


@pytest.mark.parametrize("fault", ["access", "close", "handle_error"])
def test_a_connection_ends_whatever_fails_after_the_application(
    server: Server, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def fail(*_arguments: Any) -> None:
        raise RuntimeError

    if fault == "access":
        monkeypatch.setattr(server.worker.log, "access", fail)
    elif fault == "close":
        server.worker.wsgi = lambda environ, start_response: Disturbed(answer(environ, start_response))
    else:
        server.worker.wsgi = fail_to_read
        monkeypatch.setattr(server.worker, "handle_error", fail)
    server.ask(POST + b"\r\n")


@pytest.mark.parametrize("received_bytes", [1000, 100_000])
def test_a_body_for_which_the_disk_has_no_room_is_storage_full(received_bytes: int) -> None:
    """The small one fits the buffer of the file, so that only flushing or closing it fails."""
    head = POST + b"Content-Length: 100000\r\n\r\n"
    body = Body(Request(Config(), IterUnreader([head]), ("127.0.0.1", 1), 1))
    body.file = Path("/dev/full").open("wb")  # noqa: SIM115 (closed by the body)
    body.feed(b"x" * received_bytes)
    assert body.complete
    body.file.seek(0)
    with pytest.raises(StorageFull):
        body.file.read()
    body.close()
