"""A connection of aiohttp that reads heads as browsers do and takes no data that nobody asked for."""

from typing import Any

from aiohttp import ClientConnectionError, ClientPayloadError
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

from processing.http.head import HEAD_END, InvalidHead, tidied

#: The head of a response, and what may come with a body that is no part of it: chunk extensions, trailers.
MAX_HEAD_BYTES = 100 * 1024
#: Responses such as `100 Continue` before the one that counts.
MAX_INTERIM_RESPONSES = 100


class Connection(ResponseHandler):
    """Splits heads from bodies, so that bytes that follow a body cost the next response and not this one.

    After an irregular head it is not used again: a proxy may have read that head in another way, and what
    follows would not be the response to the next request.
    """

    _head = bytearray()
    _is_in_head = False
    _responses = _interim_responses = 0
    _idle_bytes = _body_bytes = 0
    _ends_with_blank_line = False

    def set_response_params(self, **options: Any) -> None:
        """Expect a response."""
        self._head, self._is_in_head = bytearray(), True
        self._responses += 1
        self._interim_responses = self._idle_bytes = self._body_bytes = 0
        self._ends_with_blank_line = False
        super().set_response_params(**options)

    def is_connected(self) -> bool:
        """Return whether the connection may be used: not if data has come that nobody asked for.

        aiohttp checks this only when a response ends, and would take the data for the next response.
        """
        return super().is_connected() and not self.should_close

    def set_exception(self, exc: Any, *cause: Any) -> None:
        """Note why the connection cannot go on.

        aiohttp sends a request again after certain errors. That is meant for kept connections, which a server
        may close at any time, but aiohttp does it on new ones, too.
        """
        if self._responses == 1 and isinstance(exc, ClientConnectionError):
            error = ClientConnectionError(str(exc))
            error.__cause__ = exc
            exc = error
        super().set_exception(exc, *cause)

    def close(self) -> None:
        """Close the connection, and send no more of a request of which the receiver has only read a part."""
        if self.transport is not None and self.transport.get_write_buffer_size():
            self.abort()
        else:
            super().close()

    def data_received(self, data: bytes) -> None:
        try:
            while self._is_in_head and data:
                data = self._head_received(data)
        except InvalidHead as error:
            self.set_exception(HttpProcessingError(message=str(error)), error)
            if self.transport:
                self.transport.close()
            return
        if not self._is_in_head:
            self._body_received(data)

    def _head_received(self, data: bytes) -> bytes:
        """Pass on a head when it is complete. Return what follows it. Raises InvalidHead."""
        searched = max(0, len(self._head) - 2)
        self._head += data
        end = HEAD_END.search(self._head, searched)
        if end is None:
            if len(self._head) > MAX_HEAD_BYTES:
                raise InvalidHead("The head of the response is too long.")
            return b""
        raw, data = bytes(self._head[: end.end()]), bytes(self._head[end.end() :])
        self._head = bytearray()
        head = tidied(raw)
        if head != raw:
            self.force_close()
        self._is_in_head = head.startswith(b"1", len(b"HTTP/1.1 "))
        self._interim_responses += self._is_in_head
        if self._interim_responses > MAX_INTERIM_RESPONSES:
            raise InvalidHead("There are too many interim responses.")
        super().data_received(head)
        return data

    def _body_received(self, data: bytes) -> None:
        """Pass on a part of a body, or nothing when aiohttp goes on with what it has."""
        payload = self._payload
        before = payload.total_bytes if payload else 0
        was_over = payload is None or payload.is_eof()
        super().data_received(data)
        self._body_bytes += len(data)
        if data:
            self._ends_with_blank_line = data.endswith((b"\n\r\n", b"\n\n"))
        if payload is None or payload.is_eof():
            # The end of a chunked body is none of its content. Anything else was not asked for.
            is_exact = payload is not None and payload.total_bytes == self._body_bytes
            if (was_over and data) or not (is_exact or self._ends_with_blank_line):
                self.force_close()
            return
        if error := self.exception():  # which aiohttp tells only those who wait for a head
            payload.set_exception(ClientPayloadError(str(error)))
        self._idle_bytes += len(data)
        if payload.total_bytes > before or self._reading_paused:
            self._idle_bytes = 0
        if self._idle_bytes > MAX_HEAD_BYTES:
            payload.set_exception(ClientPayloadError("The body has more around it than in it."))
            self.close()
