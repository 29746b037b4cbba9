import json
from typing import Any

from botocore.exceptions import ClientError
from django.conf import settings
from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandError

from processing.storage.s3 import complaint
from products.models.files import ERRORS

LARGE_REGION = "us-east-1"  # the one that S3 refuses to see named when a bucket is made


class Command(BaseCommand):
    help = "Makes the bucket AWS_STORAGE_BUCKET_NAME unless it is there, and says who may read it."

    def handle(self, *args: Any, **options: Any) -> None:
        """Safe to run again: an existing bucket keeps its content and gets the policy anew."""
        bucket = settings.AWS_STORAGE_BUCKET_NAME
        if not bucket:
            raise CommandError("AWS_STORAGE_BUCKET_NAME is not set.")
        storage: Any = default_storage
        try:
            self._create(storage.client, bucket)
            if settings.AWS_S3_SIGNED_URLS:
                storage.client.delete_bucket_policy(Bucket=bucket)
            else:
                storage.client.put_bucket_policy(Bucket=bucket, Policy=policy(bucket))
        except ERRORS as error:
            raise CommandError(complaint(error, bucket) or str(error)) from error
        readers = (
            "read by signed addresses alone" if settings.AWS_S3_SIGNED_URLS else "images/* for anyone to read"
        )
        self.stdout.write(f"{bucket}: {readers}")

    def _create(self, client: Any, bucket: str) -> None:
        region = client.meta.region_name
        named = region and region != LARGE_REGION
        place = {"CreateBucketConfiguration": {"LocationConstraint": region}} if named else {}
        try:
            client.create_bucket(Bucket=bucket, **place)
        except ClientError as error:
            if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
                raise


def policy(bucket: str) -> str:
    """As JSON: anyone may read a picture, and nobody may list what there is or read what lies beside them."""
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": ["*"]},
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{bucket}/images/*"],
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
