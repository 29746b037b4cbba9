"""What Requests hand back, in one file: the pictures of one, the results of several."""

import io
import re
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING

from django.core.files.storage import default_storage

from products.models import Image, Product, Request
from products.results.table import result_csv, result_name

if TYPE_CHECKING:
    from typing_extensions import Buffer

CHUNK_ROWS = 100
#: Of a file's name, for what the user has called it. File systems take 255 bytes in all.
MAX_NAME_BYTES = 80


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
        for product, number, image in _shown(batch):
            if image.output_key:
                name = _member_name(product, number, PurePath(image.output_key).suffix, used)
                with default_storage.open(image.output_key) as file:
                    archive.writestr(name, file.read())
                yield buffer.take()
    yield buffer.take()


def results_zip(batches: Iterable[Request]) -> Iterator[bytes]:
    """The results as a ZIP, each as `{id}-{name}.csv`."""
    buffer = _Buffer()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for batch in batches:
            name = _safe(PurePath(result_name(batch)).stem) or "catalogue"
            with archive.open(f"{batch.pk}-{name}.csv", "w", force_zip64=True) as member:
                for piece in result_csv(batch):
                    member.write(piece)
                    yield buffer.take()
    yield buffer.take()


def _shown(batch: Request) -> Iterator[tuple[Product, int, Image]]:
    """Each place of a picture with its number in the product, which may go on over several rows."""
    serial, number = "", 0
    for product in batch.products.with_images().defer("cells").iterator(CHUNK_ROWS):
        if product.serial_number != serial:
            serial, number = product.serial_number, 0
        for image in product.images_in_order:
            number += 1
            yield product, number, image


def _member_name(product: Product, number: int, suffix: str, used: set[str]) -> str:
    """A name that every file system takes and that is not in `used`, even where case does not count."""
    serial = _safe(product.serial_number) or "row"
    name = f"{serial}-{number}{suffix}"
    if name.casefold() in used:
        # No serial has a space or parentheses any more, so this is nobody else's name.
        name = f"{serial}-{number} (row {product.row_number}){suffix}"
    used.add(name.casefold())
    return name


def _safe(name: str) -> str:
    """What of a name every file system takes, which may be nothing."""
    text = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFKC", name)).strip("._")
    return text.encode()[:MAX_NAME_BYTES].decode(errors="ignore")
