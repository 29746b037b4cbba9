"""Secrets in the database."""

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from processing.webhooks.models import WebhookEndpoint
from products.encryption import Encryption, UnreadableSecret
from tests.support.factories import make_user


@pytest.fixture
def ann(db: None) -> User:
    return make_user()


def test_a_secret_is_not_readable_in_the_database(ann: User) -> None:
    endpoint = WebhookEndpoint.objects.create(owner=ann, url="https://shop.example/hook")
    (row,) = WebhookEndpoint.objects.values()
    assert endpoint.secret not in str(row)
    assert WebhookEndpoint.objects.get().secret == endpoint.secret


def test_a_secret_survives_a_new_secret_key_as_long_as_the_old_one_is_a_fallback(settings: Settings) -> None:
    secrets = Encryption("tests")
    encrypted = secrets.encrypt("whsec_abc")
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another"
    assert secrets.decrypt(encrypted) == "whsec_abc"
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(UnreadableSecret):
        secrets.decrypt(encrypted)


def test_a_secret_is_unreadable_for_another_purpose() -> None:
    encrypted = Encryption("tests").encrypt("whsec_abc")
    with pytest.raises(UnreadableSecret):
        Encryption("other tests").decrypt(encrypted)
