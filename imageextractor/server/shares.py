"""The part of the connections, and of the disk for bodies, that one client may have."""

from collections import Counter
from typing import Any

from imageextractor.upload_handlers import max_form_bytes

#: The part of the whole that one client may have.
CLIENT_SHARE = 1 / 4
#: Bodies that are here or arrive may take as much disk as so many of the largest uploads.
MAX_LARGE_BODIES = 16


class Shares:
    """Counts connections and bytes by client: an IPv4 address, or 64 bits of an IPv6 one."""

    def __init__(self, cfg: Any) -> None:
        self._cfg = cfg
        self._connections: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def connect(self, client: str) -> None:
        self._connections[client] += 1

    def disconnect(self, client: str) -> None:
        self._connections[client] -= 1
        if not self._connections[client]:
            del self._connections[client]

    def may_connect(self, client: str) -> bool:
        """Return whether the client may have one more connection."""
        share = self._share(client)
        return self._connections[client] < share * int(self._cfg.worker_connections)

    def store(self, client: str, size: int) -> bool:
        """Count bytes that are stored, or freed if negative. Returns whether they are within the limits."""
        self._bytes[client] += size
        if not self._bytes[client]:
            del self._bytes[client]
        limit = MAX_LARGE_BODIES * max_form_bytes()
        return self._bytes.total() <= limit and self._bytes[client] <= self._share(client) * limit

    def _share(self, client: str) -> float:
        """Return the part that a client may have: the whole for a proxy, which brings many clients."""
        allowed = self._cfg.forwarded_allow_ips
        is_proxy = not client or "*" in allowed or client in allowed
        return 1 if is_proxy else CLIENT_SHARE
