"""ZIP archives: the output pictures of one Request, the result CSVs of several."""

import io
import re
import time
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING

from django.core.files.storage import default_storage

from products.models import Image, Product, Request
from products.models.product import leading_rows, load_images
from products.results.result_csv import rendition_names, result_csv

if TYPE_CHECKING:
    from typing_extensions import Buffer

CHUNK_ROWS = 100
PIECE_BYTES = 262_144
#: Limit for the part of a file name that comes from the user. File systems accept 255 bytes in total.
MAX_NAME_BYTES = 80


class ZipBuffer(io.RawIOBase):
    """Collects what zipfile writes until it is taken. It cannot seek, so zipfile only appends."""

    def __init__(self) -> None:
        self._data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: "Buffer") -> int:
        self._data += data
        return memoryview(data).nbytes

    def __len__(self) -> int:
        return len(self._data)

    def take(self) -> bytes:
        data, self._data = bytes(self._data), bytearray()
        return data


def images_zip(batch: Request) -> Iterator[bytes]:
    """Yield a ZIP of all outputs, in row order, in pieces of PIECE_BYTES.

    Their names are `{serial}-{n}.{ext}`, those of renditions `{serial}-{n}-{name}.{ext}`.
    """
    buffer = ZipBuffer()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # pictures are compressed already
        for name, key in named_outputs(batch):
            member = zipfile.ZipInfo(name, time.localtime()[:6])
            with default_storage.open(key) as file, archive.open(member, "w") as target:
                for piece in file.chunks(PIECE_BYTES):
                    target.write(piece)
                    yield buffer.take()
    yield buffer.take()


def results_zip(batches: Iterable[Request]) -> Iterator[bytes]:
    """Yield a ZIP of the result CSVs, named `{id}-{name}.csv`."""
    buffer = ZipBuffer()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for batch in batches:
            name = _safe_name(PurePath(batch.filename).stem) or "catalogue"
            with archive.open(f"{batch.pk}-{name}.csv", "w", force_zip64=True) as member:
                for piece in result_csv(batch):
                    member.write(piece)
                    yield buffer.take()
    yield buffer.take()


def named_outputs(batch: Request) -> Iterator[tuple[str, str]]:
    """Yield the file name and the storage key of each output, in row order. Names differ, also in case."""
    used = set[str]()
    for product, number, image in _numbered_images(batch):
        for suffix, key in _stored_files(batch, image):
            yield _member_name(product, number, f"{suffix}{PurePath(key).suffix}", used), key


def _stored_files(batch: Request, image: Image) -> Iterator[tuple[str, str]]:
    """Yield what follows the number in the name of each of an Image's files, and the file's key."""
    if image.output_key:
        yield "", image.output_key
    keys = {rendition.name: rendition.key for rendition in image.renditions.all()}
    for name in rendition_names(batch):
        if name in keys:
            yield f"-{name}", keys[name]


def _numbered_images(batch: Request) -> Iterator[tuple[Product, int, Image]]:
    """Yield each Image of each row with its number in the product, whose rows may follow one another."""
    serial, number = "", 0
    for product in _products(batch):
        if product.serial_number != serial:
            serial, number = product.serial_number, 0
        for image in product.images_in_order:
            number += 1
            yield product, number, image


def _products(batch: Request) -> Iterator[Product]:
    """Yield the rows in order, with their images. While a slow client receives, no cursor is open."""
    rows, last_number = batch.products.with_last_positions().defer("cells").order_by("row_number"), 0
    while chunk := list(rows.filter(row_number__gt=last_number)[:CHUNK_ROWS]):
        del chunk[leading_rows(chunk) :]
        load_images(chunk)
        yield from chunk
        last_number = chunk[-1].row_number


def _member_name(product: Product, number: int, suffix: str, used: set[str]) -> str:
    """Return a file name that is not in `used`, ignoring case, and add it."""
    serial = _safe_name(product.serial_number) or "row"
    name = f"{serial}-{number}{suffix}"
    if name.casefold() in used:
        # Unique: _safe_name() leaves no space or parenthesis in a serial number.
        name = f"{serial}-{number} (row {product.row_number}){suffix}"
    used.add(name.casefold())
    return name


def _safe_name(name: str) -> str:
    """Return `name` with only letters, digits, `_`, `.` and `-`, and shortened; it may be empty."""
    # Cut before too: normalising takes time with the square of the combining marks.
    normalised = unicodedata.normalize("NFKC", name[: 4 * MAX_NAME_BYTES])
    text = re.sub(r"[^\w.-]+", "_", normalised).strip("._")
    return text.encode()[:MAX_NAME_BYTES].decode(errors="ignore")
