"""Rate limit of logins, by user name and client address."""

from django.conf import settings
from django.http import HttpRequest

from products.rate_limit import MINUTE, count

LOGIN_WINDOW = 10 * MINUTE
#: Logins in LOGIN_WINDOW: of one name from one address, and of one name, or from one address, in all. The
#: second is high enough that a stranger cannot lock a user out by the way, and too low to guess by.
LOGINS = 10
LOGINS_IN_ALL = 100


def count_login(request: HttpRequest, name: str) -> None:
    """Count an attempt to log in, before the password is looked at. Raises LimitReached."""
    name, address = name.casefold(), client_address(request)
    detail = "Too many attempts to log in. Please wait some minutes."
    count(f"login {name} {address}", LOGINS, LOGIN_WINDOW, detail)
    count(f"login name {name}", LOGINS_IN_ALL, LOGIN_WINDOW, detail)
    count(f"login address {address}", LOGINS_IN_ALL, LOGIN_WINDOW, detail)


def client_address(request: HttpRequest) -> str:
    """Who connects: behind the proxy that HTTPS takes, whom that has seen, which nobody can make up."""
    forwarded = request.headers.get("X-Forwarded-For") if settings.SECURE_PROXY_SSL_HEADER else None
    return (forwarded or request.META.get("REMOTE_ADDR", "")).rpartition(",")[2].strip()
