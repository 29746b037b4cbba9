"""What a Request hands back: the catalogue with the new URLs, and the pictures in one file."""

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING
from uuid import UUID

from django.core.files.storage import default_storage

from products.catalogue import RESULT_COLUMNS, Catalogue, Row
from products.models import Image, Product, Request

if TYPE_CHECKING:
    from typing_extensions import Buffer

CHUNK_ROWS = 500


def result_csv(batch: Request, *, only_failed: bool = False) -> Iterator[bytes]:
    """The result in the encoding, delimiter and line ends of the input, in pieces of some hundred rows.

    Each row of the input, in order, with its cells as they were, then three columns: the output URLs aligned
    with the row's input URLs (an empty slot for each failure), the row's status, and why what failed has
    failed. A row that is not ingested yet is pending, and canceled if the Request has ended without it.
    `only_failed` leaves out rows without failures.
    """
    catalogue = Catalogue(batch.source.open("rb"))  # here, where an error is an answer and not a torn file
    return _result_rows(batch, catalogue, only_failed=only_failed)


def _result_rows(batch: Request, catalogue: Catalogue, *, only_failed: bool) -> Iterator[bytes]:
    with batch.source:
        yield _encode(catalogue, [[*catalogue.header[: catalogue.own_width], *RESULT_COLUMNS]], first=True)
        rows = iter(catalogue)
        while chunk := list(islice(rows, CHUNK_ROWS)):
            images = _images_of(batch, chunk)
            lines = []
            for row in chunk:
                shown = [images.get(Image.id_for(batch.pk, url)) for url in row.image_urls]
                if only_failed and not any(image and image.is_failed for image in shown):
                    continue
                outcome = _outcome(shown, catalogue.separator, missing=batch.status_of_missing)
                lines.append([*_cells(row, catalogue), *outcome])
            yield _encode(catalogue, lines)


def _cells(row: Row, catalogue: Catalogue) -> list[str]:
    """The row's own cells, as many as the header has: what spilled over is put back into the last one."""
    total = len(catalogue.header)
    cells = row.cells + [""] * (total - len(row.cells))
    if len(cells) > total:
        cells[total - 1 :] = [catalogue.delimiter.join(cells[total - 1 :])]
    return cells[: catalogue.own_width]


def _encode(catalogue: Catalogue, lines: list[list[str]], *, first: bool = False) -> bytes:
    text = io.StringIO(newline="")
    if first and catalogue.has_bom:
        text.write("\ufeff")
    if first and catalogue.declares_delimiter:
        text.write(f"sep={catalogue.delimiter}{catalogue.line_terminator}")
    csv.writer(text, delimiter=catalogue.delimiter, lineterminator=catalogue.line_terminator).writerows(lines)
    return catalogue.encode(text.getvalue())


def _images_of(batch: Request, rows: list[Row]) -> dict[UUID, Image]:
    ids = {Image.id_for(batch.pk, url) for row in rows for url in row.image_urls}
    fields = ("id", "url", "status", "output_key", "external_url", "error_code", "error_detail")
    return batch.images.only(*fields).in_bulk(list(ids))


def _outcome(shown: list[Image | None], separator: str, *, missing: str) -> tuple[str, str, str]:
    urls = [image.output_url if image else "" for image in shown]
    statuses = [image.status if image else missing for image in shown]
    errors = [f"{image.url}: {image.error_detail}" for image in shown if image and image.is_failed]
    return separator.join(urls) if any(urls) else "", Product.status_of(statuses), " | ".join(errors)


class _Buffer(io.RawIOBase):
    """Takes what zipfile writes and hands it on in pieces; zipfile sees a stream it cannot go back in."""

    def __init__(self) -> None:
        self._data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: "Buffer") -> int:
        self._data += data
        return memoryview(data).nbytes

    def take(self) -> bytes:
        data, self._data = bytes(self._data), bytearray()
        return data


def images_zip(batch: Request) -> Iterator[bytes]:
    """All outputs as a ZIP, each as `{serial}-{n}.{ext}`, in the order of the rows, one picture at a time."""
    buffer, used = _Buffer(), set[str]()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # pictures do not get smaller
        for product in batch.products.with_images().iterator(CHUNK_ROWS):
            for position, image in enumerate(product.images_in_order, 1):
                if image.output_key:
                    name = _member_name(product, position, PurePath(image.output_key).suffix, used)
                    with default_storage.open(image.output_key) as file:
                        archive.writestr(name, file.read())
                    yield buffer.take()
    yield buffer.take()


def _member_name(product: Product, position: int, suffix: str, used: set[str]) -> str:
    """A name that every file system takes and that is not in `used`, even where case does not count."""
    serial = re.sub(r"[^\w.-]+", "_", product.serial_number).strip("._")[:80] or "row"
    name = f"{serial}-{position}{suffix}"
    if name.casefold() in used:
        # No serial has a space or parentheses any more, so this is nobody else's name.
        name = f"{serial}-{position} (row {product.row_number}){suffix}"
    used.add(name.casefold())
    return name
