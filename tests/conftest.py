"""Fixtures for all tests."""

import gc
import os
import socket
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings as django_settings
from django.core.management.color import Style
from django.core.management.commands import flush
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import client, override_settings

from tests.support.names import Names

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.support.origin import Origin


def required(variable: str) -> str:
    """The variable's value. Without it the run ends: no test is skipped, none passes on something else."""
    if value := os.environ.get(variable):
        return value
    return pytest.exit(f"{variable} is not set: run `make test`, which starts the servers", returncode=4)


def pytest_collection_finish() -> None:
    """Modules and tests stay to the end: the garbage collector need not look at them again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def settings_of_all_tests(django_test_environment: None) -> Iterator[None]:
    """Static files as they lie, since nothing has collected them for a test, and passwords that cost nothing.

    They are looked up when asked for, since each client of a test would list them all.
    """
    static_files = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    with override_settings(
        WHITENOISE_AUTOREFRESH=True,
        STORAGES=django_settings.STORAGES | {"staticfiles": static_files},
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    ):
        yield


@pytest.fixture(scope="session", autouse=True)
def contexts_of_answers() -> Iterator[None]:
    """The `context` of an answer is that of its own template: to copy those of all its widgets takes time."""
    record = vars(client)["store_rendered_templates"]  # which the stubs do not have

    def record_first(store: dict[str, Any], *arguments: Any, **options: Any) -> None:
        if "context" not in store:
            record(store, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "store_rendered_templates", record_first)
        yield


@pytest.fixture(autouse=True)
def counters_of_ones_own(settings: "Settings") -> None:
    """No test counts the logins and uploads of another."""
    cache = settings.CACHES["default"]
    settings.CACHES = {"default": cache | {"KEY_PREFIX": token_hex(8)}}


@pytest.fixture(autouse=True)
def fresh_health(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is answered what another test has asked, and a busy machine is not taken for a silent server."""
    monkeypatch.setattr("processing.monitoring.health.CACHE_SECONDS", 0)
    monkeypatch.setattr("processing.monitoring.health.TIMEOUT_SECONDS", 60)


@pytest.fixture(autouse=True)
def hosts_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test leaves an origin alone since another one on the same port has asked for that."""
    monkeypatch.setattr("processing.hosts.leases.KEY_PREFIX", f"{token_hex(8)}:")


@pytest.fixture(autouse=True)
def no_lookups(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No name server is asked about hosts of a preview. No thread that looks one up outlives its test."""
    from processing.work import host_warnings
    from tests.support.parallel import wait_for_threads

    monkeypatch.setattr(host_warnings, "lookups", host_warnings.HostLookups())
    monkeypatch.setattr(host_warnings, "looked_up_problem", lambda host: "")
    yield
    # What the test has replaced is still replaced.
    wait_for_threads("lookup")


@pytest.fixture(autouse=True)
def messages_are_sent(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --quick a test sends messages as the process does that has the worker in it."""
    if pytestconfig.option.quick:
        from processing import runtime

        monkeypatch.setattr(runtime.current, "messages_reach_worker", lambda *, from_worker: True)


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The URL of the Redis that the run has for itself."""
    return required("REDIS_URL")


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    pytestconfig: pytest.Config, django_db_modify_db_settings_parallel_suffix: None
) -> None:
    """No database is made on anything but the run's own PostgreSQL, or with --quick a file of its own."""
    if pytestconfig.option.quick:
        # A file and not memory: threads have connections of their own, which wait for each other's locks.
        connection.settings_dict["TEST"]["NAME"] = str(Path(os.environ["DATA_DIR"], "test.sqlite3"))
        # The file need not outlive a power failure, so that nothing waits for the disk.
        connection.settings_dict["OPTIONS"]["init_command"] += "PRAGMA synchronous=OFF;"
    else:
        required("DATABASE_URL")
        required("REDIS_URL")
        if "PYTEST_XDIST_WORKER" in os.environ:
            from tests.support.stack import migrated_database

            # To copy a database takes a tenth of the time that it takes to make all tables.
            connection.settings_dict["TEST"]["TEMPLATE"] = migrated_database()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """After a test with transactions of its own all rows go but those that Django itself has made.

    To make content types and permissions anew was a quarter of what such a test took. To truncate all tables,
    most of them empty, makes PostgreSQL write a hundred files.
    """
    from django.contrib.auth.models import Permission
    from django.contrib.contenttypes.models import ContentType

    def sql_flush(style: Style, connection: BaseDatabaseWrapper, **options: bool) -> list[str]:
        tables = {*connection.introspection.django_table_names(only_existing=True, include_views=False)}
        tables -= {ContentType._meta.db_table, Permission._meta.db_table}
        has_rows = [f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM {name})" for name in tables]  # noqa: S608
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(has_rows))
            return [f"DELETE FROM {name}" for (name,) in cursor.fetchall()]  # noqa: S608 (our own)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush, "sql_flush", sql_flush)
        patch.setattr(flush, "emit_post_migrate_signal", lambda *_arguments, **_options: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def processes_are_forked() -> Iterator[None]:
    """Deployments start within a fraction of the time."""
    from tests.support.stack import Deployment

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Deployment, "are_forked", True)
        yield


@pytest.fixture(scope="session", autouse=True)
def patient_clients() -> Iterator[None]:
    """No test fails because a busy machine takes longer for an answer than the 5 s that httpx waits."""
    import httpx

    limits = signature(httpx.get).parameters["timeout"].default  # which all functions and clients share
    with pytest.MonkeyPatch.context() as patch:
        for name in vars(limits):
            patch.setattr(limits, name, 60.0)
        yield


@pytest.fixture
def origin() -> Iterator["Origin"]:
    """A web server on loopback that pictures are fetched from."""
    from tests.support.origin import Origin

    with Origin() as origin:
        yield origin


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Addresses that names resolve to during the test."""
    names = Names(socket.getaddrinfo)
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    return names
