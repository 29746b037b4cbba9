"""A gunicorn worker that gives a thread only to complete requests.

One loop accepts connections, reads heads and bodies, and sends responses, all without blocking. Threads run
the application (`application.py`), for a piece of the response at a time.
"""

import errno
import os
import selectors
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.conf import settings
from gunicorn import util
from gunicorn.http.message import Request
from gunicorn.http.unreader import IterUnreader
from gunicorn.workers.base import Worker
from gunicorn.workers.gthread import PollableMethodQueue

from imageextractor.server.application import LOW_WATER_BYTES, Application
from imageextractor.server.body import Body
from imageextractor.server.connection import Connection, Phase
from imageextractor.server.errors import ErrorWriter
from imageextractor.server.shares import Client, Shares

#: Seconds in which a head has to be received, counted from its first byte or from the connection.
HEAD_SECONDS = 20 * settings.TEST_TIME_SCALE
#: How long a connection that is closed may still send what is discarded, so that the response arrives.
LINGER_SECONDS = 2
#: How long a worker that stops keeps idle connections, since a request may be on its way.
STOP_IDLE_SECONDS = 2
TICK_SECONDS = 1.0
WITHOUT_REQUEST = (Phase.CLOSING, Phase.IDLE, Phase.HEAD)


class BufferingWorker(Worker):  # type: ignore[misc]
    """Serves HTTP/1.1 without TLS, which is the business of a proxy."""

    alive: bool

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        if cfg.is_ssl:
            raise SystemExit("Error: the web server speaks no TLS; put a proxy in front that does.")

    def init_process(self) -> None:
        self._threads = ThreadPoolExecutor(self.cfg.threads)
        self._application = Application(self)
        self._poller = selectors.DefaultSelector()
        self._calls = PollableMethodQueue()
        self._calls.init()
        self._connections: set[Connection] = set()
        self._shares = Shares(self.cfg)
        self._accepting = False
        self._accept_again_at = 0.0
        super().init_process()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to stop."""
        super().handle_exit(sig, frame)
        self._calls.defer(lambda: None)  # wakes the loop

    def run(self) -> None:
        self._poller.register(self._calls.fileno(), selectors.EVENT_READ, self._calls.run_callbacks)
        while self.alive and self.ppid == os.getppid():
            self._accept_connections(time.monotonic() >= self._accept_again_at and self._has_room())
            self._serve_events()
        self._stop()

    def _serve_events(self) -> None:
        self.notify()
        for key, _ in self._poller.select(TICK_SECONDS):
            key.data(key.fileobj)
        self._enforce_deadlines()

    def _stop(self) -> None:
        """Answer the requests that have begun."""
        self._accept_connections(False)
        now = time.monotonic()
        for connection in self._connections:
            if connection.phase is Phase.IDLE or (connection.phase is Phase.HEAD and not connection.received):
                connection.deadline = min(connection.deadline, now + STOP_IDLE_SECONDS)
        while self._connections and time.monotonic() < now + self.cfg.graceful_timeout:
            self._serve_events()
        for connection in list(self._connections):
            if connection.phase is not Phase.APPLICATION:
                self._close(connection)
        self._threads.shutdown(wait=False)

    # --- Accepting -----------------------------------------------------------------------------------------

    def _accept_connections(self, enabled: bool) -> None:
        if enabled != self._accepting:
            for listener in self.sockets:
                if enabled:
                    self._poller.register(listener, selectors.EVENT_READ, self._accept)
                else:
                    self._poller.unregister(listener)
        self._accepting = enabled

    def _has_room(self) -> bool:
        return len(self._connections) < self.cfg.worker_connections or self._dispensable() is not None

    def _dispensable(self, client: Client | None = None) -> Connection | None:
        """Return a connection, of `client` if given, that may be closed for a new one.

        That is one without a complete request; the one that waits longest.
        """
        candidates = (
            one for one in self._connections if one.phase in WITHOUT_REQUEST and client in {None, one.client}
        )
        order = WITHOUT_REQUEST.index
        return min(candidates, key=lambda one: (order(one.phase), one.deadline), default=None)

    def _accept(self, listener: Any) -> None:
        try:
            sock, address = listener.accept()
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
                self.log.warning("No connection is accepted for a second: %s", error)
                self._accept_again_at = time.monotonic() + TICK_SECONDS
                self._accept_connections(False)
            return  # another worker was faster, or the client has gone
        client = self._shares.client(address)
        connection = Connection(sock, address, listener.getsockname(), client)
        if not self._shares.may_connect(client):
            if (dispensable := self._dispensable(client)) is None:
                util.close(sock)
                return
            self._close(dispensable)
        elif len(self._connections) >= self.cfg.worker_connections and (dispensable := self._dispensable()):
            self._close(dispensable)
        self._connections.add(connection)
        self._shares.connect(client)
        connection.deadline = time.monotonic() + HEAD_SECONDS
        self._wait_for(connection, selectors.EVENT_READ)

    # --- Reading -------------------------------------------------------------------------------------------

    def _wait_for(self, connection: Connection, event: int) -> None:
        """Have `_ready` called when the socket can be read or written."""
        self._forget(connection)
        self._poller.register(connection.sock, event, lambda _sock: self._ready(connection))

    def _forget(self, connection: Connection) -> None:
        try:
            self._poller.unregister(connection.sock)
        except (KeyError, ValueError):
            return  # it was not waited for

    def _ready(self, connection: Connection) -> None:
        try:
            if connection.phase is Phase.SENDING:
                self._send(connection)
            elif connection.receive():
                self._advance(connection)
            elif connection.phase is Phase.BODY:
                self._refuse(connection, 400, "Bad Request", "The request ended before its body.")
            else:
                self._close(connection)
        except OSError:
            self._close(connection)

    def _advance(self, connection: Connection) -> None:
        """Process what has been received."""
        try:
            if connection.phase is Phase.IDLE and connection.received:
                connection.phase = Phase.HEAD
                connection.deadline = time.monotonic() + HEAD_SECONDS
            if connection.phase is Phase.HEAD:
                self._read_head(connection)
            if connection.phase is Phase.BODY and connection.body:
                self._read_body(connection, connection.body)
        except Exception as error:
            self.handle_error(connection.request, connection, connection.address, error)
            self._finish(connection, must_close=True)

    def _read_head(self, connection: Connection) -> None:
        if not (head := connection.take_head()):
            return
        request = Request(self.cfg, IterUnreader([head]), connection.address, connection.requests)
        connection.request, connection.body = request, Body(request)
        connection.phase = Phase.BODY
        connection.begin_window()
        if request._expected_100_continue and not (connection.received or connection.body.complete):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            connection.flush()
        request._expected_100_continue = False

    def _read_body(self, connection: Connection, body: Body) -> None:
        if not body.complete and connection.received:
            connection.received = bytearray(body.feed(bytes(connection.received)))
            added, connection.stored_bytes = body.size - connection.stored_bytes, body.size
            if not self._shares.store(connection.client, added):
                body.fail()
        if body.complete:
            self._forget(connection)
            connection.must_close = body.too_large
            self._run(connection)

    def _refuse(self, connection: Connection, status: int, reason: str, detail: str) -> None:
        """Answer without the application, and close."""
        util.write_error(ErrorWriter(connection), status, reason, detail)
        self._finish(connection, must_close=True)

    def handle_error(self, request: Any, client: Any, address: Any, error: BaseException) -> None:
        super().handle_error(request, ErrorWriter(client), address, error)

    def _run(self, connection: Connection) -> None:
        """Have a thread run the application, or generate more of its response."""
        connection.phase = Phase.APPLICATION
        self._threads.submit(self._work, connection)

    def _work(self, connection: Connection) -> None:
        try:
            self._application.respond(connection)
        finally:
            self._calls.defer(self._after_work, connection)

    # --- Sending -------------------------------------------------------------------------------------------

    def _after_work(self, connection: Connection) -> None:
        try:
            if connection.broken:
                self._close(connection)
            elif connection.waiting_bytes:
                connection.phase = Phase.SENDING
                connection.begin_window()
                self._wait_for(connection, selectors.EVENT_WRITE)
            else:
                self._go_on(connection)
        except OSError:  # the client has gone
            self._close(connection)

    def _send(self, connection: Connection) -> None:
        connection.flush()
        if connection.waiting_bytes <= (LOW_WATER_BYTES if connection.result is not None else 0):
            self._forget(connection)
            self._go_on(connection)

    def _go_on(self, connection: Connection) -> None:
        """Have more of the response generated or, if that was all, go on to the next request."""
        if connection.result is not None:
            self._run(connection)
        else:
            response = connection.response
            self._finish(connection, must_close=response is None or response.should_close())

    def _finish(self, connection: Connection, *, must_close: bool) -> None:
        """Go on to the next request of the connection, or close it."""
        self._release_body(connection)
        connection.request = connection.response = None
        if must_close or connection.must_close:
            self._close_gently(connection)
            return
        connection.phase = Phase.IDLE
        idle_seconds = self.cfg.keepalive if self.alive else STOP_IDLE_SECONDS
        connection.deadline = time.monotonic() + idle_seconds
        self._wait_for(connection, selectors.EVENT_READ)
        self._advance(connection)  # the next request may have been received already

    def _release_body(self, connection: Connection) -> None:
        if connection.body:
            self._shares.store(connection.client, -connection.stored_bytes)
            connection.body.close()
            connection.body, connection.stored_bytes = None, 0

    # --- Closing -------------------------------------------------------------------------------------------

    def _close_gently(self, connection: Connection) -> None:
        """Say that nothing more follows, and wait for the client: closing at once could lose the response."""
        connection.flush()
        connection.phase = Phase.CLOSING
        connection.deadline = time.monotonic() + LINGER_SECONDS
        connection.sock.shutdown(socket.SHUT_WR)
        self._wait_for(connection, selectors.EVENT_READ)

    def _close(self, connection: Connection) -> None:
        if connection not in self._connections:
            return
        self._forget(connection)
        self._release_body(connection)
        if connection.result is not None:
            self._threads.submit(self._application.end, connection)
        self._connections.remove(connection)
        self._shares.disconnect(connection.client)
        util.close(connection.sock)

    def _enforce_deadlines(self) -> None:
        now = time.monotonic()
        for connection in list(self._connections):
            if connection.phase is Phase.APPLICATION or now < connection.deadline:
                continue
            try:
                self._end_of_time(connection)
            except OSError:
                self._close(connection)

    def _end_of_time(self, connection: Connection) -> None:
        """Act on the deadline of a connection."""
        if connection.phase is Phase.HEAD and connection.received:
            self._refuse(connection, 408, "Request Timeout", "The head of the request took too long.")
        elif connection.phase is Phase.BODY:
            if connection.is_too_slow():
                self._refuse(connection, 408, "Request Timeout", "The body of the request took too long.")
        elif connection.phase is not Phase.SENDING or connection.is_too_slow():
            self._close(connection)
