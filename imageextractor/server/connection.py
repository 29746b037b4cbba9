"""One connection of a client: what has arrived on it, and what waits to be sent."""

import socket
import time
from collections.abc import Iterator
from enum import Enum, auto
from typing import Any

from django.conf import settings
from gunicorn.http.errors import LimitRequestHeaders

from imageextractor.server.body import Body
from imageextractor.server.shares import Client

#: Bytes received at a time, while a body of known length arrives or what arrives is discarded, and otherwise.
#: Chunks of one byte make decoding expensive, so that a client gets a small piece decoded before others.
RECEIVE_BYTES, RECEIVE_ENCODED_BYTES = 65_536, 4_096
MAX_HEAD_BYTES = 65_536
#: A client has to send a body, and to receive a response, at this rate in each window of time.
WINDOW_SECONDS = 60 * settings.TEST_TIME_SCALE
MIN_BYTES_PER_WINDOW = 1_000_000


class Phase(Enum):
    """The state of a connection: the next thing that it waits for."""

    IDLE = auto()  # the next request
    HEAD = auto()
    BODY = auto()
    APPLICATION = auto()  # a thread; until then nothing is read or sent
    SENDING = auto()  # the client to receive
    CLOSING = auto()  # the client to close; what it still sends is discarded


class Connection:
    """State of a connection. The loop owns it, and a thread while the phase is APPLICATION.

    It stands in for the socket where gunicorn writes a response: what the kernel does not take at once is
    kept.
    """

    def __init__(self, sock: socket.socket, address: Any, server: Any, client: Client) -> None:
        sock.setblocking(False)
        self.sock, self.address, self.server = sock, address, server
        self.client = client
        self.phase = Phase.HEAD
        self.deadline = 0.0  # by the monotonic clock; not used in the phase APPLICATION
        self.received = bytearray()
        self.searched = 0  # bytes of `received` that do not begin the end of a head
        self.requests = 0
        self.request: Any = None
        self.body: Body | None = None
        self.stored_bytes = 0  # of the body, as counted in the client's share
        self.response: Any = None
        self.environ: dict[str, Any] = {}
        self.result: Any = None  # the iterable that the application returned
        self.pieces: Iterator[bytes] | None = None
        self.started_at = 0.0
        self.must_close = False
        self.broken = False
        self._outgoing = bytearray()
        self._window_bytes = 0

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the response that the kernel has not taken yet."""
        return len(self._outgoing)

    def receive(self) -> bool:
        """Take what has arrived. Returns False if the client has ended its side."""
        try:
            data = self.sock.recv(self._receive_bytes())
        except (BlockingIOError, InterruptedError):
            return True
        self._window_bytes += len(data)
        if self.phase is not Phase.CLOSING:
            self.received += data
        return bool(data)

    def take_head(self) -> bytes | None:
        """Return the head of the next request, once it is complete. Raises gunicorn's LimitRequestHeaders."""
        end = self.received.find(b"\r\n\r\n", max(0, self.searched - 3))
        self.searched = len(self.received)
        if (end < 0 and self.searched > MAX_HEAD_BYTES) or end > MAX_HEAD_BYTES:
            raise LimitRequestHeaders(f"The head is larger than {MAX_HEAD_BYTES:,} bytes")
        if end < 0:
            return None
        head = bytes(self.received[: end + 4])
        del self.received[: end + 4]
        self.searched = 0
        self.requests += 1
        return head

    def _receive_bytes(self) -> int:
        if self.phase is Phase.CLOSING:
            return RECEIVE_BYTES
        missing = self.body.missing_bytes if self.body else 0
        return min(max(missing, RECEIVE_ENCODED_BYTES), RECEIVE_BYTES)

    def begin_window(self) -> None:
        """Start measuring the rate of the client."""
        self._window_bytes = 0
        self.deadline = time.monotonic() + WINDOW_SECONDS

    def is_too_slow(self) -> bool:
        """Return whether the client missed the rate in the window that has ended; begin the next if not."""
        if self._window_bytes < MIN_BYTES_PER_WINDOW:
            return True
        self.begin_window()
        return False

    # --- As gunicorn uses a socket -------------------------------------------------------------------------

    def sendall(self, data: bytes) -> None:
        self._outgoing += data

    send = sendall

    def gettimeout(self) -> float:
        """Return the timeout of a socket that never blocks."""
        return 0.0

    # -------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Hand the kernel as much as it takes. Raises OSError if the client has gone."""
        while self._outgoing:
            try:
                sent = self.sock.send(memoryview(self._outgoing)[:262_144])
            except (BlockingIOError, InterruptedError):
                return
            del self._outgoing[:sent]
            self._window_bytes += sent
