"""Sockets to addresses that were checked where they are connected to.

Checking a URL before its request can be outwitted: by a redirect, or by a name that resolves to something
else the second time. So names are resolved here, and the very address that was judged is connected to.
"""

import ipaddress
import socket
import ssl
from collections.abc import Sequence

import httpx

from processing.http.addresses import IPAddress, IPNetwork, is_permitted
from processing.http.deadline import time_left


class BlockedAddress(httpx.ConnectError):
    """The host has no address but such as must not be connected to."""


class UnresolvedName(httpx.ConnectError):
    """The host's name could not be looked up; it may work later."""


class UnknownName(UnresolvedName):
    """The host's name does not exist."""


class TLSError(httpx.ConnectError):
    """The host's certificate or its TLS is not acceptable; the message says why."""


def connect(host: str, port: int, networks: Sequence[IPNetwork], timeout: float | None) -> socket.socket:
    """Connect to the first address of `host` that is global or in `networks` and answers.

    They share the time equally. Raises `BlockedAddress`, `UnresolvedName`, `UnknownName`, or why the last
    address did not answer.
    """
    addresses = [found for found in _resolve(host, port) if is_permitted(found, networks)]
    left = time_left(timeout)
    for number, address in enumerate(addresses, 1):
        try:
            return _connected(str(address), port, left and left / len(addresses))
        except (httpx.ConnectError, httpx.ConnectTimeout):
            if number == len(addresses):
                raise
    raise BlockedAddress(f"{host} has no public address")


def secured(sock: socket.socket, context: ssl.SSLContext, host: str, timeout: float | None) -> ssl.SSLSocket:
    """TLS over a connected socket, to whom the certificate is for; the socket is closed if that fails."""
    try:
        sock.settimeout(time_left(timeout))
        return context.wrap_socket(sock, server_hostname=host)
    except OSError as error:
        sock.close()
        if isinstance(error, TimeoutError):
            raise httpx.ConnectTimeout(str(error)) from error
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            raise TLSError(getattr(error, "verify_message", error.reason)) from error
        raise httpx.ConnectError(str(error)) from error
    except BaseException:
        sock.close()
        raise


def _resolve(host: str, port: int) -> list[IPAddress]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label is empty or longer than 63 bytes
        raise UnknownName(str(error)) from error
    except socket.gaierror as error:
        known = error.errno not in (socket.EAI_NONAME, socket.EAI_NODATA)
        raise (UnresolvedName if known else UnknownName)(str(error)) from error
    return [ipaddress.ip_address(address[0]) for *_, address in found]


def _connected(address: str, port: int, timeout: float | None) -> socket.socket:
    try:
        sock = socket.create_connection((address, port), timeout)
    except TimeoutError as error:
        raise httpx.ConnectTimeout(str(error)) from error
    except OSError as error:
        raise httpx.ConnectError(str(error)) from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
