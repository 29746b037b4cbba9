"""Insert the rows of a catalogue as Products and Images."""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from products.catalogue import Row, host_of, url_problem
from products.lifecycle.transitions import settle, stop
from products.models import Image, ImageStatus, Product, ProductImage, Request, RequestStatus, bulk
from products.models.ids import image_id, product_id

_Images = dict[str, tuple[str, str, str | None]]
_Places = list[tuple[str, str, int]]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of a catalogue as values for `bulk.insert`, made without the database.

    `products` are (id, row number, serial number, name, cells as JSON), `images` by id (URL, host, problem of
    the URL or None), `places` (id of Product, id of Image, position). Ids are 32 hex digits.

    A chunk with `is_part` is a part of one row. The row is complete with the part that `completes` it.
    """

    products: list[tuple[str, int, str, str, str]]
    images: _Images
    places: _Places
    is_part: bool = False
    completes: bool = True

    @classmethod
    def of(cls, request_id: uuid.UUID, rows: Iterable[Row]) -> "Chunk":
        """Return the chunk that holds these rows."""
        chunk = cls([], {}, [])
        for row in rows:
            product = product_id(request_id, row.number)
            cells = json.dumps(row.cells)
            chunk.products.append((product, row.number, row.serial_number, row.product_name, cells))
            for position, url in enumerate(row.image_urls):
                image = image_id(request_id, url)
                if image not in chunk.images:
                    problem = url_problem(url)
                    chunk.images[image] = url, "" if problem else host_of(url), problem
                chunk.places.append((product, image, position))
        return chunk


def ingest_chunk(batch: Request, chunk: Chunk) -> bool:
    """Insert the next rows of `batch` and add them to its `ingested_rows`, in one transaction.

    What is there already of a part of a row, inserted by another ingest of the same epoch, is left out.

    Returns False if another ingest has inserted them, or this epoch of the Request is over. `batch` is
    reloaded.
    """
    with transaction.atomic():
        mine = Request.objects.active().filter(
            pk=batch.pk, epoch=batch.epoch, ingested_rows=batch.ingested_rows
        )
        now = timezone.now()
        rows = len(chunk.products) if chunk.completes else 0
        if not mine.update(ingested_rows=F("ingested_rows") + rows, last_progress_at=now):
            return False
        batch.refresh_from_db()
        if batch.status == RequestStatus.PENDING:
            batch.status, batch.started_at = RequestStatus.PROCESSING, now
        products, places = _missing(chunk) if chunk.is_part else (chunk.products, chunk.places)
        names = ("id", "row_number", "serial_number", "product_name", "cells")
        bulk.insert(Product(request=batch), names, products)
        _insert_images(batch, chunk.images)
        bulk.insert(ProductImage(), ("product_id", "image_id", "position"), places)
        settle(batch)
        return True


def parts_of_row(row: Chunk, max_images: int, max_places: int) -> Iterator[Chunk]:
    """Divide the chunk of one row into parts with so many Images or places at most, in their order.

    The Images come first, so that all of them are there before the row is. What is in the database already is
    left out, so that an ingest that stopped within the row goes on there.
    """
    there = set(bulk.known(Image, list(row.images)))
    images = [(pk, image) for pk, image in row.images.items() if pk not in there]
    for start in range(0, len(images), max_images):
        yield Chunk([], dict(images[start : start + max_images]), [], is_part=True, completes=False)
    _, places = _missing(row)
    while len(places) > max_places:
        yield Chunk(row.products, {}, places[:max_places], is_part=True, completes=False)
        places = places[max_places:]
    yield Chunk(row.products, {}, places, is_part=True)


def abort_ingest(batch: Request, error: str) -> bool:
    """Fail a Request whose file cannot be read to its end. Returns False if it has finished already."""
    with transaction.atomic():
        locked = Request.objects.locked().active().filter(pk=batch.pk).first()
        if locked is None:
            return False
        locked.error = error[:500]
        stop(locked, RequestStatus.FAILED, canceled=False)
        return True


def _missing(part: Chunk) -> tuple[list[tuple[str, int, str, str, str]], _Places]:
    """Return what is not there yet of the row and the places in a part of a row.

    Places are inserted in their order, so the last one that is there tells which are missing.
    """
    if not part.products:
        return [], []
    row = Product.objects.filter(pk=uuid.UUID(part.products[0][0])).with_last_positions().first()
    if row is None:
        return part.products, part.places
    position: int | None = getattr(row, "last_position", None)
    last = -1 if position is None else position
    return [], [place for place in part.places if place[2] > last]


def _insert_images(batch: Request, images: Mapping[str, tuple[str, str, str | None]]) -> None:
    """Insert and count the Images that the Request does not have yet, with the next numbers.

    Images whose URL has a problem are inserted as failed. The caller holds the Request's lock, so that no
    other process numbers or inserts Images of it.
    """
    new = dict(images)
    if batch.images_total:
        for known in bulk.known(Image, list(new)):
            del new[known]
    good, bad = [], []
    for number, (pk, (url, host, problem)) in enumerate(new.items(), start=batch.images_total + 1):
        if problem:
            bad.append((pk, number, url, host, problem))
        else:
            good.append((pk, number, url, host))
    names = ("id", "number", "url", "host")
    bulk.insert(Image(request=batch, due_at=batch.created_at), names, good)
    failed = Image(
        request=batch,
        due_at=batch.created_at,
        status=ImageStatus.FAILED,
        error_code="invalid_url",
        settled_at=timezone.now(),
    )
    bulk.insert(failed, (*names, "error_detail"), bad)
    batch.images_total += len(new)
    batch.images_failed += len(bad)
