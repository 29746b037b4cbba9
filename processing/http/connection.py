"""One HTTP/1.1 connection. h11 parses heads, once they are tidied, and chunked bodies.

Bodies with a Content-Length bypass it.
"""

import select
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import h11
import httpx

from processing.http.deadline import time_left
from processing.http.head import HEAD_END, tidied

READ_BYTES = 256 * 1024
WRITE_BYTES = 16 * 1024
MAX_HEAD_BYTES = 100 * 1024
#: Responses such as `100 Continue` before the one that counts.
MAX_INTERIM_RESPONSES = 100


class Connection:
    """Sends one request after another, within the thread's `deadline`. Raises the exceptions of httpx.

    `is_reusable` tells whether the last response has been read to its end and another request may follow.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._is_regular = False
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
        """Send a request. Return the head of the response, and its body piece by piece as it arrives.

        After an irregular head the connection is not reused: a proxy may have read that head in another way,
        and what follows would not be the response to the next request.
        """
        self.is_reusable = False
        timeouts = request.extensions.get("timeout", {})
        protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._send(request, protocol, timeouts.get("write"))
        timeout = timeouts.get("read")
        head, begun = self._response_head(protocol, timeout)
        length = _length(request, head)
        if length is not None:
            return head, self._sized(length, head, begun, timeout)
        if begun:  # h11 takes no bytes for the end of the connection
            protocol.receive_data(begun)
        return head, self._framed(protocol, timeout)

    def _response_head(self, protocol: h11.Connection, timeout: float | None) -> tuple[h11.Response, bytes]:
        """Return the head after any interim responses, and what has been read of the body."""
        self._is_regular, begun = True, b""
        for _ in range(MAX_INTERIM_RESPONSES + 1):
            raw, begun = self._head(begun, timeout)
            regular = tidied(raw)
            self._is_regular = self._is_regular and regular == raw
            protocol.receive_data(regular)
            if isinstance(head := self._next(protocol, timeout), h11.Response):
                return head, begun
        raise httpx.RemoteProtocolError("There are too many interim responses.")

    def _head(self, begun: bytes, timeout: float | None) -> tuple[bytes, bytes]:
        """Return a head, of which `begun` has been read, and what has been read after it."""
        head = bytearray(begun)
        searched = 0
        while not (end := HEAD_END.search(head, searched)):
            if len(head) > MAX_HEAD_BYTES:
                raise httpx.RemoteProtocolError("The head of the response is too long.")
            searched = max(0, len(head) - 2)
            piece = self._read(READ_BYTES, timeout)
            if not piece:
                raise httpx.RemoteProtocolError("The connection ended without a response.")
            head += piece
        return bytes(head[: end.end()]), bytes(head[end.end() :])

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
        is_kept = head.http_version == b"1.1" and b"close" not in options
        self.is_reusable = left == 0 and is_kept and self._is_regular

    def _framed(self, protocol: h11.Connection, timeout: float | None) -> Iterator[bytes]:
        while isinstance(event := self._next(protocol, timeout), h11.Data):
            yield bytes(event.data)
        is_over = protocol.our_state is protocol.their_state is h11.DONE
        self.is_reusable = is_over and not protocol.trailing_data[0] and self._is_regular

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
        body = (h11.Data(data=part) for part in request.stream if part)  # type: ignore[union-attr]
        try:
            head = h11.Request(
                method=request.method, target=request.url.raw_path, headers=request.headers.raw
            )
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
