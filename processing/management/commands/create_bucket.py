import json
from typing import Any

from botocore.exceptions import ClientError
from django.conf import settings
from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandError

from processing.storage.s3 import explain
from products.models.files import STORAGE_ERRORS

DEFAULT_REGION = "us-east-1"  # the only region that a request to create a bucket must not name


class Command(BaseCommand):
    help = "Creates the bucket AWS_STORAGE_BUCKET_NAME if it is missing, and sets who may read it."

    def handle(self, *args: Any, **options: Any) -> None:
        """Set the policy of an existing bucket as well; its content stays."""
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
        except STORAGE_ERRORS as error:
            raise CommandError(explain(error, bucket) or str(error)) from error
        readers = "signed URLs only" if settings.AWS_S3_SIGNED_URLS else "anyone may read images/*"
        self.stdout.write(f"{bucket}: {readers}")

    def _create(self, client: Any, bucket: str) -> None:
        region = client.meta.region_name
        is_named = region and region != DEFAULT_REGION
        location = {"CreateBucketConfiguration": {"LocationConstraint": region}} if is_named else {}
        try:
            client.create_bucket(Bucket=bucket, **location)
        except ClientError as error:
            if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
                raise


def policy(bucket: str) -> str:
    """Return a bucket policy as JSON by which anyone may read pictures, but nothing else."""
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": ["*"]},
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{bucket}/images/*"],
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
