"""The part of the connections, and of the disk for bodies, that one client may have."""

from collections import Counter
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

from imageextractor.upload_handlers import max_form_bytes

#: The part of the connections, and of the disk, that one client may have.
CLIENT_SHARE = 1 / 4
#: Bodies, complete or not, may take as much disk as so many of the largest uploads.
MAX_LARGE_BODIES = 16


class Client(NamedTuple):
    """Connections that are counted together: those of an IPv4 address, or of 64 bits of an IPv6 one."""

    network: str
    share: float


class Shares:
    """Counts connections and bytes by client."""

    def __init__(self, cfg: Any) -> None:
        self._cfg = cfg
        self._connections: Counter[Client] = Counter()
        self._bytes: Counter[Client] = Counter()

    def client(self, address: Any) -> Client:
        """Return the client at the address of a socket. A proxy, which has many, may have the whole."""
        if not isinstance(address, tuple):
            return Client("", 1)  # a Unix socket
        ip = ip_address(address[0].partition("%")[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip  # as IPv4 addresses appear on a socket for both versions
        allowed = self._cfg.forwarded_allow_networks()
        if "*" in self._cfg.forwarded_allow_ips or any(ip in network for network in allowed):
            return Client(str(ip), 1)
        return Client(str(ip if ip.version == 4 else ip_network((ip, 64), strict=False)), CLIENT_SHARE)

    def connect(self, client: Client) -> None:
        self._connections[client] += 1

    def disconnect(self, client: Client) -> None:
        self._connections[client] -= 1
        if not self._connections[client]:
            del self._connections[client]

    def may_connect(self, client: Client) -> bool:
        """Return whether the client may have one more connection."""
        return self._connections[client] < client.share * int(self._cfg.worker_connections)

    def store(self, client: Client, size: int) -> bool:
        """Count bytes that are stored, or freed if negative. Returns whether they are within the limits."""
        self._bytes[client] += size
        if not self._bytes[client]:
            del self._bytes[client]
        limit = MAX_LARGE_BODIES * max_form_bytes()
        return self._bytes.total() <= limit and self._bytes[client] <= client.share * limit
