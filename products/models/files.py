"""Stored files of Requests and drafts, and what is answered where they cannot be stored or read."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from django.core.exceptions import RequestDataTooBig
from django.core.files import File
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.db import OperationalError
from django.db.models.fields.files import FieldFile
from s3transfer.exceptions import RetriesExceededError

logger = logging.getLogger(__name__)

#: Exceptions that Django's storages raise when a disk or S3 fails. Without those of boto3, which its methods
#: for file objects do not raise, and which are slow to import.
STORAGE_ERRORS = (OSError, BotoCoreError, ClientError, RetriesExceededError)

MAX_FILENAME_LENGTH = 255
#: How a full disk shows in messages of SQLite and PostgreSQL.
_FULL_DATABASE = ("database or disk is full", "No space left on device")


class StorageUnavailable(RequestDataTooBig):
    """A file cannot be stored or read now, through no fault of the request.

    Django gives exceptions of this base class to handler400 wherever they are raised, even while it reads a
    form before any view.
    """

    status_code, code = 503, "storage_unavailable"
    retry_seconds: int | None = 60
    title = "Storage does not answer"
    detail = "The storage of files does not answer. Nothing was saved. Try again in a minute."

    def __init__(self) -> None:
        super().__init__(self.detail)


class StorageFull(StorageUnavailable):
    """A disk is full."""

    status_code, code = 507, "storage_full"
    retry_seconds = None
    title = "Disk full"
    detail = "The disk of the server is full. Nothing was saved. Try again when there is room."


@contextmanager
def storage_checked() -> Iterator[None]:
    """Raise StorageFull or StorageUnavailable for errors of the storage or of a full database.

    A file that is missing stays a FileNotFoundError.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OperationalError as error:
        if not any(text in str(error) for text in _FULL_DATABASE):
            raise
        raise StorageFull from error
    except STORAGE_ERRORS as error:
        is_full = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise (StorageFull if is_full else StorageUnavailable) from error


def discard(file: FieldFile) -> None:
    """Delete a stored file that nothing needs. If the storage fails, prune deletes the file after a day."""
    try:
        file.delete(save=False)
    except STORAGE_ERRORS:
        logger.warning("A file that is not needed any more could not be deleted", exc_info=True)


class UploadStorage(FileSystemStorage):
    """Local files with unique names. Nothing stays of one that could not be stored."""

    def _save(self, name: str, content: Any) -> str:
        try:
            saved: str = super()._save(name, content)  # type: ignore[misc]  # left out of the stubs
        except OSError:
            with suppress(OSError):
                self.delete(name)
            raise
        return saved


def uploads_storage() -> Storage:
    """Return the storage of uploaded catalogues, which is never public."""
    return storages["uploads"]


def shown_name(file: "File[bytes]") -> str:
    """Return the name of an uploaded file as it is shown: without folders, its end if it is too long."""
    return Path(file.name or "catalogue.csv").name[-MAX_FILENAME_LENGTH:]
