"""Security headers of every response, and settings that error reports hide."""

import re
from collections.abc import Callable
from typing import Any

from django.http import Http404, HttpRequest, HttpResponseBase
from django.views.debug import SafeExceptionReporterFilter

#: Everything comes from this host, nothing is inline, no other site frames our pages. The icons of the style
#: sheet are `data:` URLs.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        *("default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:"),
        *("connect-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"),
    ]
)

#: Tells scripts that this service has answered, and not a proxy in front of it.
APPLICATION_HEADER = "X-Application"
HEADERS = {
    APPLICATION_HEADER: "image-extractor",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Responses belong to one user: no cache may store them, nor may the Back button show them after logout.
    "Cache-Control": "no-store",
}


class SecurityHeadersMiddleware:
    """Sets headers that the view has not set. Django's SecurityMiddleware sets nosniff, HSTS and the like."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response


class RefuseNulMiddleware:
    """Answers 404 to a path with a NUL character, which no address has and PostgreSQL does not accept."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *_view: Any) -> None:
        """Raise Http404 once all middleware has run that the page of a 404 needs."""
        if "\0" in request.path_info:
            raise Http404


class ReporterFilter(SafeExceptionReporterFilter):
    """Hides URLs on Django's debug page as well, because they may contain passwords."""

    hidden_settings = re.compile(
        f"{SafeExceptionReporterFilter.hidden_settings.pattern}|URL|LOCATION", re.IGNORECASE
    )
