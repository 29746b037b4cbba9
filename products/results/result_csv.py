"""The result CSV: a Request's catalogue with the URLs of its outputs."""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from products.catalogue import Catalogue, Row, Writer
from products.models import Image, ImageStatus, Product, Rendition, Request, bulk
from products.models.files import storage_checked
from products.models.ids import rendition_id
from products.models.output_urls import OutputUrls

CHUNK_ROWS, CHUNK_URLS, CHUNK_CHARACTERS = 1000, 10_000, 500_000
RESULT_FIELDS = ("url", "status", "output_key", "external_url", "error_detail")
#: Also needed for the outcomes before a run.
EARLIER_FIELDS = (*RESULT_FIELDS, "previous", "settled_at")

# Cached, since most rows have one of a few combinations of statuses.
_status_of = lru_cache(Product.status_of)


class PictureResult(NamedTuple):
    """The outcome of an Image as a result shows it; `failure` is "" unless the Image has failed.

    `renditions` has the URLs of renditions in the order of the Request, "" for one that is missing, or
    nothing if all are.
    """

    output_url: str
    status: str
    failure: str = ""
    renditions: Sequence[str] = ()


def result_csv(
    batch: Request,
    *,
    replace: bool = False,
    only_failed: bool = False,
    for_excel: bool = False,
    before_run: bool = False,
) -> Iterator[bytes]:
    """Yield the result in the CSV dialect of the input, a thousand rows at a time.

    The result of a workbook is a plain CSV. All rows of the input follow in order with their cells unchanged
    and more columns: the output URLs, aligned with the row's input URLs (an empty slot for a failure), those
    of each rendition in the same way, the status of the row, and the errors. A row that is not ingested is
    pending, or canceled if the Request has ended.

    With `replace`, the output URLs replace the input URLs in their cells instead; a URL without an output
    stays. With `only_failed`, rows without failures are left out. `for_excel` is as in `Writer`.
    With `before_run`, the pictures of a retry that is under way are as they were before it.
    """
    # Opened here and not in the generator, so that an error is raised before the response has begun.
    with storage_checked():
        catalogue = Catalogue(batch.source.open("rb"), **batch.reading)
    names = rendition_names(batch)
    writer = Writer(catalogue, replace=replace, for_excel=for_excel, renditions=names)
    before = batch.started_at if before_run and batch.is_active else None
    return _chunks(batch, catalogue, writer, ResultReader(batch, before), only_failed)


def rendition_names(batch: Request) -> list[str]:
    """Return the names of the renditions of a Request, in order."""
    return [rendition["name"] for rendition in batch.renditions]


def _chunks(
    batch: Request, catalogue: Catalogue, writer: Writer, reader: "ResultReader", only_failed: bool
) -> Iterator[bytes]:
    count = len(batch.renditions)
    with batch.source:
        yield from writer.start()
        for chunk in rows_with_results(batch, catalogue, reader):
            lines = []
            for part, of_row in chunk:
                if isinstance(part, Row):
                    if not only_failed or any(outcome.failure for outcome in of_row):
                        lines.append(writer.row(part, *result_cells(of_row, count)))
                elif not only_failed:
                    lines.append(part)
            yield writer.encode("".join(lines))


def rows_with_results(
    batch: Request, catalogue: Catalogue, reader: "ResultReader | None" = None
) -> Iterator[list[tuple[Row | str, list[PictureResult]]]]:
    """Yield the parts of a catalogue in chunks, each row with the outcome of each of its URLs."""
    reader, not_ingested = reader or ResultReader(batch), PictureResult("", batch.status_of_missing)
    for chunk in _split(catalogue.parts()):
        outcomes = reader.read([part for part in chunk if isinstance(part, Row)])
        yield [
            (
                part,
                [outcomes.get(url, not_ingested) for url in part.image_urls] if isinstance(part, Row) else [],
            )
            for part in chunk
        ]


def _split(parts: Iterable[Row | str]) -> Iterator[list[Row | str]]:
    """Yield the parts of a catalogue in chunks of CHUNK_ROWS, or of fewer with many URLs or long cells.

    A chunk stays in memory while a slow client receives it.
    """
    chunk: list[Row | str] = []
    urls = characters = 0
    for part in parts:
        chunk.append(part)
        urls += len(part.image_urls) if isinstance(part, Row) else 0
        characters += sum(map(len, part.cells)) if isinstance(part, Row) else len(part)
        if len(chunk) >= CHUNK_ROWS or urls >= CHUNK_URLS or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, urls, characters = [], 0, 0
    if chunk:
        yield chunk


class ResultReader:
    """Reads the outcomes of a Request's Images for consecutive rows of its catalogue.

    With `before`, the start of a retry, those that it has changed are as they were then.
    """

    def __init__(self, batch: Request, before: datetime | None = None) -> None:
        self._batch, self._output_urls = batch, OutputUrls()
        self._before = before
        self._fields = EARLIER_FIELDS if before else RESULT_FIELDS
        self._renditions = rendition_names(batch)
        self._last_number = 0  # of the Images that the rows read so far have shown

    def read(self, rows: list[Row]) -> dict[str, PictureResult]:
        """Return outcomes by URL: those of the next `rows`, possibly with others."""
        urls = {url for row in rows for url in row.image_urls}
        # Images are numbered in the order in which rows first show them, so new ones are a range of an index.
        # Not batch.images, which would set the request of each.
        numbered = Image.objects.filter(
            request=self._batch,
            number__gt=self._last_number,
            number__lte=self._last_number + len(urls),
        ).order_by()
        outcomes = self._outcomes(numbered.values_list("pk", *self._fields))
        earlier = {url: Image.id_for(self._batch.pk, url) for url in urls - outcomes.keys()}
        self._last_number += len(urls) - len(earlier)
        if earlier:
            found = bulk.read(Image, self._fields, [pk.hex for pk in earlier.values()])
            outcomes |= self._outcomes((earlier[url], url, *others) for url, *others in found)
        return outcomes

    def _outcomes(self, rows: Iterable[tuple[Any, ...]]) -> dict[str, PictureResult]:
        rows = list(rows)
        renditions = rendition_urls(self._renditions, [pk for pk, *_ in rows], self._output_urls)
        outcomes = {}
        for pk, url, status, output_key, external_url, error_detail, *others in rows:
            if others and (was := self._before_retry(status, *others)):
                failure = f"{url}: {was['error_detail']}" if was["status"] == ImageStatus.FAILED else ""
                outcomes[url] = PictureResult("", was["status"], failure)
                continue
            outcomes[url] = PictureResult(
                self._output_urls.url(pk, output_key, external_url),
                status,
                f"{url}: {error_detail}" if status == ImageStatus.FAILED else "",
                renditions.get(pk, ()),
            )
        return outcomes

    def _before_retry(self, status: str, previous: Any, settled_at: Any) -> dict[str, Any] | None:
        """Return what a picture was before the retry; None if the retry has not changed it.

        `bulk.read` returns texts for the two fields on SQLite, and for JSON on PostgreSQL.
        """
        if previous is None:
            return None
        if isinstance(settled_at, str):
            settled_at = bulk.parse_moment(settled_at)
        if status != ImageStatus.PENDING and settled_at < self._before:
            return None  # of an earlier retry
        was: dict[str, Any] = json.loads(previous) if isinstance(previous, str) else previous
        return was


def rendition_urls(
    names: Sequence[str], images: Iterable[UUID], addresses: OutputUrls
) -> dict[UUID, list[str]]:
    """Return the URLs of the renditions with these names by Image, "" for one that is missing."""
    if not names:
        return {}
    places = {rendition_id(pk, name): (pk, name) for pk in images for name in names}
    keys = {places[pk]: key for pk, key in bulk.read(Rendition, ("id", "key"), list(places))}
    urls: dict[UUID, list[str]] = {}
    for pk, name in places.values():
        key = keys.get((pk, name))
        urls.setdefault(pk, []).append(addresses.url(pk, key, "", name) if key else "")
    return urls


def result_cells(
    outcomes: list[PictureResult], renditions: int
) -> tuple[Sequence[str], str, str, list[list[str]]]:
    """Return the output URLs of a row, its status, its errors, and the URLs of its renditions."""
    urls, statuses, failures, _ = zip(*outcomes, strict=True) if outcomes else ((), (), (), ())
    columns = [
        [outcome.renditions[index] if outcome.renditions else "" for outcome in outcomes]
        for index in range(renditions)
    ]
    return urls, _status_of(statuses), " | ".join(filter(None, failures)), columns
