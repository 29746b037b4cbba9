"""Django's STORAGES for local files and for S3.

`default` stores pictures, `uploads` catalogues and `results` the latest results of feeds, both of which are
private, and `links` makes the URLs by which pictures are read from outside.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured

from imageextractor.environment import env

if TYPE_CHECKING:
    from botocore.config import Config

IMMUTABLE = {"CacheControl": "public, max-age=31536000, immutable"}
#: Larger catalogues and pictures are kept on disk while they are read.
MAX_IN_MEMORY_BYTES = 2_500_000


def local(data_dir: Path) -> dict[str, Any]:
    """Return storages for files in `data_dir`."""
    pictures = {"BACKEND": "processing.storage.outputs.LocalStorage"}
    private = {
        "location": data_dir / "uploads",
        "file_permissions_mode": 0o600,
        "directory_permissions_mode": 0o700,
    }
    uploads = {"BACKEND": "products.models.files.UploadStorage", "OPTIONS": private}
    results = {
        "BACKEND": "processing.storage.outputs.LocalStorage",
        "OPTIONS": {"location": data_dir, "file_permissions_mode": 0o600},
    }
    return {"default": pictures, "uploads": uploads, "results": results, "links": pictures}


def s3(bucket: str, *, connections: int, signed: bool) -> dict[str, Any]:
    """Return storages for objects in `bucket`, with at most `connections` connections.

    Anyone may read the pictures or, if `signed`, anyone with a URL that was signed within the last hour.
    Raises ImproperlyConfigured if the public URL does not allow signing.
    """
    options = {
        "bucket_name": bucket,
        "endpoint_url": env.url("AWS_S3_ENDPOINT_URL"),
        "access_key": env.text("AWS_ACCESS_KEY_ID"),
        "secret_key": env.text("AWS_SECRET_ACCESS_KEY"),
        "region_name": env.text("AWS_S3_REGION_NAME"),
        "client_config": _config(max_pool_connections=connections),
    }
    options |= {"max_memory_size": MAX_IN_MEMORY_BYTES}
    pictures = options | {"object_parameters": IMMUTABLE, "querystring_auth": False}
    public_url = env.url("AWS_S3_PUBLIC_URL")
    if public_url:
        scheme, _, domain = public_url.partition("://")
        pictures |= {"custom_domain": domain, "url_protocol": f"{scheme}:"}
    links = options | _signing_options(bucket, public_url) if signed else pictures
    return {
        "default": {"BACKEND": "processing.storage.s3.PictureStorage", "OPTIONS": pictures},
        "uploads": {
            "BACKEND": "processing.storage.s3.FileStorage",
            "OPTIONS": options | {"location": "uploads"},
        },
        "results": {"BACKEND": "processing.storage.s3.FileStorage", "OPTIONS": options},
        "links": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": links},
    }


def _config(**options: Any) -> "Config":
    """Return the configuration of boto3: with time limits, without the checksums that some stores refuse."""
    from botocore.config import Config  # noqa: PLC0415  # slow, and of no use to local files

    return Config(
        signature_version="s3v4",
        connect_timeout=5,
        read_timeout=30,
        retries={"mode": "standard", "total_max_attempts": 3},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        **options,
    )


def _signing_options(bucket: str, public_url: str | None) -> dict[str, Any]:
    """Return options that sign URLs for the public host, since a signature is valid for one host only."""
    if public_url is None:
        return {}
    scheme, _, host = public_url.partition("://")
    if host.endswith(f"/{bucket}"):
        return {"endpoint_url": public_url.removesuffix(f"/{bucket}")}
    if host.startswith(f"{bucket}."):
        endpoint = f"{scheme}://{host.removeprefix(f'{bucket}.')}"
        return {"endpoint_url": endpoint, "client_config": _config(s3={"addressing_style": "virtual"})}
    raise ImproperlyConfigured(
        f"AWS_S3_PUBLIC_URL must be the URL of the store itself where AWS_S3_SIGNED_URLS is on: it must end "
        f"with /{bucket}, or its host must begin with {bucket}., unlike {public_url!r}."
    )
