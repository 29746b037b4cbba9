"""Uploads are refused as soon as they are known to be too large, before they fill a disk."""

from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest

from products.catalogue import CatalogueError
from products.lifecycle.submit import file_too_large

#: Bytes that a form may have around its files: Django's limits for other fields, and room for their headers.
ENVELOPE = 4_000_000


class UploadTooLarge(CatalogueError, RequestDataTooBig):
    """A catalogue is refused while it still arrives.

    The API answers it as every refused catalogue. Where Django reads a form before any view is reached, to
    check its CSRF token, it turns its own exceptions into an answer, of which this is therefore one.
    """

    def __init__(self) -> None:
        super().__init__([file_too_large()])


class LimitedUploadHandler(FileUploadHandler):
    """Comes before the handlers that store, and lets UPLOAD_MAX_BYTES of files through to them at most."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request)
        self._request = request
        self._size = 0

    def handle_raw_input(
        self, input_data: Any, META: Any, content_length: int, boundary: Any, encoding: str | None = None
    ) -> None:
        """Refuse by the announced length, before anything is read."""
        if content_length > largest_form():
            raise UploadTooLarge

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        """Hand a piece of a file on."""
        self._size += len(raw_data)
        if self._size > settings.UPLOAD_MAX_BYTES:
            for handler in self._request.upload_handlers:
                handler.upload_interrupted()  # frees the disk at once, not when the garbage is collected
            raise UploadTooLarge
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Leave the file to the other handlers."""


def largest_form() -> int:
    """Most bytes of a form with files. A larger one has too much in its files, or in its other fields."""
    limit: int = settings.UPLOAD_MAX_BYTES + ENVELOPE
    return limit
