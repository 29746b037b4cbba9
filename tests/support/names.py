"""A resolver that says what a test wants it to say."""

import socket
from collections.abc import Callable
from typing import Any


class Names(dict[str, list[str] | OSError]):
    """Results of name look-ups: addresses, or an error. IP addresses resolve as usual, other names not.

    `lookups` are the names that were asked for, in order, without the 127.0.0.1 of servers that tests use.
    """

    def __init__(self, real: Callable[..., list[Any]]) -> None:
        super().__init__()
        self.real = real
        self.lookups: list[str] = []
        self._next: dict[str, list[list[str]]] = {}

    def change(self, host: str, *answers: list[str]) -> None:
        """Let each look-up of `host` find the next of these; the last stays."""
        self._next[host] = list(answers)

    def getaddrinfo(self, host: str, port: int, family: int = 0, type: int = 0) -> list[Any]:
        """Stands in for `socket.getaddrinfo`, as far as connections use it."""
        if host != "127.0.0.1":
            self.lookups.append(host)
        if answers := self._next.get(host):
            self[host] = answers.pop(0)
        found = self.get(host, [host])
        if isinstance(found, OSError):
            raise found
        numeric = {"family": family, "type": type, "flags": socket.AI_NUMERICHOST}
        return [entry for address in found for entry in self.real(address, port, **numeric)]
