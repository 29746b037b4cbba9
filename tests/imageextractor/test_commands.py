"""The command line: our commands first, and a database that no command finds unprepared."""

import os
import platform
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from django.core.management import call_command, get_commands
from django.db import DatabaseError, OperationalError, ProgrammingError
from psycopg.errors import UndefinedTable

from imageextractor import __version__
from imageextractor.checks import database_problem
from imageextractor.commands import CommandLine
from tests.support import fork_server
from tests.support.stack import ROOT, Embedded

PROCESSES = pytest.mark.needs("the service in a process of its own")


def manage(data_dir: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(data_dir), **environment}
    return fork_server.run_text(["manage.py", *arguments], env=environment)


def test_our_commands_are_listed_first_with_what_they_do() -> None:
    text = CommandLine(["manage.py", "help"]).main_help_text()
    first, rest = text.split("All commands:")
    ours = {
        name
        for name, app in get_commands().items()
        if str(app).startswith(("imageextractor", "processing", "products"))
    }
    listed = {words[0]: words[1:] for words in map(str.split, first.strip().splitlines()[1:])}
    assert listed.keys() == ours | {"rundramatiq"} >= {"extract", "serve", "recover", "prune", "create_token"}
    assert all(listed.values())
    assert "[auth]" in rest
    assert "Image Extractor" not in CommandLine(["manage.py", "help"]).main_help_text(commands_only=True)


def test_the_version_is_the_same_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("version")
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"Image Extractor {__version__}"
    assert printed[1].startswith(f"Python {platform.python_version()}, Django ")

    def first(pattern: str, name: str) -> str:
        found = re.search(pattern, (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
        assert found, name
        return found[1]

    places = {
        "pyproject.toml": r'^version = "(.+)"$',
        "clients/python/pyproject.toml": r'^version = "(.+)"$',
        "Dockerfile": r"^ARG VERSION=(.+)$",
        "deploy/kubernetes/kustomization.yaml": r'newTag: "(.+)"$',
        "CHANGELOG.md": r"^## \[(.+?)\]",
    }
    assert {first(pattern, name) for name, pattern in places.items()} == {__version__}
    assert f"| {__version__}" in (ROOT / "docs" / "upgrading.md").read_text(encoding="utf-8")


@PROCESSES
@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["createsuperuser", "--noinput", "--username=ann", "--email=ann@shop.example"], "Superuser created"),
        (["changepassword", "ann"], "user 'ann' does not exist"),
        (["create_token", "ann"], "There is no user 'ann'."),
        (["prune", "--older-than", "1"], "deleted: 0 requests"),
        (["recover"], "requests sent again: 0"),
    ],
)
def test_commands_before_the_first_start_find_a_database(
    tmp_path: Path, command: list[str], shown: str
) -> None:
    done = manage(tmp_path, *command, DJANGO_SUPERUSER_PASSWORD="correct horse battery")
    assert shown in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as database:
        assert database.execute("SELECT count(*) FROM products_request").fetchone() == (0,)


@PROCESSES
def test_a_service_starts_where_a_command_has_made_the_database(tmp_path: Path) -> None:
    assert manage(tmp_path, "recover").returncode == 0
    with Embedded(tmp_path) as service:
        service.serve()
        assert service.query("SELECT count(*) FROM products_request") == [(0,)]


@PROCESSES
def test_other_commands_say_what_prepares_the_database(tmp_path: Path) -> None:
    for command in (["clearsessions"], ["shell", "-c", "Request.objects.count()"]):
        done = manage(tmp_path, *command)
        assert done.returncode == 1
        assert "Run `python manage.py migrate`" in done.stderr and "Traceback" not in done.stderr
    assert manage(tmp_path, "migrate").returncode == 0
    assert manage(tmp_path, "clearsessions").returncode == 0


@PROCESSES
def test_a_command_beside_a_service_leaves_its_database_to_it(tmp_path: Path) -> None:
    with Embedded(tmp_path) as service:
        service.serve()
        with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as database:
            before = database.execute("SELECT count(*) FROM django_migrations").fetchone()
            done = manage(tmp_path, "recover")
            assert done.returncode == 0, done.stderr
            assert database.execute("SELECT count(*) FROM django_migrations").fetchone() == before


@pytest.mark.parametrize(
    ("error", "is_outdated"),
    [
        (OperationalError("no such table: auth_user"), True),
        (OperationalError("no such column: products_request.sheet"), True),
        (ProgrammingError('relation "auth_user" does not exist\nLINE 1: …'), True),
        (OperationalError("no such savepoint"), False),
    ],
)
def test_a_database_without_our_tables_is_told_from_other_problems(
    error: DatabaseError, is_outdated: bool
) -> None:
    if isinstance(error, ProgrammingError):
        error.__cause__ = UndefinedTable(str(error))
    assert ("Run `python manage.py migrate`" in (database_problem(error) or "")) == is_outdated
