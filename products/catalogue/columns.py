"""Which columns matter, by the names in the header."""

import re
import unicodedata
from dataclasses import dataclass
from typing import TypedDict

from products.catalogue.problems import CatalogueError, list_names, refusal

# The names of each column, best first; case, punctuation and spacing make no difference. Columns named on one
# line are read together: pictures stand in several columns, which may be numbered, too.
ALIASES: dict[str, list[tuple[str, ...]]] = {
    "serial": [
        *(("Serial Number",), ("S. No.",), ("Sr No",)),
        *(("Handle",), ("URL Handle",), ("Product ID",), ("SKU",), ("ID",), ("Reference",)),
    ],
    "name": [("Product Name",), ("Title",), ("Name",)],
    "images": [
        *(("Input Image Urls",), ("Image Urls",), ("Image Src",), ("Product Image URL",), ("Images",)),
        ("base_image", "small_image", "thumbnail_image", "additional_images"),
        ("Image URLs (x,y,z...)",),
        ("image_link", "additional_image_link"),
        ("image_url",),
    ],
}

# What a result has after its input's columns. One that is uploaded again gets them anew.
RESULT_COLUMNS = ["Output Image Urls", "Status", "Error"]

_PUNCTUATION = re.compile(r"[\W_]+")
_NUMBER = re.compile(r" ?\d+$")


class ColumnNames(TypedDict, total=False):
    """Columns by their names in the header, as a caller gives them and a preview shows them."""

    serial: str
    name: str
    images: list[str]


@dataclass(frozen=True, slots=True)
class Columns:
    """Where the columns that matter stand, as indices into a row's cells.

    `unused` are those whose names would have done, had there not been better ones.
    """

    serial: int
    name: int
    images: tuple[int, ...]
    unused: tuple[int, ...] = ()

    def names(self, header: list[str]) -> ColumnNames:
        """What they are called."""
        images = [header[index].strip() for index in self.images]
        return {"serial": header[self.serial].strip(), "name": header[self.name].strip(), "images": images}


def find_columns(header: list[str], line: int, names: ColumnNames | None = None) -> Columns:
    """The columns that `names` names and, for what it leaves out, the best of those that are known by name.

    Raises CatalogueError where one is missing or two have the same name.
    """
    places = _places(header, line)
    found: dict[str, list[int]] = {}
    others: list[int] = []
    for role, named in _wanted(names or {}).items():
        if unknown := [name for name in named if normalise(name) not in places]:
            raise _missing(unknown, header, line)
        found[role] = [places[normalise(name)] for name in named]
    for role in ALIASES.keys() - found.keys():
        best, *worse = _candidates(role, places) or [[]]
        found[role] = best
        others += [index for group in worse for index in group]
    if missing := [families[0][0] for role, families in ALIASES.items() if not found[role]]:
        raise _missing(missing, header, line)
    used = {index for indices in found.values() for index in indices}
    images = tuple(sorted(set(found["images"])))
    return Columns(found["serial"][0], found["name"][0], images, tuple(sorted(set(others) - used)))


def is_result(header: list[str]) -> bool:
    """Whether the header ends in the columns of a result."""
    ending = header[-len(RESULT_COLUMNS) :]
    return list(map(normalise, ending)) == list(map(normalise, RESULT_COLUMNS))


def normalise(header: str) -> str:
    """The form in which names of columns are compared."""
    return _PUNCTUATION.sub(" ", unicodedata.normalize("NFKC", header).casefold()).strip() or header.strip()


def _places(header: list[str], line: int) -> dict[str, int]:
    """Where each normalised name stands. Columns without a name have none."""
    places: dict[str, int] = {}
    for index, name in enumerate(header):
        key = normalise(name)
        if key and places.setdefault(key, index) != index:
            detail = f"Two columns have the same name: {list_names([header[places[key]], name])}."
            raise refusal("duplicate_column", detail, line, index + 1)
    return places


def _wanted(names: ColumnNames) -> dict[str, list[str]]:
    """The names that a caller gives, by what the columns are for."""
    every = {
        "serial": [names.get("serial", "")],
        "name": [names.get("name", "")],
        "images": names.get("images", []),
    }
    return {role: named for role, named in every.items() if any(named)}


def _candidates(role: str, places: dict[str, int]) -> list[list[int]]:
    """The columns that could be it, best first, those of one family together."""
    groups = []
    for family in ALIASES[role]:
        known = set(map(normalise, family))
        group = [
            index
            for key, index in places.items()
            if key in known or (role == "images" and _NUMBER.sub("", key) in known)
        ]
        groups += [group] if group else []
    return groups


def _missing(names: list[str], header: list[str], line: int) -> CatalogueError:
    detail = f"Missing columns: {list_names(names)}. Found in the file: {list_names(header)}."
    return refusal("missing_column", detail, line)
