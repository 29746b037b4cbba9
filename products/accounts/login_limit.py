"""Rate limit of login attempts, by user name and client address."""

from django.conf import settings
from django.http import HttpRequest

from products.rate_limit import MINUTE_SECONDS, count

LOGIN_WINDOW_SECONDS = 10 * MINUTE_SECONDS
#: Attempts per window for one user name from one address.
MAX_LOGINS = 10
#: Attempts per window for one user name from all addresses, and from one address for all names. High enough
#: that a stranger cannot easily lock a user out, too low to guess a password.
MAX_LOGINS_IN_ALL = 100


def count_login(request: HttpRequest, name: str) -> None:
    """Count a login attempt; call this before checking the password. Raises LimitReached."""
    name, address = name.casefold(), client_address(request)
    detail = "Too many login attempts. Try again in a few minutes."
    count(f"login {name} {address}", MAX_LOGINS, LOGIN_WINDOW_SECONDS, detail)
    count(f"login name {name}", MAX_LOGINS_IN_ALL, LOGIN_WINDOW_SECONDS, detail)
    count(f"login address {address}", MAX_LOGINS_IN_ALL, LOGIN_WINDOW_SECONDS, detail)


def client_address(request: HttpRequest) -> str:
    """Return the client's IP address.

    Behind a proxy that terminates HTTPS this is the last entry of X-Forwarded-For, which the proxy itself
    wrote; a client can forge only the entries before it.
    """
    forwarded = request.headers.get("X-Forwarded-For") if settings.SECURE_PROXY_SSL_HEADER else None
    return (forwarded or request.META.get("REMOTE_ADDR", "")).rpartition(",")[2].strip()
