"""API errors in one shape: `{"type", "errors": [{"code", "detail", "attr", "line"?, "column"?}]}`."""

import re
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views import defaults
from django.views.debug import SafeExceptionReporterFilter
from drf_standardized_errors import formatter, handler
from rest_framework import exceptions, status

from products.catalogue import CatalogueError, Problem
from products.limits import LimitReached
from products.submission import IdempotencyConflict

#: Where programs call, which read errors as JSON.
API_PATHS = ("/api/", "/upload", "/status/")


class ReporterFilter(SafeExceptionReporterFilter):
    """Keeps addresses off Django's debug page, too: they carry passwords."""

    hidden_settings = re.compile(
        f"{SafeExceptionReporterFilter.hidden_settings.pattern}|URL|LOCATION", re.IGNORECASE
    )


class CatalogueRefused(exceptions.ValidationError):
    """A catalogue that was refused: each of its problems is an error of its own, with line and column."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__({"file": [exceptions.ErrorDetail(p.detail, p.code) for p in problems]})
        self.problems = problems


class Conflict(exceptions.APIException):
    """409."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class TooMuch(exceptions.APIException):
    """429, with the seconds to wait as `Retry-After`."""

    status_code = status.HTTP_429_TOO_MANY_REQUESTS

    def __init__(self, limit: LimitReached) -> None:
        super().__init__(limit.detail, limit.code)
        self.wait = limit.seconds


class ExceptionHandler(handler.ExceptionHandler):
    """Turns our own exceptions into answers."""

    def convert_known_exceptions(self, exc: Exception) -> Exception:
        if isinstance(exc, CatalogueError):
            return CatalogueRefused(exc.problems)
        if isinstance(exc, IdempotencyConflict):
            return Conflict(
                "This Idempotency-Key was used before, for another file or other options.",
                "idempotency_conflict",
            )
        if isinstance(exc, LimitReached):
            return TooMuch(exc)
        if isinstance(exc, SuspiciousOperation):  # a form with thousands of fields, and the like
            return exceptions.ParseError(str(exc))
        converted: Exception = super().convert_known_exceptions(exc)
        return converted


class ExceptionFormatter(formatter.ExceptionFormatter):
    """Adds the place in the file to a catalogue's errors."""

    def format_error_response(self, error_response: Any) -> dict[str, Any]:
        formatted: dict[str, Any] = super().format_error_response(error_response)
        if isinstance(self.exc, CatalogueRefused):
            for error, problem in zip(formatted["errors"], self.exc.problems, strict=True):
                places = {"line": problem.line, "column": problem.column}
                error.update({name: place for name, place in places.items() if place is not None})
        return formatted


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400 for what is no proper request, such as one to a host that is not ours, and for a refused upload."""
    if isinstance(exception, CatalogueError):
        return render(request, "refused.html", {"exception": exception}, status=400)
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
