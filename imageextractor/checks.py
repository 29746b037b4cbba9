"""System checks of the settings and the environment."""

import re
import sqlite3
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection, connections
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.signals import pre_migrate
from django.dispatch import receiver

#: The first version that supports UPDATE … FROM, which writes outcomes.
MIN_SQLITE_VERSION = (3, 33, 0)
#: PostgreSQL's codes for an undefined table and an undefined column.
OUTDATED_STATES = ("42P01", "42703")
#: The tag of the SQLite check, for commands that run no other.
SQLITE = "sqlite"
#: A migration that only version 0.1.0 has. Its tables cannot be upgraded: later migrations began anew.
FIRST_VERSION = ("products", "0002_image_output")


@checks.register(SQLITE)
def check_sqlite_version(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Report a SQLite that does not support UPDATE … FROM."""
    if connection.vendor != "sqlite" or sqlite3.sqlite_version_info >= MIN_SQLITE_VERSION:
        return []
    minimum = ".".join(map(str, MIN_SQLITE_VERSION))
    message = (
        f"This Python has SQLite {sqlite3.sqlite_version}, which is too old: {minimum} or later is needed."
    )
    hint = "Use a newer operating system or Python, or set DATABASE_URL to a PostgreSQL database."
    return [checks.Error(message, hint=hint, id="imageextractor.E001")]


def database_problem(error: DatabaseError) -> str | None:
    """Return what to do about a database that lacks tables or cannot be used, None for any other error."""
    if getattr(error.__cause__, "sqlstate", None) in OUTDATED_STATES or re.search(
        r"no such (table|column)", str(error)
    ):
        reason = str(error).partition("\n")[0]
        return f"The database is not up to date ({reason}). Run `python manage.py migrate`, then try again."
    if connection.vendor != "sqlite":
        return None
    path, text = connection.settings_dict["NAME"], str(error)
    if "not a database" in text or "malformed" in text:
        return (
            f"{path} is damaged or no SQLite database ({text}). Restore it from a backup, or move it away to "
            "begin with an empty one."
        )
    if "unable to open" in text or "readonly" in text:
        return (
            f"{path} cannot be opened ({text}). Check that it is a file that may be written, and its folder."
        )
    if "disk is full" in text or "disk I/O error" in text:
        return f"{path} cannot be written ({text}). Check the disk and its free space."
    return None


@receiver(pre_migrate)
def refuse_first_version(app_config: Any, using: str, **_kwargs: Any) -> None:
    """Raise ImproperlyConfigured before a database of version 0.1.0 is changed."""
    if app_config.label != "products":  # the signal is sent for each app
        return
    if FIRST_VERSION in MigrationRecorder(connections[using]).applied_migrations():
        raise ImproperlyConfigured(
            f"The database {connections[using].settings_dict['NAME']} is of version 0.1.0, which cannot be "
            "upgraded. Start with an empty one: docs/upgrading.md says how to keep pictures and addresses."
        )


@checks.register
def check_shared_files(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Report that a cluster with local files needs a shared volume."""
    if settings.EMBEDDED or settings.AWS_STORAGE_BUCKET_NAME:
        return []
    message = f"Files are stored in {settings.DATA_DIR}, which all web and worker machines have to share."
    hint = "Mount one volume there on all of them, or set AWS_STORAGE_BUCKET_NAME to store files on S3."
    return [checks.Info(message, hint=hint, id="imageextractor.I001")]
