"""Stored files of Requests and drafts."""

from pathlib import Path

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files import File
from django.core.files.storage import Storage, storages

#: Exceptions that Django's storages raise when a disk or S3 fails.
STORAGE_ERRORS = (OSError, Boto3Error, BotoCoreError, ClientError)

MAX_FILENAME_LENGTH = 255


def uploads_storage() -> Storage:
    """Return the storage of uploaded catalogues, which is never public."""
    return storages["uploads"]


def shown_name(file: "File[bytes]") -> str:
    """Return the name of an uploaded file as it is shown: without folders, its end if it is too long."""
    return Path(file.name or "catalogue.csv").name[-MAX_FILENAME_LENGTH:]
