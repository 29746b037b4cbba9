"""Running the application, in threads: a piece of its response at a time.

A response that the client receives slowly has no thread between two pieces, and the next piece may come from
another one. An iterable that the application returns must therefore hold nothing that belongs to a thread,
such as a cursor of the database.
"""

import errno
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.db import close_old_connections
from gunicorn.http.wsgi import FileWrapper, create

from imageextractor.server.connection import Connection

#: While more than this waits to be sent, nothing more of the response is generated.
HIGH_WATER_BYTES, LOW_WATER_BYTES = 262_144, 65_536
#: A thread generates a response for so long before another request gets it.
SLICE_SECONDS = 0.5
FILE_BLOCK_BYTES = 65_536


class Application:
    """Runs a gunicorn worker's application, in threads, each connection in one thread at a time.

    A connection that has become unusable is marked as `broken`; the worker closes it.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker

    def respond(self, connection: Connection) -> None:
        """Generate the response until it is complete, or enough of it waits to be sent."""
        try:
            if self._respond(connection):
                self.end(connection)
            self._flush(connection)
        except BaseException:
            self._worker.log.exception("Error while ending a response")
            connection.broken = True

    def _respond(self, connection: Connection) -> bool:
        """Generate more of the response, or answer that it failed. Returns whether nothing follows."""
        try:
            if connection.pieces is None:
                connection.pieces = self._call_application(connection)
            else:
                close_old_connections()
            if not self._generate(connection, connection.pieces):
                return connection.broken
            connection.response.close()
        except BaseException as error:
            if connection.response and connection.response.headers_sent:
                self._worker.log.exception("Error while generating a response")
                connection.broken = True
            else:
                connection.must_close = True
                self._worker.handle_error(connection.request, connection, connection.address, error)
        return True

    def _call_application(self, connection: Connection) -> Iterator[bytes]:
        """Return the pieces of the response."""
        response, environ = create(
            connection.request, connection, connection.address, connection.server, self._worker.cfg
        )
        connection.response, connection.environ = response, environ
        connection.started_at = time.monotonic()
        environ["wsgi.multithread"] = True
        if body := connection.body:
            body.file.seek(0)
            environ["wsgi.input"] = body.file
            if environ.pop("HTTP_TRANSFER_ENCODING", None):  # nothing is left of it
                environ["CONTENT_LENGTH"] = str(body.size)
        self._worker.nr += 1
        if self._worker.nr >= self._worker.max_requests and self._worker.alive:
            self._worker.log.info("Autorestarting worker after current request.")
            self._worker.alive = False
        if connection.must_close or not self._worker.alive or not self._worker.cfg.keepalive:
            response.force_close()
        connection.result = self._worker.wsgi(environ, response.start_response)
        if isinstance(connection.result, FileWrapper):
            connection.result.blksize = FILE_BLOCK_BYTES
        return iter(connection.result)

    def _generate(self, connection: Connection, pieces: Iterator[bytes]) -> bool:
        """Generate until enough waits to be sent or the slice ends. Returns whether that was all."""
        ends_at = time.monotonic() + SLICE_SECONDS
        for piece in pieces:
            connection.response.write(piece)
            if connection.waiting_bytes > LOW_WATER_BYTES:
                self._flush(connection)
            if connection.broken or connection.waiting_bytes > HIGH_WATER_BYTES or time.monotonic() > ends_at:
                return False
        return True

    def _flush(self, connection: Connection) -> None:
        """Send what the kernel takes. The connection is broken if the client has gone."""
        try:
            connection.flush()
        except OSError as error:
            if error.errno not in {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN}:
                self._worker.log.exception("Error while sending a response")
            connection.broken = True

    def end(self, connection: Connection) -> None:
        """Close the response that the application returned."""
        result, connection.result, connection.pieces = connection.result, None, None
        try:
            if hasattr(result, "close"):
                result.close()
        except Exception:
            self._worker.log.exception("Error while closing a response")
        if connection.response:
            duration = timedelta(seconds=time.monotonic() - connection.started_at)
            self._worker.log.access(connection.response, connection.request, connection.environ, duration)
