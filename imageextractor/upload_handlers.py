"""The limit on uploads: a file that is too large is refused while it arrives, before it fills a disk."""

from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import FileUploadHandler, TemporaryFileUploadHandler
from django.http import HttpRequest

from products.catalogue import CatalogueError
from products.lifecycle import file_too_large
from products.models.files import storage_checked

#: Bytes that a form may have besides its files: other fields and headers.
FORM_OVERHEAD_BYTES = 250_000


class UploadTooLarge(CatalogueError, RequestDataTooBig):
    """Refuses a catalogue while it arrives.

    The API answers it like any refused catalogue. The second base class is for forms. Django reads these
    before any view, to check the CSRF token, and then handles only its own exceptions.
    """

    def __init__(self) -> None:
        super().__init__([file_too_large()])


class LimitedUploadHandler(FileUploadHandler):
    """Passes at most UPLOAD_MAX_BYTES of files on to the handlers that store them."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request)
        self._request = request
        self._size = 0

    def handle_raw_input(
        self, input_data: Any, META: Any, content_length: int, boundary: Any, encoding: str | None = None
    ) -> None:
        """Refuse a form by its announced length, before anything is read."""
        if content_length > max_form_bytes():
            raise UploadTooLarge

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        """Count a chunk and pass it on."""
        self._size += len(raw_data)
        if self._size > settings.UPLOAD_MAX_BYTES:
            for handler in self._request.upload_handlers:
                handler.upload_interrupted()  # frees the disk now, not at the next garbage collection
            raise UploadTooLarge
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Leave the file to the other handlers."""


class TemporaryFileHandler(TemporaryFileUploadHandler):
    """Keeps larger files on disk. Raises StorageFull where there is no room for them."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        with storage_checked():
            super().new_file(*args, **kwargs)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        with storage_checked():
            super().receive_data_chunk(raw_data, start)

    def file_complete(self, file_size: int) -> Any:
        """Return the file with all of its bytes on the disk."""
        with storage_checked():
            return super().file_complete(file_size)

    def upload_interrupted(self) -> None:
        """Delete the file. Its last bytes, still in memory, may find no room either."""
        with suppress(OSError):
            super().upload_interrupted()


def max_form_bytes() -> int:
    """Return the most bytes that a form with files may have."""
    limit: int = settings.UPLOAD_MAX_BYTES + FORM_OVERHEAD_BYTES
    return limit
