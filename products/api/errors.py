"""API errors in one shape: `{"type", "errors": [{"code", "detail", "attr", "line"?, "column"?}]}`."""

from typing import Any

from django.core.exceptions import SuspiciousOperation
from drf_standardized_errors import formatter, handler
from rest_framework import exceptions, status

from products.catalogue import CatalogueError, Problem
from products.lifecycle.submit import IdempotencyConflict
from products.rate_limit import LimitReached


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
