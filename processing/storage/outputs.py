"""Where outputs are kept, under keys that follow from their content."""

import hashlib
import logging
import mimetypes
import os
import random
from pathlib import Path
from typing import Any, BinaryIO

from botocore.exceptions import ClientError
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage, StorageHandler, default_storage

from processing.storage import s3
from products.models.files import ERRORS

logger = logging.getLogger(__name__)

# Storages and views tell the type of a file by its name; not every system's table has these.
mimetypes.add_type("image/webp", ".webp")
mimetypes.add_type("image/avif", ".avif")

#: What try_out() leaves behind: as large as a small picture, so that a full disk shows.
TRIAL = "images/ready", bytes(64 * 1024)


class StorageError(Exception):
    """The storage did not do its part. Never the picture's fault, so that it is tried again."""


class LocalStorage(FileSystemStorage):
    """Local files that appear whole or not at all, whoever reads or is killed meanwhile."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name

    def _save(self, name: str, content: Any) -> str:
        path = Path(self.path(name))
        temporary = path.with_name(f".{random.getrandbits(64):016x}")
        try:
            with _created(temporary) as file:
                os.fchmod(file.fileno(), 0o644)
                for chunk in content.chunks():
                    file.write(chunk)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return name


def _created(path: Path) -> BinaryIO:
    try:
        return path.open("xb")
    except FileNotFoundError:  # the folder is there for all files but its first
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb")


def output_folders() -> list[str]:
    """The folders that outputs lie in."""
    return [f"images/{number:02x}" for number in range(256)]


def store(data: bytes, extension: str) -> str:
    """Keep an output; its key. Storing the same bytes twice is harmless. Raises StorageError."""
    digest = hashlib.sha256(data).hexdigest()[:40]
    key = f"images/{digest[:2]}/{digest}.{extension}"
    try:
        return default_storage.save(key, ContentFile(data, key))
    except ERRORS as error:
        raise StorageError(str(error)) from error


def is_stored(key: str) -> bool:
    """Whether an output is where it was stored. Raises StorageError."""
    try:
        return default_storage.exists(key)
    except ERRORS as error:
        raise StorageError(str(error)) from error


def try_out() -> None:
    """See that storage takes a file. Raises one of ERRORS."""
    name, data = TRIAL
    default_storage.save(name, ContentFile(data, name))


def check(storage: Storage, name: str) -> None:
    """Write, read and delete a file. Raises one of ERRORS."""
    content = os.urandom(1024)
    kept = storage.save(name, ContentFile(content, name))
    try:
        with storage.open(kept) as file:
            if file.read() != content:
                raise OSError(f"{kept} does not have the bytes that were stored.")
    finally:
        storage.delete(kept)


def require_bucket() -> None:
    """Raise ImproperlyConfigured if S3 says that the bucket is missing or our credentials are wrong.

    A store that does not answer is waited for like any other time, not at the start.
    """
    bucket = settings.AWS_STORAGE_BUCKET_NAME
    if not bucket:
        return
    # A client of its own: processes that are forked later must not share connections.
    storage: Any = StorageHandler(settings.STORAGES).create_storage(settings.STORAGES["default"])
    try:
        storage.client.get_object(Bucket=bucket, Key=TRIAL[0])
    except ERRORS as error:
        if sentence := s3.complaint(error, bucket):
            raise ImproperlyConfigured(sentence) from error
        if not isinstance(error, ClientError):  # else there is no such file yet, or none that we may read
            logger.warning("S3 does not answer yet: %s", error)
