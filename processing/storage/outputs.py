"""Storage of outputs. Their keys contain the hash of their content."""

import hashlib
import logging
import mimetypes
import os
import random
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from botocore.exceptions import ClientError
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage, StorageHandler, default_storage

from products.models.files import STORAGE_ERRORS

logger = logging.getLogger(__name__)

# Storages and views derive a file's type from its name, and not every system knows these.
mimetypes.add_type("image/webp", ".webp")
mimetypes.add_type("image/avif", ".avif")

#: In a key with a readable name, `images/ab/<hash>/<name>.jpg`.
READABLE_KEY_SLASHES = 3
#: The file that store_probe() writes, as large as a small picture, so that it fails on a full disk.
PROBE_KEY, PROBE_BYTES = "images/ready", 64 * 1024


class StorageError(Exception):
    """The storage failed. The picture is not the cause, so it is tried again."""


class LocalStorage(FileSystemStorage):
    """Local files that appear complete or not at all, even if the process is killed while it writes."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name

    def _save(self, name: str, content: Any) -> str:
        path = Path(self.path(name))
        with suppress(FileNotFoundError, PermissionError):  # of another user on a shared volume: replaced
            if _has_content(path, content):
                os.utime(path)  # so that prune keeps it as one that was stored now
                return name
        temporary = path.with_name(f".{random.getrandbits(64):016x}")
        try:
            with _created(temporary) as file:
                os.fchmod(file.fileno(), self.file_permissions_mode or 0o644)
                for chunk in content.chunks():
                    file.write(chunk)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        return name

    def keys_below(self, folder: str) -> list[str]:
        """Return the names of all files in a folder and below it."""
        # Not rglob(), which stops at a folder that is deleted meanwhile.
        return [
            Path(parent, name).relative_to(self.location).as_posix()
            for parent, _, names in os.walk(self.path(folder))
            for name in names
        ]

    def delete(self, name: str) -> None:
        """Delete a file, and the folder that was made for it alone."""
        super().delete(name)
        if name.count("/") == READABLE_KEY_SLASHES:
            with suppress(OSError):  # another file is in it, or it is gone
                Path(self.path(name)).parent.rmdir()


def _has_content(path: Path, content: Any) -> bool:
    """Return whether a file has this content: that costs less than replacing it. Raises FileNotFoundError."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size != content.size:
            return False
        return all(file.read(len(chunk)) == chunk for chunk in content.chunks())


def _created(path: Path) -> BinaryIO:
    """Create a file, and its folder if it is the first file there."""
    try:
        return path.open("xb")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb")


def output_folders() -> list[str]:
    """Return the folders of outputs."""
    return [f"images/{number:02x}" for number in range(256)]


def stored_keys(folder: str) -> list[str]:
    """Return the keys of all files in a folder of outputs and below it. Raises one of STORAGE_ERRORS."""
    storage: Any = default_storage
    keys: list[str] = storage.keys_below(folder)
    return keys


def output_key(data: bytes, extension: str, name: str = "") -> str:
    """Return the key of an output, which ends in `name` if there is one."""
    digest = hashlib.sha256(data).hexdigest()[:40]
    return f"images/{digest[:2]}/{digest}{'/' if name else ''}{name}.{extension}"


def save(key: str, data: bytes) -> None:
    """Store an output. Storing the same bytes twice is harmless. Raises StorageError."""
    try:
        default_storage.save(key, ContentFile(data, key))
    except STORAGE_ERRORS as error:
        raise StorageError(str(error)) from error


def store(data: bytes, extension: str, name: str = "") -> str:
    """Store an output and return its key. Raises StorageError."""
    key = output_key(data, extension, name)
    save(key, data)
    return key


def is_local() -> bool:
    """Return whether outputs are files of this machine or of a volume."""
    return isinstance(default_storage, FileSystemStorage)


def is_stored(key: str) -> bool:
    """Return whether storage has an output. Raises StorageError."""
    try:
        return default_storage.exists(key)
    except STORAGE_ERRORS as error:
        raise StorageError(str(error)) from error


def store_probe() -> None:
    """Store a small file, to see that storage works. Raises one of STORAGE_ERRORS."""
    content = os.urandom(PROBE_BYTES)  # the same bytes again would not be written
    default_storage.save(PROBE_KEY, ContentFile(content, PROBE_KEY))


def check_storage(storage: Storage, name: str) -> None:
    """Write, read and delete a file. Raises one of STORAGE_ERRORS."""
    content = os.urandom(1024)
    stored_name = storage.save(name, ContentFile(content, name))
    try:
        with storage.open(stored_name) as file:
            if file.read() != content:
                raise OSError(f"{stored_name} has other content than was stored.")
    except BaseException:
        with suppress(*STORAGE_ERRORS):
            storage.delete(stored_name)
        raise
    storage.delete(stored_name)


def require_bucket() -> None:
    """Raise ImproperlyConfigured if S3 answers that the bucket is missing or the credentials are wrong.

    If S3 does not answer, only log it: the service can start and wait for it.
    """
    bucket = settings.AWS_STORAGE_BUCKET_NAME
    if not bucket:
        return
    from processing.storage import s3  # noqa: PLC0415  # imports boto3, which is slow

    # A separate client: processes that are forked later must not share its connections.
    storage: Any = StorageHandler(settings.STORAGES).create_storage(settings.STORAGES["default"])
    try:
        storage.client.get_object(Bucket=bucket, Key=PROBE_KEY)
    except STORAGE_ERRORS as error:
        if sentence := s3.explain(error, bucket):
            raise ImproperlyConfigured(sentence) from error
        if not isinstance(error, ClientError):  # else the bucket is there, and only the file is not
            logger.warning("S3 does not answer yet: %s", error)
