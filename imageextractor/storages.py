"""Where files are kept: Django's STORAGES, from environment variables.

`default` holds the pictures, `uploads` the catalogues, which nobody may read but us; `links` makes the
addresses at which the pictures are read from outside.
"""

from pathlib import Path
from typing import Any

from botocore.config import Config
from django.core.exceptions import ImproperlyConfigured

from imageextractor.environment import env, env_url

IMMUTABLE = {"CacheControl": "public, max-age=31536000, immutable"}
#: Bytes of a catalogue that are held in memory while it is read; more go to disk.
IN_MEMORY = 2_500_000


def local(data_dir: Path) -> dict[str, Any]:
    """Files below `data_dir`."""
    pictures = {"BACKEND": "processing.storage.outputs.LocalStorage"}
    private = {
        "location": data_dir / "uploads",
        "file_permissions_mode": 0o600,
        "directory_permissions_mode": 0o700,
    }
    uploads = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": private}
    return {"default": pictures, "uploads": uploads, "links": pictures}


def s3(bucket: str, *, connections: int, signed: bool) -> dict[str, Any]:
    """Objects in `bucket`, of which at most `connections` pictures are stored at once.

    Its pictures may be read by anyone, or, if `signed`, by who has an address that was signed lately.
    """
    options = {
        "bucket_name": bucket,
        "endpoint_url": env_url("AWS_S3_ENDPOINT_URL"),
        "access_key": env("AWS_ACCESS_KEY_ID"),
        "secret_key": env("AWS_SECRET_ACCESS_KEY"),
        "region_name": env("AWS_S3_REGION_NAME"),
        "client_config": _config(max_pool_connections=connections),
    }
    pictures = options | {"object_parameters": IMMUTABLE, "querystring_auth": False} | _public_address()
    links = options | _signing_address(bucket) if signed else pictures
    return {
        "default": {"BACKEND": "processing.storage.s3.PictureStorage", "OPTIONS": pictures},
        "uploads": {
            "BACKEND": "processing.storage.s3.FileStorage",
            "OPTIONS": options | {"location": "uploads", "max_memory_size": IN_MEMORY},
        },
        "links": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": links},
    }


def _config(**options: Any) -> Config:
    """Time limits for a store that is silent; no optional checksums, which not every store knows."""
    return Config(
        signature_version="s3v4",
        connect_timeout=5,
        read_timeout=30,
        retries={"mode": "standard", "total_max_attempts": 3},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        **options,
    )


def _public_address() -> dict[str, Any]:
    public_url = env_url("AWS_S3_PUBLIC_URL")
    if public_url is None:
        return {}
    scheme, _, domain = public_url.partition("://")
    return {"custom_domain": domain, "url_protocol": f"{scheme}:"}


def _signing_address(bucket: str) -> dict[str, Any]:
    """A signature holds for one host: that of the public address, if there is one of its own."""
    public_url = env_url("AWS_S3_PUBLIC_URL")
    if public_url is None:
        return {}
    scheme, _, host = public_url.partition("://")
    if host.endswith(f"/{bucket}"):
        return {"endpoint_url": public_url.removesuffix(f"/{bucket}")}
    if host.startswith(f"{bucket}."):
        endpoint = f"{scheme}://{host.removeprefix(f'{bucket}.')}"
        return {"endpoint_url": endpoint, "client_config": _config(s3={"addressing_style": "virtual"})}
    raise ImproperlyConfigured(
        f"With AWS_S3_SIGNED_URLS the store itself has to be at AWS_S3_PUBLIC_URL, which then ends with "
        f"/{bucket} or begins with {bucket}., unlike {public_url!r}."
    )
