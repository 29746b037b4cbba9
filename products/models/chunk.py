"""Rows of a catalogue on their way into the database."""

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from products.catalogue import Row, host_of, url_problem
from products.models.ids import uuid5_digits


@dataclass(frozen=True, slots=True)
class Chunk:
    """What some rows become in the tables of a Request, as far as that can be said without asking them.

    `products` have id, row number, serial number, name and cells. `images` are by their ids, each with URL,
    host and what keeps it from being tried. `places` have the ids of Product and Image, and the position.
    Values are as `bulk.insert` takes them.
    """

    products: list[tuple[str, int, str, str, str]]
    images: dict[str, tuple[str, str, str | None]]
    places: list[tuple[str, str, int]]

    @classmethod
    def of(cls, request_id: uuid.UUID, rows: Iterable[Row]) -> "Chunk":
        chunk = cls([], {}, [])
        for row in rows:
            product = product_id(request_id, row.number)
            cells = json.dumps(row.cells)
            chunk.products.append((product, row.number, row.serial_number, row.product_name, cells))
            for position, url in enumerate(row.image_urls):
                image = image_id(request_id, url)
                if image not in chunk.images:
                    chunk.images[image] = url, host_of(url), url_problem(url)
                chunk.places.append((product, image, position))
        return chunk


def product_id(request_id: uuid.UUID, row_number: int) -> str:
    """The id of a row's Product, in 32 hex digits."""
    return uuid5_digits(request_id, f"row {row_number}")


def image_id(request_id: uuid.UUID, url: str) -> str:
    """The id of a URL's Image, in 32 hex digits. It makes the URL unique in the Request."""
    return uuid5_digits(request_id, url)
