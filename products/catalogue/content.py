"""Finds the columns that have no known name by what is in their cells."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from products.catalogue.columns import Columns
from products.catalogue.picture_cells import split_urls
from products.catalogue.picture_urls import looks_like_picture, url_problem

#: Rows that are looked at.
SAMPLE_ROWS = 1_000
#: Of the cells of a column that are not blank.
MOST, NEARLY_ALL = 0.5, 0.9
MAX_SERIAL_CHARS, MAX_NAME_CHARS = 64, 300

_DECIMAL = re.compile(r"[^\d\s]{0,3}\s?\d{1,9}[.,]\d{1,9}\s?[^\d\s]{0,3}")
_DIGIT = re.compile(r"\d")
_LETTERS = re.compile(r"[^\W\d_]{2}")


def find_by_content(
    columns: Columns, header: Sequence[str], rows: Iterable[list[str]], base_url: str
) -> Columns:
    """Return the columns with those added that were missing, as far as the cells of `rows` tell.

    Only columns with a name are considered.
    """
    named = [index for index, name in enumerate(header) if name.strip()]
    values: dict[int, list[str]] = {index: [] for index in named}
    count = 0
    for cells in rows:
        count += 1
        for index in named:
            if index < len(cells) and (value := cells[index].strip()):
                values[index].append(value)
    links = {index: _urls(values[index], base_url) for index in named}
    guessed: list[int] = []
    if not columns.images and (images := _pictures(links)):
        columns = replace(columns, images=images)
        guessed += images
    free = [index for index in named if index not in columns.images and not links[index]]
    if columns.serial is None:
        serial = next(
            (index for index in free if index != columns.name and _is_serial(values[index], count)), None
        )
        columns = replace(columns, serial=serial)
        guessed += [] if serial is None else [serial]
    if columns.name is None:
        names = [index for index in free if index != columns.serial and _is_name(values[index], count)]
        name = max(names, key=lambda index: len(set(values[index])), default=None)
        columns = replace(columns, name=name)
        guessed += [] if name is None else [name]
    return replace(columns, guessed=tuple(sorted(guessed)))


def _urls(values: list[str], base_url: str) -> list[str]:
    """Return the first URL of each cell, if most cells have one."""
    firsts = [
        urls[0] for value in values if (urls := split_urls(value, base_url)) and not url_problem(urls[0])
    ]
    return firsts if values and len(firsts) >= MOST * len(values) else []


def _pictures(links: dict[int, list[str]]) -> tuple[int, ...]:
    """Return the columns with URLs of pictures; without any, the only column with URLs."""
    with_urls = [index for index, urls in links.items() if urls]
    pictures = [
        index for index in with_urls if sum(map(looks_like_picture, links[index])) >= MOST * len(links[index])
    ]
    return tuple(pictures or (with_urls if len(with_urls) == 1 else ()))


def _is_serial(values: list[str], count: int) -> bool:
    """Return whether these are short, in nearly every row and all different, and most have a digit."""
    return (
        len(values) >= NEARLY_ALL * count
        and len(set(values)) == len(values)
        and max(map(len, values), default=MAX_SERIAL_CHARS + 1) <= MAX_SERIAL_CHARS
        and sum(bool(_DIGIT.search(value)) for value in values) >= MOST * len(values)
        and not any(map(_DECIMAL.fullmatch, values))
    )


def _is_name(values: list[str], count: int) -> bool:
    """Return whether these are texts, in most rows and most of them different."""
    return (
        len(values) >= MOST * count
        and len(set(values)) >= MOST * len(values)
        and sum(bool(_LETTERS.search(value)) for value in values) >= NEARLY_ALL * len(values)
        and sum(map(len, values)) <= MAX_NAME_CHARS * len(values)
    )
