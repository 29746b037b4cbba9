"""Which addresses may be requested: the URL as it is written, and the IP address that it leads to."""

import ipaddress
import re
from collections.abc import Sequence

import httpx

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST = re.compile(rb"[\w.-]+|[0-9a-fA-F:.]+")

# What IANA has assigned of IPv6; `ipaddress` calls much outside of it global.
_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NEVER = tuple(
    ipaddress.ip_network(network)
    for network in (
        # What some version of `ipaddress` takes for global: IETF protocol assignments (RFC 6890), relays of
        # 6to4 (RFC 7526), documentation (RFC 9637).
        *("192.0.0.0/24", "192.88.99.0/24", "3fff::/20"),
        # Public by its number only: in Azure, each machine's own platform and its secrets.
        "168.63.129.16/32",
    )
)


class InvalidAddress(httpx.UnsupportedProtocol):
    """The URL is not one that is requested; the message is a sentence for people that says why."""


def check_url(url: httpx.URL) -> None:
    """Raise `InvalidAddress` unless `url` is http or https, names a possible host and has no credentials."""
    if url.scheme not in ("http", "https"):
        raise InvalidAddress("The address does not start with http:// or https://.")
    if url.userinfo:
        raise InvalidAddress("The address contains a user name or password, which is not passed on.")
    try:
        host = url.host  # raises for malformed Punycode: here, rather than somewhere inside httpx
    except ValueError as error:
        raise InvalidAddress("The address is malformed.") from error
    if not host or not _HOST.fullmatch(url.raw_host):
        raise InvalidAddress("The address names no host, or one that cannot exist.")
    if url.port is not None and not 0 < url.port < 65536:
        raise InvalidAddress(f"The address names port {url.port}, which cannot exist.")


def is_permitted(address: IPAddress, allowed_networks: Sequence[IPNetwork]) -> bool:
    """Whether `address` is explicitly allowed, or globally reachable by IANA's registries and no platform's.

    An IPv6 address that only stands for an IPv4 one (mapped, 6to4, NAT64) is judged as that one.
    """
    address = _unwrapped(address)
    if any(address in network for network in allowed_networks):
        return True
    if isinstance(address, ipaddress.IPv6Address) and address not in _UNICAST:
        return False
    if any(address in network for network in _NEVER):
        return False
    return address.is_global and not address.is_multicast


def _unwrapped(address: IPAddress) -> IPAddress:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address
