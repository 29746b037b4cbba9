"""Real browsers, watched: at its end a test's browser has complained of nothing and asked nobody else."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from processing.workers.models import Worker
from tests.support.factories import make_user
from tests.support.watching import Watch, log_in

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture(autouse=True)
def cheap_passwords(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


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
