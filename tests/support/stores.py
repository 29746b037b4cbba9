"""An S3 store for tests: moto's server, or a real one that TEST_S3_ENDPOINT_URL names."""

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from secrets import token_hex
from typing import Any, Self

import boto3
import httpx
from botocore.config import Config

from tests.support.stack import TLS, free_port, wait_for

#: A real store, with TEST_S3_ACCESS_KEY_ID and TEST_S3_SECRET_ACCESS_KEY.
REAL = os.environ.get("TEST_S3_ENDPOINT_URL")


@dataclass(frozen=True, slots=True)
class Store:
    """A store and an account in it."""

    endpoint: str
    access_key: str
    secret_key: str

    @classmethod
    def real(cls) -> Self:
        assert REAL
        return cls(REAL, os.environ["TEST_S3_ACCESS_KEY_ID"], os.environ["TEST_S3_SECRET_ACCESS_KEY"])

    def environment(self, bucket: str) -> dict[str, str]:
        """The variables by which the service uses a bucket of it."""
        return {
            "AWS_STORAGE_BUCKET_NAME": bucket,
            "AWS_S3_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_S3_REGION_NAME": "us-east-1",
        }

    def client(self) -> Any:
        """A client of boto3's, past all of the service's code."""
        return client_of(self)

    def new_bucket(self) -> str:
        """The name of a bucket that is not there yet."""
        return f"test-{token_hex(6)}"

    def keys(self, bucket: str) -> list[str]:
        """The keys of all objects."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def remove(self, bucket: str) -> None:
        """Remove a bucket with all that is in it, if it is there."""
        client = self.client()
        try:
            for key in self.keys(bucket):
                client.delete_object(Bucket=bucket, Key=key)
            client.delete_bucket(Bucket=bucket)
        except client.exceptions.NoSuchBucket:
            pass


@cache  # to make one takes a tenth of a second
def client_of(store: Store) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        region_name="us-east-1",
        config=Config(signature_version="s3v4", request_checksum_calculation="when_required"),
    )


class Moto:
    """moto's server on a port of its own, which can be killed and started again; it forgets everything then.

    It knows who may read an object, but neither who may list a bucket, nor whether credentials are right, nor
    when a signature expires.
    """

    def __init__(self) -> None:
        self._port = free_port()
        self.store = Store(f"http://127.0.0.1:{self._port}", "any", "any")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Returns when it answers."""
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)]
        self._process = subprocess.Popen(command, **quiet)  # type: ignore[call-overload]
        wait_for(self._answers, "moto answers")

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            return httpx.get(self.store.endpoint, verify=TLS).status_code == 200
        except httpx.TransportError:
            return False
