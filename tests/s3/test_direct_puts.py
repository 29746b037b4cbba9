"""Objects stored by the event loop, as copies of requests that boto3 has made."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from botocore.credentials import RefreshableCredentials
from django.core.files.storage import default_storage
from django.test import override_settings
from pytest import LogCaptureFixture, MonkeyPatch

from processing import loop
from processing.storage import direct_puts
from processing.storage.direct_puts import DirectPuts, Template
from processing.storage.outputs import output_key, store
from processing.storage.s3 import PictureStorage
from tests.s3.conftest import Bucket
from tests.support.factories import JPEG

KEY = "images/ab/other.jpg"
OTHER = b"another picture"


def put(key: str = KEY, data: bytes = OTHER) -> bool:
    """Store an object without boto3, if that is possible now."""

    async def put_and_close() -> bool:
        puts = DirectPuts(default_storage)
        try:
            return await puts.put(key, data)
        finally:
            await puts.close()

    return loop.run(put_and_close())


def test_the_second_picture_is_stored_as_the_first_was(bucket: Bucket) -> None:
    assert not put(), "nothing is known yet of how to do it"
    first = bucket.account.client().head_object(Bucket=bucket.name, Key=store(JPEG, "jpg"))
    assert put()
    second = bucket.account.client().get_object(Bucket=bucket.name, Key=KEY)
    assert second["Body"].read() == OTHER
    for name in ("ContentType", "CacheControl", "Metadata"):
        assert second[name] == first[name], name
    assert httpx.get(default_storage.url(KEY)).content == OTHER


def test_each_format_has_its_own_type(bucket: Bucket) -> None:
    store(JPEG, "jpg")
    assert not put("images/ab/other.webp")
    store(JPEG, "webp")
    assert put("images/ab/other.webp") and put()
    types = [httpx.get(default_storage.url(f"images/ab/other.{one}")) for one in ("webp", "jpg")]
    assert [answer.headers["Content-Type"] for answer in types] == ["image/webp", "image/jpeg"]


def test_a_readable_name_is_a_key_like_others(bucket: Bucket) -> None:
    store(JPEG, "jpg")
    key = output_key(OTHER, "jpg", "garden-chair-2")
    assert put(key)
    assert bucket.keys() == sorted([output_key(JPEG, "jpg"), key])


def test_headers_that_the_settings_add_are_sent_with_every_picture(bucket: Bucket) -> None:
    storage: Any = default_storage
    storage.object_parameters = {"ACL": "public-read", "Metadata": {"shop": "garden"}}
    store(JPEG, "jpg")
    assert put()
    assert bucket.account.client().head_object(Bucket=bucket.name, Key=KEY)["Metadata"] == {"shop": "garden"}


def test_what_fails_is_left_to_boto3(bucket: Bucket, caplog: LogCaptureFixture) -> None:
    store(JPEG, "jpg")
    bucket.account.remove(bucket.name)
    with caplog.at_level("INFO", direct_puts.__name__):
        assert not put()
    assert "S3 answered 404" in caplog.text


def test_a_store_that_is_gone_raises_nothing(bucket: Bucket) -> None:
    store(JPEG, "jpg")
    storage: Any = default_storage
    template = storage.template(KEY)
    storage._templates["jpg"] = Template("http://127.0.0.1:1/", template.headers, template.region)
    assert not put()


def test_a_large_picture_does_not_hold_up_the_loop(bucket: Bucket) -> None:
    store(JPEG, "jpg")
    assert put(data=bytes(direct_puts.MAX_BYTES))
    assert not put(data=bytes(direct_puts.MAX_BYTES + 1))


def test_temporary_credentials_are_refreshed_by_boto3(bucket: Bucket, monkeypatch: MonkeyPatch) -> None:
    refreshes = []

    def fetch() -> dict[str, str]:
        refreshes.append(True)
        return {
            "access_key": bucket.account.access_key,
            "secret_key": bucket.account.secret_key,
            "token": "",
            "expiry_time": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
        }

    storage: Any = default_storage
    temporary = RefreshableCredentials.create_from_metadata(fetch(), refresh_using=fetch, method="test")
    del storage.client  # which `create_bucket` has made
    storage.session._session._credentials = temporary
    store(JPEG, "jpg")
    assert put()
    monkeypatch.setattr(temporary, "_expiry_time", datetime.now(UTC) + timedelta(minutes=1))
    assert not put(), "the loop does not wait for them"
    assert len(refreshes) == 1
    store(JPEG, "jpg")
    assert len(refreshes) == 2
    assert put()


def test_other_certificate_authorities_are_those_of_boto3(
    bucket: Bucket, monkeypatch: MonkeyPatch, tmp_path: Path
) -> None:
    store(JPEG, "jpg")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    assert not put(), "the error is for boto3 to raise"


def test_with_a_body_checksum_in_its_headers_no_request_is_a_template(bucket: Bucket) -> None:
    storage: Any = default_storage
    storage.object_parameters = {"ChecksumAlgorithm": "SHA256"}
    store(JPEG, "jpg")
    assert storage.template(KEY) is None
    assert not put()


def test_the_session_token_of_a_role_is_signed(bucket: Bucket) -> None:
    options = {
        "bucket_name": bucket.name,
        "endpoint_url": bucket.account.endpoint,
        "region_name": "us-east-1",
    }
    with override_settings():
        storage = PictureStorage(access_key="key", secret_key="secret", security_token="token", **options)
    template = Template(f"{bucket.url}/", {"content-type": "image/jpeg"}, "us-east-1")
    url, headers = template.request(storage.credentials, KEY, OTHER)
    assert url == f"{bucket.url}/{KEY}"
    assert headers["X-Amz-Security-Token"] == "token"
    assert "x-amz-security-token" in headers["Authorization"]
