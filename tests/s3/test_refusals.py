"""Refusals of a real S3 store, all of which moto's server accepts, and our errors for them."""

from typing import Any

import httpx
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import default_storage, storages
from django.core.management import CommandError, call_command

from processing.monitoring import health
from processing.storage.outputs import StorageError, require_bucket, store
from tests.s3.conftest import Bucket
from tests.support.factories import JPEG
from tests.support.stack import wait_for

WRONG: dict[str, Any] = {"AWS_ACCESS_KEY_ID": "NOBODYSKEY000000", "AWS_SECRET_ACCESS_KEY": "wrong" * 6}


def test_nobody_lists_the_bucket_nor_anything_in_it(bucket: Bucket) -> None:
    store(JPEG, "jpg")
    for query in (
        "",
        "?list-type=2",
        "?list-type=2&prefix=images/",
        "?versions",
        "?uploads",
        "?policy",
        "?acl",
    ):
        assert httpx.get(bucket.url + query).status_code == 403, query


def test_nobody_writes_or_deletes_a_picture(bucket: Bucket) -> None:
    key = store(JPEG, "jpg")
    assert httpx.put(f"{bucket.url}/images/00/new.jpg", content=JPEG).status_code == 403
    assert httpx.delete(f"{bucket.url}/{key}").status_code == 403
    assert bucket.keys() == [key]


def test_a_signed_address_ends_and_holds_for_its_own_picture_alone(private_bucket: Bucket) -> None:
    first, second = store(JPEG, "jpg"), store(JPEG + b"x", "jpg")
    links: Any = storages["links"]
    signed = links.url(first)
    assert httpx.get(signed).status_code == 200
    assert httpx.get(signed.replace(first, second)).status_code == 403
    brief = links.url(first, expire=1)
    wait_for(lambda: httpx.get(brief).status_code == 403, "it has expired")


@pytest.mark.parametrize("name", WRONG)
def test_the_start_names_the_credential_that_is_wrong(bucket: Bucket, name: str) -> None:
    bucket.use(**{name: WRONG[name]})
    with pytest.raises(ImproperlyConfigured, match=name):
        require_bucket()
    with pytest.raises(CommandError, match=name):
        call_command("storage_check")


def test_without_credentials_a_store_takes_nothing_and_is_not_ready(bucket: Bucket) -> None:
    bucket.use(**WRONG)
    with pytest.raises(StorageError):
        store(JPEG, "jpg")
    assert "storage" in {check.name: check.start().result(60) for check in health.CHECKS}["storage"]


def test_a_private_bucket_has_no_public_picture(private_bucket: Bucket) -> None:
    key = store(JPEG, "jpg")
    assert httpx.get(f"{private_bucket.url}/{key}").status_code == 403
    assert default_storage.exists(key)
