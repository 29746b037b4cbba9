"""Fixtures for all tests."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

import pytest
from django.db import connection, connections

from tests.support.names import Names

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page
    from pytest_django import Settings

    from tests.support.origin import Origin

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def required(variable: str) -> str:
    """The variable's value. Without it the run ends: no test is skipped, none passes on something else."""
    if value := os.environ.get(variable):
        return value
    return pytest.exit(f"{variable} is not set: run `make test`, which starts the servers", returncode=4)


@pytest.fixture(autouse=True)
def plain_static_files(settings: "Settings") -> None:
    """Static files as they lie: nothing has collected them for a test."""
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }


@pytest.fixture(autouse=True)
def counters_of_ones_own(settings: "Settings") -> None:
    """No test counts the logins and uploads of another."""
    cache = settings.CACHES["default"]
    settings.CACHES = {"default": cache | {"KEY_PREFIX": token_hex(8)}}


@pytest.fixture(autouse=True)
def fresh_health(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is answered what another test has asked."""
    monkeypatch.setattr("processing.monitoring.health.CACHE_SECONDS", 0)


@pytest.fixture(autouse=True)
def hosts_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test leaves an origin alone since another one on the same port has asked for that."""
    monkeypatch.setattr("processing.hosts.leases.KEY_PREFIX", f"{token_hex(8)}:")


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
    else:
        required("DATABASE_URL")
        required("REDIS_URL")


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


@pytest.fixture(scope="module")
def chromium(django_db_setup: None) -> Iterator["Browser"]:
    """A headless browser.

    While it is there Playwright keeps an event loop in this thread. Django refuses queries beside one unless
    told that they are meant, and uses other connections there, which nobody but this fixture can close.
    """
    from playwright.sync_api import sync_playwright

    executable = required("CHROMIUM_EXECUTABLE")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        with playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS) as browser:
            yield browser
        connections.close_all()


@pytest.fixture
def page(chromium: "Browser") -> Iterator["Page"]:
    """An empty page without cookies or history."""
    with chromium.new_context() as context:
        yield context.new_page()
