"""A small shop to be photographed: its pictures, drawn, and its catalogue."""

import csv
import io

from products.sample import SHAPES, drawing
from tests.support.origin import Answer, Origin

HEADER = ("Serial Number", "Product Name", "Input Image Urls")
THINGS = tuple(name for name, _shape in SHAPES)


def make_csv(*rows: tuple[object, ...], header: tuple[str, ...] = HEADER) -> bytes:
    """A catalogue with these rows."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    return text.getvalue().encode()


def catalogue(origin: Origin, *, delay: float = 0) -> list[tuple[object, ...]]:
    """Rows with two pictures each, of which some are not there or not what they should be."""
    folder = "slow" if delay else "pictures"
    origin.add(f"/{folder}/moved.jpg", b"<!doctype html><title>We have moved</title>")
    origin.add(f"/{folder}/broken.jpg", drawing(0)[:60_000])
    rows: list[tuple[object, ...]] = []
    for number in range(24):
        urls = [
            origin.add(f"/{folder}/{number}-{side}.jpg", Answer(drawing(number + side), delay=delay))
            for side in (0, 1)
        ]
        rows.append((f"SH-{1001 + number}", f"{THINGS[number % 6]} {'ABCD'[number // 6]}", ", ".join(urls)))
    for number, name in enumerate(("moved", "gone", "broken", "lost")):
        rows.append((f"SH-{1101 + number}", f"Stool {number + 1}", origin.url(f"/{folder}/{name}.jpg")))
    rows.insert(2, ("SH-1000", "Coat rack", "rack.jpg"))
    return rows
