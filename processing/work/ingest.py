"""Ingest: from the stored catalogue into Products and Images."""

import logging
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from products.catalogue import Catalogue, CatalogueError, Row
from products.models import Chunk, Request

logger = logging.getLogger(__name__)

CHUNK_ROWS = 2500
CHUNK_IMAGES = 5000
#: Of the first chunk, with which the work begins; enough to last until the next one is in.
FIRST_ROWS = 500


def run(batch: Request) -> Generator[bool]:
    """Ingest from where the last one stopped. Yields after each chunk whether the whole file is in.

    Ends early when another ingest of the same Request is ahead, or the Request is no longer active. A file
    that cannot be read to its end any more fails the Request.
    """
    try:
        with batch.source.open("rb") as file:
            rows = Catalogue(file, **batch.reading).rows(batch.ingested_rows)
            with closing(_ahead(Chunk.of(batch.pk, some) for some in _chunks(rows))) as chunks:
                for chunk in chunks:
                    if not batch.ingest(chunk):
                        return
                    yield batch.ingested
        if not batch.ingested:
            batch.refuse("The stored catalogue could not be read: it has become shorter.")
    except (CatalogueError, FileNotFoundError) as error:
        logger.exception("The catalogue of %s cannot be read any more", batch.pk)
        batch.refuse(f"The stored catalogue could not be read: {error}")


def _ahead(chunks: Iterator[Chunk]) -> Generator[Chunk]:
    """Yields the chunks; a thread makes the next one while the database takes in the one before."""
    with ThreadPoolExecutor(1, "ingest") as thread:
        chunk = next(chunks, None)
        while chunk:
            coming = thread.submit(next, chunks, None)
            yield chunk
            chunk = coming.result()


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    images, most = 0, min(FIRST_ROWS, CHUNK_ROWS)
    for row in rows:
        chunk.append(row)
        images += len(row.image_urls)
        if len(chunk) >= most or images >= CHUNK_IMAGES:
            yield chunk
            chunk, images, most = [], 0, CHUNK_ROWS
    if chunk:
        yield chunk
