"""Makes the bucket AWS_STORAGE_BUCKET_NAME unless it is there, and lets anyone read the pictures in it.

    python -m scripts.create_bucket

The public gets s3:GetObject on `images/*` and nothing else: it can neither list the bucket nor read the
catalogues that are kept beside the pictures.
"""

import json
import sys

import boto3

from imageextractor.env import env, env_url

LARGE_REGION = "us-east-1"  # the one that S3 refuses to see named when a bucket is made


def policy(bucket: str) -> str:
    """The bucket policy as JSON."""
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": ["*"]},
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{bucket}/images/*"],
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def main() -> None:
    """Safe to run again: an existing bucket keeps its content and gets the policy anew."""
    bucket = env("AWS_STORAGE_BUCKET_NAME") or sys.exit("AWS_STORAGE_BUCKET_NAME is not set.")
    region = env("AWS_S3_REGION_NAME", LARGE_REGION)
    client = boto3.client(
        "s3",
        endpoint_url=env_url("AWS_S3_ENDPOINT_URL"),
        region_name=region,
        aws_access_key_id=env("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=env("AWS_SECRET_ACCESS_KEY"),
    )
    place = {} if region == LARGE_REGION else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        client.create_bucket(Bucket=bucket, **place)
    except client.exceptions.BucketAlreadyOwnedByYou:
        print(f"{bucket} is there")
    client.put_bucket_policy(Bucket=bucket, Policy=policy(bucket))


if __name__ == "__main__":
    main()
