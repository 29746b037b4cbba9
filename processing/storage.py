"""Where outputs are kept, under keys that follow from their content."""

import hashlib
import mimetypes
import os
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage

# Storages and views tell the type of a file by its name; not every system's table has these.
mimetypes.add_type("image/webp", ".webp")
mimetypes.add_type("image/avif", ".avif")

#: What Django's storages raise when they do not answer as they should.
ERRORS = (OSError, Boto3Error, BotoCoreError, ClientError)


class StorageError(Exception):
    """The storage did not take a file. Never the picture's fault, so that it is tried again."""


class LocalStorage(FileSystemStorage):
    """Local files that appear whole or not at all, whoever reads or is killed meanwhile."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name

    def _save(self, name: str, content: Any) -> str:
        path = Path(self.path(name))
        temporary = path.with_name(f".{token_hex(8)}")
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
