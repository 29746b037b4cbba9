"""Real browsers, watched: at its end a test's browser has complained of nothing and asked nobody else."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest
from django.contrib.auth.models import User
from django.db import connections
from pytest_django.live_server_helper import LiveServer

from processing.workers.models import Worker
from tests.conftest import required
from tests.support.factories import make_user
from tests.support.parallel import wait_for_threads
from tests.support.watching import Watch, log_in

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="package")
def chromium(django_db_setup: None) -> Iterator["Browser"]:
    """A headless browser.

    While it is there Playwright keeps an event loop in this thread. Django refuses queries beside one unless
    told that they are meant, and uses other connections there, which nobody but this fixture can close.
    """
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)  # no measure of speed
    executable = required("CHROMIUM_EXECUTABLE")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        with playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS) as browser:
            yield browser
        connections.close_all()


@pytest.fixture
def live_server(live_server: LiveServer) -> Iterator[LiveServer]:
    """The server. It is done with what the pages of a test have asked before the next test begins."""
    yield live_server
    # Connections are accepted in order, so all of those pages, closed by now, have threads after this one.
    httpx.get(f"{live_server}/static/products/icon.svg").raise_for_status()
    wait_for_threads("process_request_thread")


@pytest.fixture
def page(chromium: "Browser") -> Iterator["Page"]:
    """An empty page without cookies or history."""
    with chromium.new_context() as context:
        yield context.new_page()


@pytest.fixture
def ann(transactional_db: None) -> User:
    Worker.objects.create()  # so that nothing waits in vain
    return make_user(password="a long password")


@pytest.fixture
def watch(page: "Page", live_server: LiveServer) -> Iterator[Watch]:
    """Complaints of `page` in the console, and the hosts it has requested."""
    watch = Watch(live_server.url)
    watch.follow(page)
    yield watch
    watch.check()


@pytest.fixture
def site(page: "Page", live_server: LiveServer, ann: User, watch: Watch) -> "Page":
    """A page that Ann is logged in with."""
    log_in(page.context, ann, live_server.url)
    return page
