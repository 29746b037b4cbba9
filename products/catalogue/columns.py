"""Which columns matter, by the names in the header."""

import re
from dataclasses import dataclass

from products.catalogue.problems import list_names, refusal

# The names of each column, best first; case, punctuation and spacing make no difference.
ALIASES = {
    "serial": ("Serial Number", "S. No.", "Sr No"),
    "name": ("Product Name",),
    "images": ("Input Image Urls", "Image Urls"),
}

# What a result has after its input's columns. One that is uploaded again gets them anew.
RESULT_COLUMNS = ["Output Image Urls", "Status", "Error"]

_PUNCTUATION = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Columns:
    """Where the columns that matter stand, as indices into a row's cells."""

    serial: int
    name: int
    images: tuple[int, ...]


def find_columns(header: list[str], line: int) -> Columns:
    places: dict[str, int] = {}
    for index, name in enumerate(header):
        key = normalise(name)
        if key and places.setdefault(key, index) != index:
            detail = f"Two columns have the same name: {list_names([header[places[key]], name])}."
            raise refusal("duplicate_column", detail, line, index + 1)
    found = {
        role: places[key]
        for role, names in ALIASES.items()
        for key in map(normalise, reversed(names))
        if key in places
    }
    if missing := [names[0] for role, names in ALIASES.items() if role not in found]:
        detail = f"Missing columns: {list_names(missing)}. Found in the file: {list_names(header)}."
        raise refusal("missing_column", detail, line)
    return Columns(found["serial"], found["name"], (found["images"],))


def is_result(header: list[str]) -> bool:
    ending = header[-len(RESULT_COLUMNS) :]
    return list(map(normalise, ending)) == list(map(normalise, RESULT_COLUMNS))


def normalise(header: str) -> str:
    """The form in which names of columns are compared."""
    return _PUNCTUATION.sub(" ", header.casefold()).strip()
