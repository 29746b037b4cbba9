"""The SSRF guard: connections are made to permitted addresses only.

A check of the URL before the request can be circumvented, by a redirect or by a name that resolves to another
address the second time. So names are resolved here, and the very address that was checked is connected to.
"""

import ipaddress
import re
import socket
import ssl
from collections.abc import Sequence

import httpx

from processing.http.deadline import time_left

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

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


#: For OpenSSL's X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY and …_VERIFY_LEAF_SIGNATURE, which do not tell
#: a missing certificate from an unknown authority.
_INCOMPLETE_CHAIN = dict.fromkeys(
    (20, 21),
    "the server does not send the intermediate certificate that links its own to a known authority, or no "
    "known authority issued it",
)


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


def connect(
    host: str, port: int, allowed_networks: Sequence[IPNetwork], timeout: float | None
) -> socket.socket:
    """Connect to the first permitted address of `host` that answers. The addresses share `timeout` equally.

    Raises BlockedAddress, UnresolvedName, UnknownName, or the error of the last address.
    """
    addresses = [found for found in resolve(host, port) if is_permitted(found, allowed_networks)]
    left = time_left(timeout)
    for number, address in enumerate(addresses, 1):
        try:
            return _connect_to(str(address), port, left and left / len(addresses))
        except (httpx.ConnectError, httpx.ConnectTimeout):
            if number == len(addresses):
                raise
    raise BlockedAddress(f"{host} has no public address")


def start_tls(
    sock: socket.socket, context: ssl.SSLContext, host: str, timeout: float | None
) -> ssl.SSLSocket:
    """Start TLS on a connected socket and verify that the certificate is for `host`.

    The socket is closed if that fails. Raises TLSError, httpx.ConnectError or httpx.ConnectTimeout.
    """
    try:
        sock.settimeout(time_left(timeout))
        return context.wrap_socket(sock, server_hostname=host)
    except OSError as error:
        sock.close()
        if isinstance(error, TimeoutError):
            raise httpx.ConnectTimeout(str(error)) from error
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            reason = getattr(error, "verify_message", error.reason)
            raise TLSError(_INCOMPLETE_CHAIN.get(getattr(error, "verify_code", 0), reason)) from error
        raise httpx.ConnectError(str(error)) from error
    except BaseException:
        sock.close()
        raise


def _embedded_ipv4(address: IPAddress) -> IPAddress:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


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


def _connect_to(address: str, port: int, timeout: float | None) -> socket.socket:
    try:
        sock = socket.create_connection((address, port), timeout)
    except TimeoutError as error:
        raise httpx.ConnectTimeout(str(error)) from error
    except OSError as error:
        raise httpx.ConnectError(str(error)) from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
