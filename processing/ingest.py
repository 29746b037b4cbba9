"""Ingest: from the stored catalogue into Products and Images."""

import logging
import time
from collections.abc import Iterator
from itertools import islice

from products.catalogue import Catalogue, CatalogueError, Row
from products.models import Request

logger = logging.getLogger(__name__)

#: Seconds that an ingest keeps a worker thread before it goes to the end of the queue.
SLICE_SECONDS = 5
CHUNK_ROWS = 1000
CHUNK_IMAGES = 2000


def run(batch: Request) -> Iterator[bool]:
    """Ingest for a slice of time. Yields after each chunk whether the whole file is in.

    Ends early when another ingest of the same Request is ahead, or the Request is no longer active.
    """
    deadline = time.monotonic() + SLICE_SECONDS
    try:
        with batch.source.open("rb") as file:
            rows = islice(Catalogue(file), batch.ingested_rows, None)
            for chunk in _chunks(rows):
                if not batch.ingest(chunk):
                    return
                yield batch.ingested
                if time.monotonic() > deadline:
                    return
    except (CatalogueError, FileNotFoundError) as error:
        logger.exception("The catalogue of %s cannot be read any more", batch.pk)
        batch.refuse(f"The stored catalogue could not be read: {error}")


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    images = 0
    for row in rows:
        chunk.append(row)
        images += len(row.image_urls)
        if len(chunk) >= CHUNK_ROWS or images >= CHUNK_IMAGES:
            yield chunk
            chunk, images = [], 0
    if chunk:
        yield chunk
