"""Ingest: insert the rows of a stored catalogue as Products and Images, chunk by chunk."""

import logging
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from django.db import connection

from products.catalogue import Catalogue, CatalogueError, Row
from products.lifecycle import Chunk, abort_ingest, ingest_chunk
from products.models import Request

logger = logging.getLogger(__name__)

CHUNK_ROWS = 2500
CHUNK_IMAGES = 5000
#: In SQLite, which has one writer at a time, transactions are to take less than 50 ms. A place in a row costs
#: a fifth of an Image.
SQLITE_CHUNK_ROWS = 500
SQLITE_CHUNK_IMAGES = 1000
PLACES_PER_IMAGE = 5
#: Rows of the first chunk. It is small, so that lanes start early.
FIRST_CHUNK_ROWS = 500


def run(batch: Request) -> Generator[bool]:
    """Ingest from `ingested_rows` on. Yields after each transaction whether the whole file is ingested.

    Ends early when another ingest of the same Request is ahead or the Request is no longer active. Fails the
    Request if the file cannot be read to its end.
    """
    try:
        with batch.source.open("rb") as file:
            rows = Catalogue(file, **batch.reading).rows(batch.ingested_rows)
            max_rows, max_images = CHUNK_ROWS, CHUNK_IMAGES
            if connection.vendor == "sqlite":
                max_rows, max_images = min(max_rows, SQLITE_CHUNK_ROWS), min(max_images, SQLITE_CHUNK_IMAGES)
            with closing(_read_ahead(_chunks(batch, rows, max_rows, max_images))) as chunks:
                for chunk in chunks:
                    if not ingest_chunk(batch, chunk):
                        return
                    yield batch.ingested
        if not batch.ingested:
            abort_ingest(batch, "The stored catalogue could not be read: it ends too early.")
    except (CatalogueError, FileNotFoundError) as error:
        logger.exception("The stored catalogue of %s could not be read", batch.pk)
        abort_ingest(batch, f"The stored catalogue could not be read: {error}")


def _read_ahead(chunks: Iterator[Chunk]) -> Generator[Chunk]:
    """Yield the chunks. A thread makes the next one while the database inserts the one before."""
    with ThreadPoolExecutor(1, "ingest") as thread:
        chunk = next(chunks, None)
        while chunk:
            coming = thread.submit(next, chunks, None)
            yield chunk
            chunk = coming.result()


def _chunks(batch: Request, rows: Iterator[Row], max_rows: int, max_images: int) -> Iterator[Chunk]:
    """Yield the rows in chunks, and those with more than `max_images` URLs in parts."""
    some: list[Row] = []
    images, wanted_rows = 0, min(FIRST_CHUNK_ROWS, max_rows)
    for row in rows:
        if len(row.image_urls) > max_images:
            if some:
                yield Chunk.of(batch.pk, some)
            yield from Chunk.of(batch.pk, [row]).parts(max_images, PLACES_PER_IMAGE * max_images)
            some, images, wanted_rows = [], 0, max_rows
            continue
        some.append(row)
        images += len(row.image_urls)
        if len(some) >= wanted_rows or images >= max_images:
            yield Chunk.of(batch.pk, some)
            some, images, wanted_rows = [], 0, max_rows
    if some:
        yield Chunk.of(batch.pk, some)
