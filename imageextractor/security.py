"""Security headers of every answer, and what error reports leave out."""

import re
from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase
from django.views.debug import SafeExceptionReporterFilter

#: All comes from here, nothing is inline, no page of others frames ours. Swagger UI alone needs `data:`.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        *("default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:"),
        *("connect-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"),
    ]
)

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Pages and answers are one user's: not to be had from a cache, nor by Back after logging out.
    "Cache-Control": "no-store",
}


class SecurityHeadersMiddleware:
    """Sets what a view has not set itself. Django's SecurityMiddleware has nosniff, HSTS and the like."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response


class ReporterFilter(SafeExceptionReporterFilter):
    """Keeps addresses off Django's debug page, too: they carry passwords."""

    hidden_settings = re.compile(
        f"{SafeExceptionReporterFilter.hidden_settings.pattern}|URL|LOCATION", re.IGNORECASE
    )
