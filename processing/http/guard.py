"""The SSRF guard: connections are made to permitted addresses only.

A check of the URL before the request can be circumvented, by a redirect or by a name that resolves to another
address the second time. So names are resolved here, and the very address that was checked is connected to.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import httpx
from aiohttp.abc import AbstractResolver, ResolveResult

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
#: As `socket.getaddrinfo` returns them: family, type, protocol, canonical name, address.
AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]

_HOST = re.compile(rb"[\w.-]+|[0-9a-fA-F:.]+")

# The part of IPv6 that IANA has assigned. `ipaddress` reports many addresses outside of it as global.
_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        # Some versions of `ipaddress` report these as global: IETF protocol assignments (RFC 6890), 6to4
        # relays (RFC 7526), documentation (RFC 9637).
        *("192.0.0.0/24", "192.88.99.0/24", "3fff::/20"),
        # Azure's platform address, from which a machine can read its secrets.
        "168.63.129.16/32",
    )
)


#: The look-ups of the current task, while it notes them.
_lookups: ContextVar[list[Future[Any]] | None] = ContextVar("lookups", default=None)


class InvalidAddress(httpx.UnsupportedProtocol):
    """The URL cannot be requested. The message is a sentence for users."""


class BlockedAddress(httpx.ConnectError):
    """The host has no address that may be connected to."""


class UnresolvedName(httpx.ConnectError):
    """The host's name could not be resolved, but a later lookup may succeed."""


class UnknownName(UnresolvedName):
    """The host's name does not exist."""


class TLSError(httpx.ConnectError):
    """The host's certificate or TLS version was rejected. The message has the reason."""


def check_url(url: httpx.URL) -> None:
    """Raise InvalidAddress unless `url` is http or https, names a possible host and has no credentials."""
    if url.scheme not in ("http", "https"):
        raise InvalidAddress("The address does not start with http:// or https://.")
    if url.userinfo:
        raise InvalidAddress("The address contains a user name or password, which is not passed on.")
    try:
        host = url.host  # raises for malformed Punycode
    except ValueError as error:
        raise InvalidAddress("The address is malformed.") from error
    if not host or not _HOST.fullmatch(url.raw_host):
        raise InvalidAddress("The address names no host, or one that cannot exist.")
    if url.port is not None and not 0 < url.port < 65536:
        raise InvalidAddress(f"The address names port {url.port}, which cannot exist.")


def is_permitted(address: IPAddress, allowed_networks: Sequence[IPNetwork]) -> bool:
    """Return whether `address` is in `allowed_networks`, or is global and not a cloud platform's.

    An IPv6 address that embeds an IPv4 address (mapped, 6to4, NAT64) is checked as the latter.
    """
    address = _embedded_ipv4(address)
    if any(address in network for network in allowed_networks):
        return True
    if isinstance(address, ipaddress.IPv6Address) and address not in _UNICAST:
        return False
    if any(address in network for network in _REFUSED):
        return False
    return address.is_global and not address.is_multicast


def literal_address(host: str) -> IPAddress | None:
    """Return the address that a host name is, or always has, as `localhost` does; None for other names."""
    name = host.rstrip(".").lower()
    try:
        return ipaddress.ip_address("127.0.0.1" if name.split(".")[-1] == "localhost" else name)
    except ValueError:
        return None


def resolve(host: str, port: int) -> list[IPAddress]:
    """Return the addresses of a host. Raises UnknownName or UnresolvedName."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label is empty or longer than 63 bytes
        raise UnknownName(str(error)) from error
    except socket.gaierror as error:
        is_unknown = error.errno in (socket.EAI_NONAME, socket.EAI_NODATA)
        raise (UnknownName if is_unknown else UnresolvedName)(str(error)) from error
    return [ipaddress.ip_address(address[0]) for *_, address in found]


def note_lookups() -> list[Future[Any]]:
    """Return a list to which the look-ups of the current task are added from now on.

    A look-up cannot be interrupted: it may go on in its thread when the fetch has ended.
    """
    lookups: list[Future[Any]] = []
    _lookups.set(lookups)
    return lookups


class Guard(AbstractResolver):
    """Resolves names to permitted addresses, and makes sockets for permitted addresses only.

    An address that stands in a URL as it is needs no lookup, so both are needed.
    """

    def __init__(self, allowed_networks: Sequence[IPNetwork], max_lookups: int) -> None:
        self._networks = tuple(allowed_networks)
        # As many threads as there may be requests. A picture keeps its slot until its look-ups have ended.
        self._threads = ThreadPoolExecutor(max_lookups, "dns")

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_UNSPEC) -> list[ResolveResult]:
        """Return the permitted addresses of `host`. Raises BlockedAddress, UnknownName or UnresolvedName.

        If it is cancelled, the lookup goes on in its thread until the resolver's own timeout.
        """
        lookup = self._threads.submit(resolve, host, port)
        if (noted := _lookups.get()) is not None:
            noted.append(lookup)
        found = await asyncio.wrap_future(lookup)
        addresses = [str(address) for address in found if is_permitted(address, self._networks)]
        if not addresses:
            raise BlockedAddress(f"{host} has no public address")
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in addresses
        ]

    def make_socket(self, info: AddressInfo) -> socket.socket:
        """Return a socket that is about to connect to this address. Raises BlockedAddress."""
        family, kind, protocol, _, address = info
        if not is_permitted(ipaddress.ip_address(address[0]), self._networks):
            raise BlockedAddress(f"{address[0]} is no public address")
        return socket.socket(family, kind, protocol)

    async def close(self) -> None:
        """Wait for no more lookups."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _embedded_ipv4(address: IPAddress) -> IPAddress:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address
