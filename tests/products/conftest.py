"""Users of the tests of products."""

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
    """A client of the API with Ann's token."""
    return client_of(ann)
