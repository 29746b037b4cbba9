"""Notices every connection that must not be made."""

import socket
import sys
import threading
from contextlib import ExitStack, suppress
from threading import Thread, current_thread
from types import TracebackType
from typing import Any, Self

from processing import loop

_watching: list["Canary"] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        for canary in _watching:
            canary.notice(arguments[1][0])


sys.addaudithook(_watch)  # there is no way to remove it: `_watching` says whether it has something to do


class Canary:
    """Listens at `port` on every address of this machine from entering its `with` block to leaving it.

    `visitors` are those who connected. `attempts` are the addresses that anything in this process wanted to
    connect to, wherever they are: also such as nobody answers at here. Threads that earlier tests left
    behind may go on with their own connections, to a Redis for example: they do not count. The
    thread of the event loop counts, although it may be older: all requests to addresses in catalogues and of
    webhooks are made there.
    """

    def __init__(self) -> None:
        self.visitors: list[Any] = []
        self.attempts: list[str] = []
        self.port = 0
        self._earlier = {*threading.enumerate()} - {current_thread(), loop.call(current_thread)}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104
            with suppress(OSError):  # without IPv6 nobody can connect by it either
                server = socket.create_server((host, self.port), family=family)
                self.port = server.getsockname()[1]
                self._stack.callback(server.close)
                self._stack.callback(server.shutdown, socket.SHUT_RDWR)
                Thread(target=self._listen, args=(server,), daemon=True).start()
        _watching.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _watching.remove(self)
        self._stack.close()

    def notice(self, address: str) -> None:
        """Count an attempt to connect to this address."""
        if current_thread() not in self._earlier:
            self.attempts.append(address)

    def take(self) -> tuple[list[str], list[Any]]:
        """Return attempts and visitors since the last call."""
        taken = self.attempts[:], self.visitors[:]
        self.attempts.clear()
        self.visitors.clear()
        return taken

    def _listen(self, server: socket.socket) -> None:
        with suppress(OSError):  # it is closed
            while True:
                connection, visitor = server.accept()
                self.visitors.append(visitor)
                connection.close()
