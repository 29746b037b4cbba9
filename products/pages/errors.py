"""Handlers of 400, 403 and 404: a page for people, JSON for programs."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views import defaults

from products.catalogue import CatalogueError

#: Where programs call, which read errors as JSON.
API_PATHS = ("/api/", "/upload", "/status/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400 for what is no proper request, such as one to a host that is not ours, and for a refused upload."""
    if isinstance(exception, CatalogueError):
        return render(request, "pages/refused.html", {"exception": exception}, status=400)
    return _answer(request, 400, "bad_request", "Bad request.") or defaults.bad_request(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403 for whoever may not ask at all."""
    detail = str(exception) or "Forbidden."
    return _answer(request, 403, "permission_denied", detail) or defaults.permission_denied(
        request, exception
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404 for an address that leads nowhere."""
    return _answer(request, 404, "not_found", "Not found.") or defaults.page_not_found(request, exception)


def _answer(request: HttpRequest, status_code: int, code: str, detail: str) -> HttpResponse | None:
    """What a program gets where none of the API's views is reached; None for people, who get a page."""
    if not request.path.startswith(API_PATHS):
        return None
    errors = [{"code": code, "detail": detail, "attr": None}]
    return JsonResponse({"type": "client_error", "errors": errors}, status=status_code)
