"""Outputs of earlier Requests, used again where a picture has not changed.

Read in bulk for each claim and written in bulk for each flush.
"""

import uuid
from collections.abc import Iterable
from typing import NamedTuple

from django.db import transaction

from processing.compress import Recipe
from processing.work.fetch import Version
from processing.work.models import KnownPicture
from products.lifecycle import PictureFacts
from products.models import Image, ImageStatus, Request, bulk
from products.models.ids import uuid5_digits

_COLUMNS = ("id", "image_id", "source_hash", "url", "etag", "last_modified")
_OUTPUT_COLUMNS = (
    *("id", "status", "output_key", "animated"),
    *("source_bytes", "source_width", "source_height", "source_format"),
    *("output_bytes", "output_width", "output_height", "output_format"),
)


class StoredOutput(NamedTuple):
    """The output of a completed Image: its storage key, and the facts of source and output."""

    image_id: uuid.UUID
    key: str
    source: PictureFacts
    output: PictureFacts
    animated: bool


class KnownOutput(NamedTuple):
    """A version of a picture and the output that was made of it."""

    version: Version
    stored: StoredOutput


def recipe_of(batch: Request) -> Recipe:
    """Return what is to be made of each picture of a Request."""
    return Recipe(**batch.recipe_options)


def known_picture_id(batch: Request, url: str) -> str:
    """Return the id of the KnownPicture for a URL, as 32 hex digits.

    It depends on the owner and on all options that change outputs.
    """
    made = recipe_of(batch).canonical[0]
    return uuid5_digits(uuid.NAMESPACE_URL, f"{batch.owner_id} {made} {url}")


def recall(batch: Request, urls: Iterable[str]) -> dict[str, KnownOutput]:
    """Return the known outputs of these pictures by URL; none if `batch.force` is set.

    Their Images exist and are completed. The caller has to check that the file is still stored.
    """
    if batch.force:
        return {}
    url_by_id = {known_picture_id(batch, url): url for url in urls}
    rows = bulk.read(KnownPicture, _COLUMNS, list(url_by_id))
    if not rows:
        return {}
    # Two look-ups by key: PostgreSQL would answer a join of tables it has not analyzed yet by a full scan.
    images = bulk.read(Image, _OUTPUT_COLUMNS, [image_id for _, image_id, *_ in rows])
    outputs = {
        pk: StoredOutput(
            uuid.UUID(pk), key, PictureFacts(*facts[:4]), PictureFacts(*facts[4:]), bool(animated)
        )
        for pk, status, key, animated, *facts in images
        if status == ImageStatus.COMPLETED and key
    }
    return {
        url_by_id[pk]: KnownOutput(Version(url, source_hash, etag, last_modified), outputs[image_id])
        for pk, image_id, source_hash, url, etag, last_modified in rows
        if image_id in outputs
    }


def remember(pictures: Iterable[tuple[Request, str, uuid.UUID, Version]]) -> None:
    """Write the versions of completed pictures, each as (Request, URL, id of the Image, version)."""
    rows = [
        (
            known_picture_id(batch, url),
            image_id.hex,
            version.sha256,
            version.url,
            version.etag,
            version.last_modified,
        )
        for batch, url, image_id, version in pictures
    ]
    with transaction.atomic():
        # In the order of ids, so that two workers that write the same rows cannot deadlock.
        bulk.upsert(KnownPicture, _COLUMNS, sorted(rows))
