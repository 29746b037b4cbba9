"""What a Request hands back: the catalogue with the new URLs."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

from products.catalogue import Catalogue, Row, Writer
from products.models import Image, ImageStatus, Product, Request
from products.models.ids import in_one
from products.models.output_urls import OutputUrls

CHUNK_ROWS = 1000

# What a row's pictures have come to is nearly always the same.
_status_of = lru_cache(Product.status_of)


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
    pictures, missing = _Pictures(batch), _Shown("", batch.status_of_missing)
    with batch.source:
        yield from writer.start()
        parts = catalogue.parts()
        while chunk := list(islice(parts, CHUNK_ROWS)):
            images = pictures.of([part for part in chunk if isinstance(part, Row)])
            lines = []
            for part in chunk:
                if isinstance(part, Row):
                    shown = [images.get(url, missing) for url in part.image_urls]
                    if not only_failed or any(image.failure for image in shown):
                        lines.append(writer.row(part, *_outcome(shown)))
                elif not only_failed:
                    lines.append(part)
            yield writer.encode("".join(lines))


class _Pictures:
    """What there is to say of a Request's Images, for rows in the order of the catalogue."""

    def __init__(self, batch: Request) -> None:
        self._batch, self._addresses = batch, OutputUrls()
        self._last = 0  # the number of the last one that rows have shown so far

    def of(self, rows: list[Row]) -> dict[str, _Shown]:
        """By URL, those that the next rows show, of which others may come with them."""
        urls = {url for row in rows for url in row.image_urls}
        # They are numbered as the rows show them first, so that the new ones are a range of an index.
        found = self._read(number__gt=self._last, number__lte=self._last + len(urls))
        earlier = urls - found.keys()
        self._last += len(urls) - len(earlier)
        if earlier:
            found |= self._read(pk__in=in_one([Image.id_for(self._batch.pk, url) for url in earlier]))
        return found

    def _read(self, **which: Any) -> dict[str, _Shown]:
        # Not batch.images, which would ask for the request of each.
        images = Image.objects.filter(request=self._batch, **which).order_by()
        return {
            url: _Shown(
                self._addresses.url(pk, output_key, external_url),
                status,
                f"{url}: {error_detail}" if status == ImageStatus.FAILED else "",
            )
            for pk, url, status, output_key, external_url, error_detail in images.values_list(
                "pk", "url", "status", "output_key", "external_url", "error_detail"
            )
        }


def _outcome(shown: list[_Shown]) -> tuple[Sequence[str], str, str]:
    """A row's output URLs, its status, and what went wrong."""
    urls, statuses, failures = zip(*shown, strict=True) if shown else ((), (), ())
    return urls, _status_of(statuses), " | ".join(filter(None, failures))
