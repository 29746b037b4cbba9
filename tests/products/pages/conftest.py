"""Whoever looks at pages without a browser: what is in the HTML."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from processing.workers.models import Worker
from tests.support.factories import make_user


@pytest.fixture(autouse=True)
def worker(db: None) -> Worker:
    """One that lives, so that nothing waits in vain."""
    return Worker.objects.create()


@pytest.fixture
def ann(db: None) -> User:
    return make_user(password="a long password")


@pytest.fixture
def page(client: Client, ann: User) -> Client:
    """A client that Ann is logged in with."""
    client.force_login(ann)
    return client
