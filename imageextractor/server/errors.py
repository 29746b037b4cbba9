"""Answers of the web server itself, for requests that do not reach the application."""

from imageextractor.security import APPLICATION_HEADER, HEADERS
from imageextractor.server.connection import Connection

_LINE = f"{APPLICATION_HEADER}: {HEADERS[APPLICATION_HEADER]}\r\n".encode()


class ErrorWriter:
    """Stands in for a connection where gunicorn writes an error, and adds the header of all answers of ours.

    Without it, pages would say that a proxy answered.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def sendall(self, answer: bytes) -> None:
        """Send a whole answer."""
        status, separator, rest = answer.partition(b"\r\n")
        self._connection.sendall(status + separator + _LINE + rest)

    def gettimeout(self) -> float:
        """Return the timeout of a socket that never blocks."""
        return self._connection.gettimeout()
