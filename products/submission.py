"""What a catalogue has to be before it becomes a Request."""

import hashlib
import json
from typing import Any, Unpack

from django.conf import settings
from django.core.files import File

from products.catalogue import (
    Catalogue,
    CatalogueError,
    Preview,
    Problem,
    Reading,
    Summary,
    preview,
    validate,
)


class IdempotencyConflict(Exception):
    """The key was used before, for another file or other options."""


def check_catalogue(file: "File[bytes]", *, strict: bool = False, **reading: Unpack[Reading]) -> Summary:
    """Read a catalogue once, storing nothing. Raises CatalogueError when it is refused."""
    if file.size > settings.UPLOAD_MAX_BYTES:
        raise CatalogueError([file_too_large()])
    return validate(Catalogue(file, **reading), strict=strict, max_urls=settings.REQUEST_MAX_IMAGES)


def file_too_large() -> Problem:
    """What is wrong with a file over UPLOAD_MAX_BYTES."""
    limit = f"{settings.UPLOAD_MAX_BYTES:,} bytes"
    return Problem("file_too_large", f"The file has more than {limit}; no larger one is accepted.")


def preview_catalogue(file: "File[bytes]", **reading: Unpack[Reading]) -> Preview:
    """What a catalogue would be read as, storing and fetching nothing. Raises what an upload would raise.

    The limits are checked first, since a preview keeps something of every URL in memory.
    """
    check_catalogue(file, **reading)
    return preview(Catalogue(file, **reading))


def fingerprint(file: "File[bytes]", **options: Any) -> str:
    """What makes two submissions the same: SHA-256 over the file and the options."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    file.seek(0)
    for chunk in file.chunks():
        digest.update(chunk)
    return digest.hexdigest()
