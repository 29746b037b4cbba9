"""Outputs of earlier Requests, used again where a picture has not changed.

Each output of a picture, the main one and the renditions, is known by itself, so that a change of one leaves
the others as they are. Read in bulk for each claim and written in bulk for each flush.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from functools import lru_cache
from typing import NamedTuple

from django.db import transaction

from processing.compress import OutputOptions, Recipe
from processing.work.fetch import Version
from processing.work.models import KnownPicture
from products.lifecycle import PictureFacts
from products.models import Image, ImageStatus, Rendition, Request, bulk
from products.models.ids import rendition_id, uuid5_digits

_COLUMNS = ("id", "image_id", "rendition", "source_hash", "url", "etag", "last_modified")
_IMAGE_COLUMNS = (
    *("id", "status", "animated", "source_bytes", "source_width", "source_height", "source_format"),
    *("output_key", "output_bytes", "output_width", "output_height", "output_format", "output_quality"),
)
_RENDITION_COLUMNS = ("id", "key", "bytes", "width", "height", "format", "quality")


class StoredOutput(NamedTuple):
    """A stored output: its key, and the facts of source and output.

    `image_id` is the completed Image that refers to it; None for one that has just been made.
    """

    image_id: uuid.UUID | None
    key: str
    source: PictureFacts
    output: PictureFacts
    animated: bool


class KnownOutput(NamedTuple):
    """A version of a picture and the output that was made of it."""

    version: Version
    stored: StoredOutput


#: The known outputs of a picture by name: "" is the main one, the others are renditions.
KnownOutputs = dict[str, KnownOutput]


@lru_cache(maxsize=256)
def recipe_of(batch: Request) -> Recipe:
    """Return what is to be made of each picture of a Request, in the order of `output_names`.

    Cached by the id of the Request, whose options never change.
    """
    main, *renditions = (OutputOptions(**options) for options in batch.outputs.values())
    return Recipe(
        **asdict(main),
        trim=batch.trim,
        min_width=batch.min_width,
        min_height=batch.min_height,
        renditions=tuple(renditions),
    )


def output_names(batch: Request) -> list[str]:
    """Return the names of a Request's outputs: "" for the main one, and those of the renditions."""
    return ["", *(rendition["name"] for rendition in batch.renditions)]


def known_picture_ids(batch: Request, urls: Iterable[str]) -> dict[str, tuple[str, list[str]]]:
    """Return URL and names of the outputs of these pictures, by the id of their KnownPicture (32 hex digits).

    The id depends on the owner, on what is made, in its canonical form and under what names, and on the URL.
    Outputs that are made in the same way share it.
    """
    names_of: defaultdict[str, list[str]] = defaultdict(list)
    for name, made in zip(output_names(batch), recipe_of(batch).canonical, strict=True):
        names_of[made].append(name)
    return {
        uuid5_digits(uuid.NAMESPACE_URL, f"{batch.owner_id} {made} {batch.names} {url}"): (url, names)
        for url in urls
        for made, names in names_of.items()
    }


def recall(batch: Request, urls: Iterable[str]) -> dict[str, KnownOutputs]:
    """Return the known outputs of these pictures by URL and name; none if `batch.force` is set.

    Their Images exist and are completed. The caller has to check that the file is still stored.
    """
    if batch.force:
        return {}
    wanted = known_picture_ids(batch, urls)
    rows = bulk.read(KnownPicture, _COLUMNS, list(wanted))
    if not rows:
        return {}
    stored = _stored_outputs({(image_id, rendition) for _, image_id, rendition, *_ in rows})
    known: defaultdict[str, KnownOutputs] = defaultdict(dict)
    for pk, image_id, rendition, source_hash, *version in rows:
        if output := stored.get((image_id, rendition)):
            url, names = wanted[pk]
            found = KnownOutput(Version(version[0], source_hash, *version[1:]), output)
            known[url] |= dict.fromkeys(names, found)
    return dict(known)


def _stored_outputs(wanted: set[tuple[str, str]]) -> dict[tuple[str, str], StoredOutput]:
    """Return the outputs of completed Images by id of the Image (32 hex digits) and name."""
    # Look-ups by key: PostgreSQL would answer a join of tables it has not analyzed yet by a full scan.
    images = {row[0]: row[1:] for row in bulk.read(Image, _IMAGE_COLUMNS, list({pk for pk, _ in wanted}))}
    ids = {rendition_id(uuid.UUID(pk), name): (pk, name) for pk, name in wanted if name}
    outputs = {(pk, ""): row[6:] for pk, row in images.items()}
    if ids:
        rows = bulk.read(Rendition, _RENDITION_COLUMNS, list(ids))
        outputs |= {ids[row[0]]: row[1:] for row in rows}
    stored = {}
    for place in wanted & outputs.keys():
        status, animated, *source = images[place[0]][:6]
        key, *output = outputs[place]
        if status == ImageStatus.COMPLETED and key:
            stored[place] = StoredOutput(
                uuid.UUID(place[0]), key, PictureFacts(*source), PictureFacts(*output), bool(animated)
            )
    return stored


def remember(pictures: Iterable[tuple[Request, str, uuid.UUID, Version]]) -> None:
    """Write the versions of completed pictures, each as (Request, URL, id of the Image, version)."""
    # By id, since two Images may have been fetched from one URL, to which that of one was corrected.
    rows = {
        pk: (pk, image_id.hex, names[0], version.sha256, version.url, version.etag, version.last_modified)
        for batch, url, image_id, version in pictures
        for pk, (_, names) in known_picture_ids(batch, [url]).items()
    }
    with transaction.atomic():
        # In the order of ids, so that two workers that write the same rows cannot deadlock.
        bulk.upsert(KnownPicture, _COLUMNS, sorted(rows.values()))
