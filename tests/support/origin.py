"""A small real HTTP/1.1 origin on loopback, for tests where sockets matter.

    with Origin() as origin:
        url = origin.add("/red.jpg", Answer(jpeg, delay=0.1))
        ...
        assert origin.count("/red.jpg") == 1

By hand, it serves the files of a directory:

    python -m tests.support.origin --port 8001 --directory pictures --delay 0.3
"""

import argparse
import socket
import ssl
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a path, `delay` seconds after the request; its Content-Length is added unless given.

    With `stall_after` only so many bytes of the body are sent, and then nothing more while the origin lives.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    stall_after: int | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it arrived; `target` is its path with the query, header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Handler(BaseHTTPRequestHandler):
    """One connection. A route that is a callable gets it once `received` is there, and may write anything."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    origin: "Origin"  # set on the subclass that each Origin makes
    received: Received

    def setup(self) -> None:
        super().setup()
        self.origin.clients.append(self.client_address)
        self.origin.open_connections.add(self.connection)

    def finish(self) -> None:
        self.origin.open_connections.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.received = Received(self.command, self.path, headers, self.rfile.read(length))
        self.origin.received.append(self.received)
        route = self.origin.routes.get(self.path.partition("?")[0], Answer(status=404))
        if isinstance(route, Answer):
            self.answer(route)
        else:
            route(self)

    do_POST = do_PUT = do_GET

    def answer(self, answer: Answer) -> None:
        """Send `answer`."""
        self.origin.stopping.wait(answer.delay)
        self.send_response_only(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body[: answer.stall_after])
        if answer.stall_after is not None:
            self.origin.stopping.wait()
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


Route = Answer | Callable[[Handler], None]


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), OSError):  # clients under test hang up as they like
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Origin:
    """Serves `routes`, a thread per connection, from entering its `with` block to leaving it.

    `received` holds every request and `clients` the address of every connection ever made, in order.
    """

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.routes: dict[str, Route] = {}
        self.received: list[Received] = []
        self.clients: list[tuple[str, int]] = []
        self.open_connections: set[socket.socket] = set()
        self.stopping = Event()
        self._server = _Server((host, port), type("Handler", (Handler,), {"origin": self}))
        self.host = host
        self.port: int = self._server.server_address[1]
        self.scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self.open_connections):
            with suppress(OSError):  # its client has just gone
                connection.shutdown(socket.SHUT_RDWR)

    def url(self, path: str, host: str | None = None) -> str:
        """The absolute URL of `path`, for its own host or one that the test makes lead here."""
        return f"{self.scheme}://{host or self.host}:{self.port}{path}"

    def add(self, path: str, route: Route | bytes) -> str:
        """Serve `route` (bytes: an `Answer` with them) at `path`, whatever the query, and return its URL."""
        self.routes[path] = Answer(route) if isinstance(route, bytes) else route
        return self.url(path)

    def count(self, target: str) -> int:
        """Return the number of requests for exactly this path and query."""
        return sum(request.target == target for request in self.received)


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve the files of a directory from memory.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    options = parser.parse_args()
    with Origin(options.port) as origin:
        for file in options.directory.rglob("*"):
            if file.is_file():
                path = quote(file.relative_to(options.directory).as_posix())
                origin.add(f"/{path}", Answer(file.read_bytes(), delay=options.delay))
        print(origin.url("/"), flush=True)
        with suppress(KeyboardInterrupt):
            Event().wait()


if __name__ == "__main__":
    main()
