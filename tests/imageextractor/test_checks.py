import os
import sqlite3

import pytest
from django.core import checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connection

from processing.compress import native


@pytest.mark.parametrize(
    ("vendor", "version", "found"),
    [
        ("sqlite", (3, 32, 3), ["imageextractor.E001"]),
        ("sqlite", (3, 33, 0), []),
        ("postgresql", (3, 32, 3), []),
    ],
)
def test_only_a_sqlite_that_is_used_is_to_be_new_enough(
    monkeypatch: pytest.MonkeyPatch, vendor: str, version: tuple[int, int, int], found: list[str]
) -> None:
    monkeypatch.setattr(connection, "vendor", vendor)
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    monkeypatch.setattr(sqlite3, "sqlite_version", ".".join(map(str, version)))
    errors = [message for message in checks.run_checks() if message.is_serious()]
    assert [error.id for error in errors] == found
    assert all(sqlite3.sqlite_version in error.msg for error in errors)


def test_the_service_does_not_start_on_a_sqlite_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "execve", pytest.fail)
    monkeypatch.setattr(connection, "vendor", "sqlite")
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 32, 3))
    with pytest.raises(SystemCheckError, match=r"too old: 3\.33\.0 or later"):
        call_command("serve", skip_checks=False)


@pytest.mark.parametrize("has_library", [True, False])
def test_the_check_says_how_jpegs_are_recompressed(
    has_library: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(native, "library", lambda: object() if has_library else None)
    call_command("check")
    expected = "JPEG codec: coefficients, by" if has_library else "JPEG codec: pixels, since"
    assert expected in capsys.readouterr().out
