"""The body of a request, received piece by piece without a thread that waits for it."""

from contextlib import suppress
from tempfile import SpooledTemporaryFile
from typing import Any

import h11
from django.conf import settings
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.errors import InvalidChunkSize

from imageextractor.upload_handlers import max_form_bytes
from products.models.files import StorageFull

#: Larger bodies are kept in an unnamed file, of which nothing is left however the process ends.
MAX_IN_MEMORY_BYTES = 65_536
#: Bytes of chunk sizes and extensions that a chunked body may have beyond eight for each byte of content.
CHUNK_OVERHEAD_BYTES = 65_536
_CHUNKED_HEAD = b"POST / HTTP/1.1\r\nHost: body\r\nTransfer-Encoding: chunked\r\n\r\n"


class Body:
    """Receives a body of announced length, or in chunks, and keeps what has arrived.

    `complete` is true as soon as the application may run: all of it has been received, or it is
    `too_large`, or it could not be stored; then the application gets StorageFull when it reads the body.
    """

    def __init__(self, request: Any) -> None:
        reader = request.body.reader
        self.size = 0
        self.limit = _limit(request)
        self.file: Any = SpooledTemporaryFile(  # noqa: SIM115 (closed by close())
            MAX_IN_MEMORY_BYTES, dir=settings.FILE_UPLOAD_TEMP_DIR
        )
        self._expected = reader.length if isinstance(reader, LengthReader) else 0
        self._chunks = _chunk_decoder() if isinstance(reader, ChunkedReader) else None
        self._encoded_size = 0
        self.complete = self._chunks is None and not self._expected
        self.too_large = self._expected > self.limit
        if self.too_large:
            self.complete = True

    @property
    def missing_bytes(self) -> int:
        """The part of an announced length that has not arrived; 0 for a body in chunks."""
        return 0 if self._chunks else self._expected - self.size

    def feed(self, data: bytes) -> bytes:
        """Keep the next bytes of the connection and return those that follow the body.

        Raises gunicorn's InvalidChunkSize for a malformed body.
        """
        if self._chunks:
            return self._feed_chunks(self._chunks, data)
        mine, rest = data[: self._expected - self.size], data[self._expected - self.size :]
        self._keep(mine)
        if self.size == self._expected:
            self.complete = True
        return rest

    def fail(self) -> None:
        """Give up on a body for which there is no room. The application gets StorageFull when it reads it."""
        self.close()
        self.file = _Unreadable()
        self.complete = self.too_large = True

    def close(self) -> None:
        """Discard what has been received."""
        with suppress(OSError):  # what is buffered may find no room on the disk
            self.file.close()

    def _feed_chunks(self, chunks: h11.Connection, data: bytes) -> bytes:
        self._encoded_size += len(data)
        try:
            chunks.receive_data(data)
            while (event := chunks.next_event()) is not h11.NEED_DATA:
                if isinstance(event, h11.Data):
                    self._keep(event.data)
                else:
                    self.complete = True
                    return chunks.trailing_data[0]
                if self.complete:
                    return b""
        except h11.RemoteProtocolError as error:
            raise InvalidChunkSize(str(error).encode()) from error
        if self._encoded_size > 8 * self.size + CHUNK_OVERHEAD_BYTES:
            raise InvalidChunkSize(b"more bytes of chunk sizes than of content")
        if self.size > self.limit:
            self.complete = self.too_large = True
        return b""

    def _keep(self, data: bytes) -> None:
        try:
            self.file.write(data)
            self.file.flush()  # or a full disk is noticed only when the application reads
        except OSError:  # the disk is full
            self.fail()
        self.size += len(data)


class _Unreadable:
    """Stands for a body that could not be kept."""

    def read(self, *_size: int) -> bytes:
        raise StorageFull

    readline = read

    def seek(self, _position: int) -> None:
        """The body has no content."""

    def close(self) -> None:
        """Nothing is open."""


def _limit(request: Any) -> int:
    """Return the most bytes that a body may have: a form with files more than any other."""
    content_type = next((value for name, value in request.headers if name == "CONTENT-TYPE"), "")
    if content_type.lower().startswith("multipart/form-data"):
        return max_form_bytes()
    return int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)


def _chunk_decoder() -> h11.Connection:
    """Return a connection that has read a head, so that it decodes chunks."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(_CHUNKED_HEAD)
    connection.next_event()
    return connection
