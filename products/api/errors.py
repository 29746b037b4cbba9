"""API errors, all as `{"type", "errors": [{"code", "detail", "attr", "line"?, "column"?}]}`."""

import logging
from typing import Any

from django.core.exceptions import ObjectDoesNotExist, SuspiciousOperation
from drf_standardized_errors import formatter, handler
from rest_framework import exceptions, status
from rest_framework.response import Response

from products.catalogue import CatalogueError, Problem
from products.lifecycle import IdempotencyConflict, OptionsRefused, StillActive
from products.models.files import StorageUnavailable
from products.throttling import LimitReached

logger = logging.getLogger(__name__)


class CatalogueRefused(exceptions.ValidationError):
    """400 for a refused catalogue, with one error for each problem in the file."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__({"file": [exceptions.ErrorDetail(p.detail, p.code) for p in problems]})
        self.problems = problems


class Conflict(exceptions.APIException):
    """409."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class RateLimited(exceptions.APIException):
    """429 with a `Retry-After` header."""

    status_code = status.HTTP_429_TOO_MANY_REQUESTS

    def __init__(self, limit: LimitReached) -> None:
        super().__init__(limit.detail, limit.code)
        self.wait = limit.seconds


class StorageFailed(exceptions.APIException):
    """503 with a `Retry-After` header where storage is down, 507 where a disk is full."""

    def __init__(self, error: StorageUnavailable) -> None:
        super().__init__(error.detail, error.code)
        self.status_code = error.status_code
        self.wait = error.retry_seconds


class ExceptionHandler(handler.ExceptionHandler):
    """Convert exceptions of this project into API errors."""

    def convert_known_exceptions(self, exc: Exception) -> Exception:
        match exc:
            case CatalogueError():
                converted: Exception = CatalogueRefused(exc.problems)
            case OptionsRefused():
                converted = exceptions.ValidationError(exc.problems, exc.code)
            case IdempotencyConflict():
                detail = "This Idempotency-Key was already used for a different file or different options."
                converted = Conflict(detail, "idempotency_conflict")
            case StillActive():
                converted = Conflict("The request is being processed. Wait until it has finished.", "active")
            case LimitReached():
                converted = RateLimited(exc)
            case StorageUnavailable():
                converted = StorageFailed(exc)
            case ObjectDoesNotExist():  # deleted by another call after this one had found it
                logger.warning("%s: %s", type(exc).__name__, exc, exc_info=exc)
                converted = exceptions.NotFound()
            case SuspiciousOperation():  # for example a form with thousands of fields
                converted = exceptions.ParseError(str(exc))
            case _:
                converted = super().convert_known_exceptions(exc)
        return converted

    def report_exception(self, exc: exceptions.APIException, response: Response) -> None:
        """Log storage that fails as one line, other errors of the server as Django does."""
        if isinstance(exc, StorageFailed):
            logger.error("%s (%s)", exc.detail, self.exc.__cause__)
        else:
            super().report_exception(exc, response)


class ExceptionFormatter(formatter.ExceptionFormatter):
    """Add line and column to the errors of a refused catalogue."""

    def format_error_response(self, error_response: Any) -> dict[str, Any]:
        formatted: dict[str, Any] = super().format_error_response(error_response)
        if isinstance(self.exc, CatalogueRefused):
            for error, problem in zip(formatted["errors"], self.exc.problems, strict=True):
                position = {"line": problem.line, "column": problem.column}
                error.update({name: number for name, number in position.items() if number is not None})
        return formatted
