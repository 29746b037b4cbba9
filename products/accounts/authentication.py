"""Who is asking: a session, an API token, or, under OPEN_ACCESS, whoever can connect."""

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
#: By these, and by X-Forwarded-…, a proxy shows itself.
PROXY_HEADERS = {"Forwarded", "Via", "X-Real-Ip"}


class HtmxRequest(HttpRequest):
    """As django-htmx's middleware leaves it."""

    htmx: HtmxDetails


class UserRequest(HtmxRequest):
    """As `login_required` lets it through."""

    user: User


def local_user() -> User:
    """The ordinary user to whom everything belongs that was submitted without a login."""
    user, _is_new = User.objects.get_or_create(
        username=LOCAL_USER, defaults={"password": make_password(None)}
    )
    return user  # without a password nobody can log in as


class OpenAccessMiddleware:
    """Under OPEN_ACCESS, visitors who have not logged in act as the user `local`.

    No secret protects them from a hostile page in the same browser, so requests that another site caused
    are refused, and so are those that came through a proxy: whoever puts one in front has left loopback.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if settings.OPEN_ACCESS:
            if _is_foreign(request):
                raise PermissionDenied("OPEN_ACCESS answers this site's own pages only.")
            if not request.user.is_authenticated:
                # Only when asked for: monitoring has to get an answer while the database is silent, too.
                request.user = cast(User, SimpleLazyObject(local_user))
        return self.get_response(request)


def _is_foreign(request: HttpRequest) -> bool:
    if any(name in PROXY_HEADERS or name.startswith("X-Forwarded-") for name in request.headers):
        return True
    if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        return request.method != "GET" or request.headers.get("Sec-Fetch-Mode") != "navigate"
    origin = request.headers.get("Origin")
    return origin is not None and origin != f"{request.scheme}://{request.get_host()}"


class SessionAuthentication(authentication.SessionAuthentication):
    """Django's session. Under OPEN_ACCESS the middleware stands in for the CSRF check."""

    def enforce_csrf(self, request: ApiRequest) -> None:
        if not settings.OPEN_ACCESS:
            super().enforce_csrf(request)


class TokenAuthentication(authentication.BaseAuthentication):
    """`Authorization: Token ie_…`."""

    def authenticate(self, request: ApiRequest) -> tuple[User, ApiToken] | None:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "token":
            return None
        token = ApiToken.objects.lookup(key.strip())
        if token is None:
            raise exceptions.AuthenticationFailed("This token is not known.")
        return token.user, token

    def authenticate_header(self, request: ApiRequest) -> str:
        return "Token"
