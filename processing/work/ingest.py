"""Ingest: insert the rows of a stored catalogue as Products and Images, chunk by chunk."""

import logging
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from django.db import connection

from products.catalogue import Catalogue, CatalogueError, Row
from products.lifecycle import Chunk, abort_ingest, ingest_chunk, parts_of_row
from products.models import Request

logger = logging.getLogger(__name__)

CHUNK_ROWS = 2500
CHUNK_IMAGES = 5000
#: In SQLite, which has one writer at a time, transactions are to take less than 50 ms. A place in a row costs
#: a fifth of an Image.
SQLITE_CHUNK_ROWS = 250
SQLITE_CHUNK_IMAGES = 500
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
            max_rows, max_images = _chunk_size()
            chunks = (Chunk.of(batch.pk, some) for some in _chunks(rows, max_rows, max_images))
            with closing(_read_ahead(chunks)) as made:
                for chunk in made:
                    for part in _transactions(chunk, max_images):
                        if not ingest_chunk(batch, part):
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


def _chunk_size() -> tuple[int, int]:
    """Return how many rows and Images a transaction inserts at most, but for the last row."""
    if connection.vendor == "sqlite":
        return min(CHUNK_ROWS, SQLITE_CHUNK_ROWS), min(CHUNK_IMAGES, SQLITE_CHUNK_IMAGES)
    return CHUNK_ROWS, CHUNK_IMAGES


def _chunks(rows: Iterator[Row], chunk_rows: int, chunk_images: int) -> Iterator[list[Row]]:
    """Yield the rows in chunks. A row with more than `chunk_images` URLs is one of its own."""
    chunk: list[Row] = []
    images, max_rows = 0, min(FIRST_CHUNK_ROWS, chunk_rows)
    for row in rows:
        if chunk and len(row.image_urls) > chunk_images:
            yield chunk
            chunk, images, max_rows = [], 0, chunk_rows
        chunk.append(row)
        images += len(row.image_urls)
        if len(chunk) >= max_rows or images >= chunk_images:
            yield chunk
            chunk, images, max_rows = [], 0, chunk_rows
    if chunk:
        yield chunk


def _transactions(chunk: Chunk, max_images: int) -> Iterable[Chunk]:
    """Return the chunk, or if it is a row with more than `max_images` URLs, its parts."""
    if len(chunk.products) == 1 and len(chunk.places) > max_images:
        return parts_of_row(chunk, max_images, PLACES_PER_IMAGE * max_images)
    return [chunk]
