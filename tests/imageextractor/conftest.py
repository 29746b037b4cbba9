"""Users of the tests of the service as a whole."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.support.factories import client_of, make_user


@pytest.fixture
def ann(db: None) -> User:
    """An ordinary user."""
    return make_user()


@pytest.fixture
def api(ann: User) -> Client:
    """A client that is logged in as Ann."""
    return client_of(ann)
