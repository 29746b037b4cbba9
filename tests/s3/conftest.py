"""Buckets of moto's server, or of the store that TEST_S3_ENDPOINT_URL names."""

import io
from collections.abc import Iterator

import pytest
from botocore.loaders import create_loader
from django.core.files.storage import storages
from django.core.management import call_command
from pytest import MonkeyPatch
from pytest_django import Settings

from imageextractor.storage_settings import s3
from products.models import Request
from tests.support.stores import REAL, Moto, Store

# moto's server does not refuse what these want to see refused.
collect_ignore = [] if REAL else ["test_refusals.py"]


@pytest.fixture(scope="package", autouse=True)
def descriptions() -> Iterator[None]:
    """Let botocore read its description of the S3 API once for all tests, which halves their time."""
    loader = create_loader()
    with MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", lambda *_: loader)
        yield


@pytest.fixture(scope="module")
def account() -> Iterator[Store]:
    if REAL:
        yield Store.real()
    else:
        with Moto() as moto:
            yield moto.store


class Bucket:
    """A bucket's name, and the settings that lead to it."""

    def __init__(self, account: Store, name: str, settings: Settings, patch: MonkeyPatch) -> None:
        self.account, self.name, self._settings, self._patch = account, name, settings, patch
        self.url = f"{account.endpoint}/{name}"
        self.use()

    def use(self, *, signed: bool = False, **environment: str) -> None:
        """Make these the settings of the service, as if it had started with them."""
        for name, value in (self.account.environment(self.name) | environment).items():
            self._patch.setenv(name, value)
        bucket = (self.account.environment(self.name) | environment)["AWS_STORAGE_BUCKET_NAME"]
        self._settings.AWS_STORAGE_BUCKET_NAME = bucket
        self._settings.AWS_S3_SIGNED_URLS = signed
        self._settings.STORAGES = self._settings.STORAGES | s3(bucket, connections=4, signed=signed)
        # The field has taken its storage when the model was made.
        self._patch.setattr(Request._meta.get_field("source"), "storage", storages["uploads"])

    def keys(self) -> list[str]:
        return self.account.keys(self.name)


@pytest.fixture
def no_bucket(account: Store, settings: Settings, monkeypatch: MonkeyPatch) -> Iterator[Bucket]:
    """Settings that name a bucket which is not there."""
    bucket = Bucket(account, account.new_bucket(), settings, monkeypatch)
    yield bucket
    account.remove(bucket.name)


@pytest.fixture
def bucket(no_bucket: Bucket) -> Bucket:
    """A bucket as `create_bucket` makes it."""
    call_command("create_bucket", stdout=io.StringIO())
    return no_bucket


@pytest.fixture
def private_bucket(no_bucket: Bucket) -> Bucket:
    """One whose pictures are read by signed addresses."""
    no_bucket.use(signed=True)
    call_command("create_bucket", stdout=io.StringIO())
    return no_bucket
