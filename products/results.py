"""What a Request hands back: the catalogue with the new URLs."""

import re
from collections.abc import Iterator
from itertools import islice

from products.catalogue import Catalogue, Row, Writer
from products.models import Image, Product, Request

CHUNK_ROWS = 1000


def result_csv(
    batch: Request, *, replace: bool = False, only_failed: bool = False, for_excel: bool = False
) -> Iterator[bytes]:
    """The result in the dialect of the input, in pieces of a thousand rows; a workbook's is a plain CSV.

    Each row of the input, in order, with its cells as they were, then three columns: the output URLs aligned
    with the row's input URLs (an empty slot for each failure), the row's status, and why what failed has
    failed. A row that is not ingested yet is pending, and canceled if the Request has ended without it.

    `replace` puts the output URLs into the cells of the input URLs instead; a URL without an output stays.
    `only_failed` leaves out rows without failures. `for_excel` is as in `Writer`.
    """
    catalogue = Catalogue(batch.source.open("rb"), **batch.reading)  # here, where an error is still an answer
    return _pieces(batch, catalogue, Writer(catalogue, replace=replace, for_excel=for_excel), only_failed)


def result_name(batch: Request) -> str:
    """What the result's file is called: as the catalogue, but that a workbook's is a CSV."""
    return re.sub(r"\.xls[xm]$", ".csv", batch.filename, flags=re.IGNORECASE)


def _pieces(batch: Request, catalogue: Catalogue, writer: Writer, only_failed: bool) -> Iterator[bytes]:
    with batch.source:
        yield from writer.start()
        parts = catalogue.parts()
        while chunk := list(islice(parts, CHUNK_ROWS)):
            images = _images_of(batch, [part for part in chunk if isinstance(part, Row)])
            lines = []
            for part in chunk:
                if isinstance(part, Row):
                    shown = [images.get(url) for url in part.image_urls]
                    if not only_failed or any(image and image.is_failed for image in shown):
                        lines.append(writer.row(part, *_outcome(shown, missing=batch.status_of_missing)))
                elif not only_failed:
                    lines.append(part)
            yield writer.encode("".join(lines))


def _images_of(batch: Request, rows: list[Row]) -> dict[str, Image]:
    """The Images that these rows show, by their URLs."""
    ids = {Image.id_for(batch.pk, url) for row in rows for url in row.image_urls}
    fields = ("id", "url", "status", "output_key", "external_url", "error_code", "error_detail")
    # Not batch.images, which would ask for the request of each.
    images = Image.objects.filter(request=batch).only(*fields).in_bulk(list(ids))
    return {image.url: image for image in images.values()}


def _outcome(shown: list[Image | None], *, missing: str) -> tuple[list[str], str, str]:
    """A row's output URLs, its status, and what went wrong."""
    urls = [image.output_url if image else "" for image in shown]
    statuses = [image.status if image else missing for image in shown]
    errors = [f"{image.url}: {image.error_detail}" for image in shown if image and image.is_failed]
    return urls, Product.status_of(statuses), " | ".join(errors)
