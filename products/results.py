"""What a Request hands back: the catalogue with the new URLs."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from products.catalogue import Catalogue, Row, Writer
from products.models import Image, ImageStatus, Product, Request, bulk
from products.models.addresses import Addresses

CHUNK_ROWS = 1000


class _Shown(NamedTuple):
    """What a result says of a picture; `failure` is "" for one that has not failed."""

    output_url: str
    status: str
    failure: str = ""


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
    missing, addresses = _Shown("", batch.status_of_missing), Addresses()
    with batch.source:
        yield from writer.start()
        parts = catalogue.parts()
        while chunk := list(islice(parts, CHUNK_ROWS)):
            images = _images_of(batch, [part for part in chunk if isinstance(part, Row)], addresses)
            lines = []
            for part in chunk:
                if isinstance(part, Row):
                    shown = [images.get(url, missing) for url in part.image_urls]
                    if not only_failed or any(image.failure for image in shown):
                        lines.append(writer.row(part, *_outcome(shown)))
                elif not only_failed:
                    lines.append(part)
            yield writer.encode("".join(lines))


def _images_of(batch: Request, rows: list[Row], addresses: Addresses) -> dict[str, _Shown]:
    """What there is to say of the Images that these rows show, by their URLs."""
    ids = {url: Image.id_for(batch.pk, url) for row in rows for url in row.image_urls}
    images = Image.objects.filter(request=batch, pk__in=bulk.all_of(ids.values()))
    fields = images.values_list("url", "status", "output_key", "external_url", "error_detail")
    return {
        url: _Shown(
            addresses.url(ids[url], output_key, external_url),
            status,
            f"{url}: {error_detail}" if status == ImageStatus.FAILED else "",
        )
        for url, status, output_key, external_url, error_detail in fields
    }


def _outcome(shown: list[_Shown]) -> tuple[list[str], str, str]:
    """A row's output URLs, its status, and what went wrong."""
    urls, statuses, failures = zip(*shown, strict=True) if shown else ((), (), ())
    return list(urls), Product.status_of(statuses), " | ".join(filter(None, failures))
