"""Storages on S3, and explanations of S3's errors."""

import io
from datetime import datetime
from functools import cached_property
from threading import local
from typing import Any

from botocore.exceptions import ClientError, NoCredentialsError, PartialCredentialsError
from storages.backends.s3 import S3Storage

from processing.storage.direct_puts import Template

#: Sentences with the setting that is wrong, by the code of S3's error.
EXPLANATIONS = {
    "NoSuchBucket": (
        "AWS_STORAGE_BUCKET_NAME is not an existing bucket; `manage.py create_bucket` creates {bucket!r}."
    ),
    "InvalidAccessKeyId": "The store does not know AWS_ACCESS_KEY_ID.",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY does not match AWS_ACCESS_KEY_ID.",
    "InvalidToken": "The temporary credentials for S3 are not valid.",
    "ExpiredToken": "The temporary credentials for S3 have expired.",
    "AuthorizationHeaderMalformed": "AWS_S3_REGION_NAME is not the region of the bucket {bucket!r}.",
    "PermanentRedirect": "AWS_S3_REGION_NAME or AWS_S3_ENDPOINT_URL is wrong for the bucket {bucket!r}.",
}
NO_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set, and boto3 finds no other credentials."
)

#: Read ahead: most pictures of a shop are smaller.
RANGE_BYTES = 1024 * 1024


class RangedFile(io.RawIOBase):
    """An object on S3, of which each read gets a range. Raises errors of botocore.

    Wrap it into a BufferedReader, so that many small reads are one request.
    """

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        self._client, self._object = client, {"Bucket": bucket, "Key": key}
        self._size: int = client.head_object(**self._object)["ContentLength"]
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        position = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence] + offset
        if position < 0:
            raise ValueError("The position is before the beginning of the file.")
        self._position = position
        return position

    def readinto(self, buffer: Any) -> int:
        end = min(self._position + len(buffer), self._size)
        if self._position >= end:
            return 0
        part = self._client.get_object(**self._object, Range=f"bytes={self._position}-{end - 1}")
        data: bytes = part["Body"].read()
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


class FileStorage(S3Storage):  # type: ignore[misc]
    """Raises FileNotFoundError for a missing file in every method."""

    def get_modified_time(self, name: str) -> datetime:
        try:
            moment: datetime = super().get_modified_time(name)
        except ClientError as error:
            if _is_missing(error):
                raise FileNotFoundError(name) from error
            raise
        return moment

    def open_ranged(self, name: str) -> io.BufferedReader:
        """Open an object of which only parts are read. Nothing else of it is downloaded."""
        key = self._normalize_name(name)
        try:
            file = RangedFile(self.connection.meta.client, self.bucket_name, key)
        except ClientError as error:
            if _is_missing(error):
                raise FileNotFoundError(name) from error
            raise
        return io.BufferedReader(file, RANGE_BYTES)


class PictureStorage(FileStorage):
    """One client for all threads, as boto3 allows, and one request per picture.

    The base class makes a client for each thread, which is slow, and uploads each file with additional
    threads, which pays for larger files only.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._templates: dict[str, Template | None] = {}  # by the extension of the key
        self._sent = local()

    @cached_property
    def session(self) -> Any:
        return self._create_session()

    @cached_property
    def client(self) -> Any:
        client = self.session.client(
            "s3",
            region_name=self.region_name,
            use_ssl=self.use_ssl,
            endpoint_url=self.endpoint_url,
            config=self.client_config,
            verify=self.verify,
        )
        client.meta.events.register("before-send.s3.PutObject", self._note_request)
        return client

    @cached_property
    def credentials(self) -> Any:
        """The credentials of the client, which refreshes them."""
        return self.session.get_credentials()

    def template(self, name: str) -> Template | None:
        """Return how to store an object of this name without boto3; None before boto3 has stored one."""
        return self._templates.get(name.rpartition(".")[2])

    def exists(self, name: str) -> bool:
        try:
            self.client.head_object(Bucket=self.bucket_name, Key=name)
        except ClientError as error:
            if _is_missing(error):
                return False
            raise
        return True

    def keys_below(self, folder: str) -> list[str]:
        """Return the keys of all objects below a folder."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket_name, Prefix=f"{folder}/"
        )
        return [found["Key"] for page in pages for found in page.get("Contents", ())]

    def _save(self, name: str, content: Any) -> str:
        content.seek(0)
        data, parameters = content.read(), self._get_write_parameters(name, content)
        self.client.put_object(Bucket=self.bucket_name, Key=name, Body=data, **parameters)
        self._templates[name.rpartition(".")[2]] = Template.of(self._sent.request, name, data)
        del self._sent.request  # which holds the picture
        return name

    def _note_request(self, request: Any, **_: Any) -> None:
        self._sent.request = request


def _is_missing(error: ClientError) -> bool:
    return bool(error.response["ResponseMetadata"]["HTTPStatusCode"] == 404)


def explain(error: Exception, bucket: str) -> str | None:
    """Return a sentence with the setting that caused `error`, or None if no setting did."""
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return NO_CREDENTIALS
    code = error.response.get("Error", {}).get("Code") if isinstance(error, ClientError) else None
    sentence = EXPLANATIONS.get(code or "")
    return sentence.format(bucket=bucket) if sentence else None
