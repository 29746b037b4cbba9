"""One HTTP/1.1 connection. h11 parses heads and chunked bodies; bodies with a Content-Length bypass it."""

import select
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import h11
import httpx

from processing.http.deadline import time_left

READ_BYTES = 256 * 1024
WRITE_BYTES = 16 * 1024
MAX_HEAD_BYTES = 100 * 1024


class Connection:
    """Sends one request after another, within the thread's `deadline`. Raises the exceptions of httpx.

    `is_reusable` tells whether the last response has been read to its end and another request may follow.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.is_reusable = False

    def close(self) -> None:
        self._socket.close()

    def has_input(self) -> bool:
        """Return whether the server has closed the connection, or sent data that was not requested."""
        # With TLS, the rest of a record that has been read in part is no longer in the socket.
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def ask(self, request: httpx.Request) -> tuple[h11.Response, Iterator[bytes]]:
        """Send a request. Return the head of the response, and its body piece by piece as it arrives."""
        self.is_reusable = False
        timeouts = request.extensions.get("timeout", {})
        protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._send(request, protocol, timeouts.get("write"))
        timeout = timeouts.get("read")
        while isinstance(head := self._next(protocol, timeout), h11.InformationalResponse):
            pass
        if not isinstance(head, h11.Response):
            raise httpx.RemoteProtocolError("The connection ended without a response.")
        length = _length(request, head)
        if length is None:
            return head, self._framed(protocol, timeout)
        return head, self._sized(length, head, protocol.trailing_data[0], timeout)

    def _sized(self, length: int, head: h11.Response, begun: bytes, timeout: float | None) -> Iterator[bytes]:
        """Yield a body of known length, which h11 would only copy from buffer to buffer."""
        yield begun[:length]
        left = length - len(begun)
        while left > 0:
            piece = self._read(min(left, READ_BYTES), timeout)
            if not piece:
                raise httpx.RemoteProtocolError("The connection ended before the response was complete.")
            left -= len(piece)
            yield piece
        options = b",".join(value for name, value in head.headers if name == b"connection").lower()
        self.is_reusable = left == 0 and head.http_version == b"1.1" and b"close" not in options

    def _framed(self, protocol: h11.Connection, timeout: float | None) -> Iterator[bytes]:
        while isinstance(event := self._next(protocol, timeout), h11.Data):
            yield bytes(event.data)
        is_over = protocol.our_state is protocol.their_state is h11.DONE
        self.is_reusable = is_over and not protocol.trailing_data[0]

    def _next(self, protocol: h11.Connection, timeout: float | None) -> Any:
        try:
            while (event := protocol.next_event()) is h11.NEED_DATA:
                protocol.receive_data(self._read(READ_BYTES, timeout))
        except h11.RemoteProtocolError as error:
            raise httpx.RemoteProtocolError(str(error)) from error
        return event

    def _read(self, max_bytes: int, timeout: float | None) -> bytes:
        try:
            self._socket.settimeout(time_left(timeout))
            return self._socket.recv(max_bytes)
        except TimeoutError as error:
            raise httpx.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpx.ReadError(str(error)) from error

    def _send(self, request: httpx.Request, protocol: h11.Connection, timeout: float | None) -> None:
        head = h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
        body = (h11.Data(data=part) for part in request.stream if part)  # type: ignore[union-attr]
        try:
            data = b"".join(filter(None, map(protocol.send, [head, *body, h11.EndOfMessage()])))
        except h11.LocalProtocolError as error:
            raise httpx.LocalProtocolError(str(error)) from error
        try:
            # In pieces: with TLS, the timeout starts anew whenever the server reads a few bytes.
            for start in range(0, len(data), WRITE_BYTES):
                self._socket.settimeout(time_left(timeout))
                self._socket.sendall(data[start : start + WRITE_BYTES])
        except TimeoutError as error:
            raise httpx.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpx.WriteError(str(error)) from error


def _length(request: httpx.Request, head: h11.Response) -> int | None:
    """Return the length of a body if Content-Length alone gives it, else None."""
    headers = dict(head.headers)
    if request.method != "GET" or head.status_code != 200 or b"transfer-encoding" in headers:
        return None
    length = headers.get(b"content-length")
    return None if length is None else int(length)
