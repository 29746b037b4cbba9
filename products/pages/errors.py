"""Handlers of 400, 403 and 404: HTML for browsers, JSON for API paths."""

import logging
from collections.abc import Callable

from django.core.exceptions import ObjectDoesNotExist
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.log import log_response
from django.views import defaults
from django_htmx.http import reselect, reswap, retarget

from products.accounts.authentication import HtmxRequest
from products.catalogue import CatalogueError
from products.models.files import StorageUnavailable

logger = logging.getLogger(__name__)

#: Paths called by programs, which expect JSON errors.
API_PATHS = ("/api/", "/upload", "/status/")


class DeletedRowMiddleware:
    """Answers 404 where a row was deleted by another request after the page had found it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        """Raise Http404 instead of ObjectDoesNotExist, and log which row it was."""
        if isinstance(exception, ObjectDoesNotExist):
            logger.warning("%s: %s", request.path, exception, exc_info=exception)
            raise Http404 from exception


def bad_request(request: HtmxRequest, exception: Exception) -> HttpResponse:
    """Answer 400, for example to an unknown Host header or an upload over the size limit.

    Answer 503 or 507 where a file could not be stored. The page that refuses an upload takes the place of the
    whole one that is shown, whatever part of it htmx would replace.
    """
    if isinstance(exception, StorageUnavailable):
        return _storage_failed(request, exception)
    if isinstance(exception, CatalogueError):
        page = render(request, "pages/refused.html", {"exception": exception}, status=400)
        return reselect(reswap(retarget(page, "#main"), "outerHTML"), "#main") if request.htmx else page
    if request.path.startswith(API_PATHS):
        return _json_error(400, "bad_request", "Bad request.")
    return defaults.bad_request(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403, with the message of the exception if it has one."""
    if request.path.startswith(API_PATHS):
        return _json_error(403, "permission_denied", str(exception) or "Forbidden.")
    return defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404."""
    if request.path.startswith(API_PATHS):
        return _json_error(404, "not_found", "Not found.")
    return defaults.page_not_found(request, exception)


def _storage_failed(request: HttpRequest, error: StorageUnavailable) -> HttpResponse:
    if request.path.startswith(API_PATHS):
        response = _json_error(error.status_code, error.code, error.detail)
    else:
        response = render(request, "pages/storage_failed.html", {"error": error}, status=error.status_code)
    if error.retry_seconds:
        response.headers["Retry-After"] = str(error.retry_seconds)
    # Else Django would log it, with a traceback.
    log_response("%s (%s)", error.detail, str(error.__cause__), response=response, request=request)
    return response


def _json_error(status_code: int, code: str, detail: str) -> HttpResponse:
    """Return an error in the API's format, for paths that no API view handles."""
    kind = "client_error" if status_code < 500 else "server_error"
    errors = [{"code": code, "detail": detail, "attr": None}]
    return JsonResponse({"type": kind, "errors": errors}, status=status_code)
