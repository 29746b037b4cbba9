"""Authentication by session or API token, and the user `local` of OPEN_ACCESS."""

from collections.abc import Callable
from typing import cast

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject
from django_htmx.middleware import HtmxDetails
from rest_framework import authentication, exceptions
from rest_framework.request import Request as ApiRequest

from products.accounts.models import ApiToken

LOCAL_USER = "local"
#: Headers that a proxy adds, besides X-Forwarded-….
PROXY_HEADERS = {"Forwarded", "Via", "X-Real-Ip"}


class HtmxRequest(HttpRequest):
    """An HTTP request with the attribute that django-htmx's middleware adds."""

    htmx: HtmxDetails


class UserRequest(HtmxRequest):
    """An HTTP request in a view behind `login_required`."""

    user: User


def local_user() -> User:
    """Return the user that owns everything submitted without a login, creating it if needed."""
    user, _created = User.objects.get_or_create(
        username=LOCAL_USER, defaults={"password": make_password(None)}
    )
    return user  # without a usable password, so that a login as this user is impossible


class OpenAccessMiddleware:
    """Under OPEN_ACCESS, let visitors who are not logged in act as the user `local`.

    Their requests carry no secret, so a hostile page in the same browser could send the same ones: cross-site
    requests are refused. So are proxied ones, since a proxy may be reachable from other machines.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if settings.OPEN_ACCESS:
            is_proxied = any(
                name in PROXY_HEADERS or name.startswith("X-Forwarded-") for name in request.headers
            )
            if is_proxied or _is_cross_site(request):
                raise PermissionDenied("OPEN_ACCESS accepts requests from this site's own pages only.")
            if not request.user.is_authenticated:
                # Lazy, because health checks have to answer while the database is down.
                request.user = cast(User, SimpleLazyObject(local_user))
        return self.get_response(request)


def _is_cross_site(request: HttpRequest) -> bool:
    """Return True for a request that another site caused, unless the user followed a link."""
    if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        return request.method != "GET" or request.headers.get("Sec-Fetch-Mode") != "navigate"
    origin = request.headers.get("Origin")
    return origin is not None and origin != f"{request.scheme}://{request.get_host()}"


class SessionAuthentication(authentication.SessionAuthentication):
    """Django's session. Under OPEN_ACCESS the middleware replaces the CSRF check."""

    def enforce_csrf(self, request: ApiRequest) -> None:
        if not settings.OPEN_ACCESS:
            super().enforce_csrf(request)


class TokenAuthentication(authentication.BaseAuthentication):
    """The header `Authorization: Token ie_…`."""

    def authenticate(self, request: ApiRequest) -> tuple[User, ApiToken] | None:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "token":
            return None
        token = ApiToken.objects.lookup(key.strip())
        if token is None:
            raise exceptions.AuthenticationFailed("Invalid API token.")
        return token.user, token

    def authenticate_header(self, request: ApiRequest) -> str:
        return "Token"
