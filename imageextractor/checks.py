"""What an operator should know before anything starts."""

import sqlite3
from typing import Any

from django.conf import settings
from django.core import checks
from django.db import connection

#: The first version that knows UPDATE … FROM.
OLDEST_SQLITE = (3, 33, 0)
#: The tag of its check, for commands that run no others.
SQLITE = "sqlite"


@checks.register(SQLITE)
def sqlite_that_is_too_old(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Outcomes are written by a statement that older ones do not know."""
    if connection.vendor != "sqlite" or sqlite3.sqlite_version_info >= OLDEST_SQLITE:
        return []
    oldest = ".".join(map(str, OLDEST_SQLITE))
    message = (
        f"This Python has SQLite {sqlite3.sqlite_version}, which is too old: {oldest} or later is needed."
    )
    hint = "Take a newer operating system or Python, or run it on PostgreSQL."
    return [checks.Error(message, hint=hint, id="processing.E001")]


@checks.register
def local_files_in_a_cluster(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Local files serve a cluster only on a volume that all of it shares."""
    if settings.EMBEDDED or settings.AWS_STORAGE_BUCKET_NAME:
        return []
    message = f"Files are kept in {settings.DATA_DIR}, which every web and worker machine has to share."
    hint = "Mount one volume there on all of them, or set AWS_STORAGE_BUCKET_NAME to keep them on S3."
    return [checks.Info(message, hint=hint, id="processing.I001")]
