"""Ingest: insert the rows of a stored catalogue as Products and Images, chunk by chunk."""

import logging
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from products.catalogue import Catalogue, CatalogueError, Row
from products.lifecycle import Chunk, abort_ingest, ingest_chunk
from products.models import Request

logger = logging.getLogger(__name__)

CHUNK_ROWS = 2500
CHUNK_IMAGES = 5000
#: Rows of the first chunk. It is small, so that lanes start early.
FIRST_CHUNK_ROWS = 500


def run(batch: Request) -> Generator[bool]:
    """Ingest from `ingested_rows` on. Yields after each chunk whether the whole file is ingested.

    Ends early when another ingest of the same Request is ahead or the Request is no longer active. Fails the
    Request if the file cannot be read to its end.
    """
    try:
        with batch.source.open("rb") as file:
            rows = Catalogue(file, **batch.reading).rows(batch.ingested_rows)
            with closing(_read_ahead(Chunk.of(batch.pk, some) for some in _chunks(rows))) as chunks:
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


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    images, max_rows = 0, min(FIRST_CHUNK_ROWS, CHUNK_ROWS)
    for row in rows:
        chunk.append(row)
        images += len(row.image_urls)
        if len(chunk) >= max_rows or images >= CHUNK_IMAGES:
            yield chunk
            chunk, images, max_rows = [], 0, CHUNK_ROWS
    if chunk:
        yield chunk
