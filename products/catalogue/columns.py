"""Finds the columns for serial number, product name and pictures by their names in the header."""

import re
import unicodedata
from dataclasses import dataclass
from typing import TypedDict

from products.catalogue.problems import CatalogueError, list_names, refusal

# Known names of each column, best first; case, punctuation and spaces are ignored. Names in one tuple are a
# group: pictures are read from all columns of the best group, and from columns with a number appended.
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

# Columns that a result adds after those of its input. They are replaced when a result is uploaded again.
RESULT_COLUMNS = ["Output Image Urls", "Status", "Error"]

_PUNCTUATION = re.compile(r"[\W_]+")
_NUMBER = re.compile(r" ?(?<!\d)\d++$")
#: Longer names are compared as they are: normalising takes time with the square of their combining marks.
MAX_NORMALISED_CHARS = 1000


class ColumnNames(TypedDict, total=False):
    """Columns by their names in the header, as given by a caller and shown in a preview."""

    serial: str
    name: str
    images: list[str]


@dataclass(frozen=True, slots=True)
class Columns:
    """Indices of the columns that are read.

    `unused` are further columns with a known name, passed over for a better one.
    """

    serial: int
    name: int
    images: tuple[int, ...]
    unused: tuple[int, ...] = ()

    def names(self, header: list[str]) -> ColumnNames:
        """Return the names of the columns that are read."""
        images = [header[index].strip() for index in self.images]
        return {"serial": header[self.serial].strip(), "name": header[self.name].strip(), "images": images}


def find_columns(header: list[str], line: int, names: ColumnNames | None = None) -> Columns:
    """Return the columns given by `names`; for those not given, the ones with the best known name.

    `line` is the line of the header, for errors. Raises CatalogueError if a column is missing or two have
    the same name.
    """
    names = names or {}
    given = {
        "serial": [names.get("serial", "")],
        "name": [names.get("name", "")],
        "images": names.get("images", []),
    }
    positions = _positions(header, line)
    found: dict[str, list[int]] = {}
    unused: set[int] = set()
    for role, wanted in given.items():
        if any(wanted):
            if unknown := [name for name in wanted if normalise(name) not in positions]:
                raise _missing_columns(unknown, header, line)
            found[role] = [positions[normalise(name)] for name in wanted]
        else:
            best, *others = _known_groups(role, positions) or [[]]
            found[role] = best
            unused.update(*others)
    if missing := [groups[0][0] for role, groups in ALIASES.items() if not found[role]]:
        raise _missing_columns(missing, header, line)
    unused.difference_update(*found.values())
    images = tuple(sorted(set(found["images"])))
    return Columns(found["serial"][0], found["name"][0], images, tuple(sorted(unused)))


def is_result(header: list[str]) -> bool:
    """Return whether the header ends in RESULT_COLUMNS."""
    ending = header[-len(RESULT_COLUMNS) :]
    return list(map(normalise, ending)) == list(map(normalise, RESULT_COLUMNS))


def normalise(name: str) -> str:
    """Return a column name in the form in which names are compared."""
    if len(name) > MAX_NORMALISED_CHARS:
        return name.strip()
    return _PUNCTUATION.sub(" ", unicodedata.normalize("NFKC", name).casefold()).strip() or name.strip()


def _positions(header: list[str], line: int) -> dict[str, int]:
    """Return the index of each normalised name, without empty ones. Raise CatalogueError on duplicates."""
    positions: dict[str, int] = {}
    for index, name in enumerate(header):
        key = normalise(name)
        if key and positions.setdefault(key, index) != index:
            detail = f"Two columns have the same name: {list_names([header[positions[key]], name])}."
            raise refusal("duplicate_column", detail, line, index + 1)
    return positions


def _known_groups(role: str, positions: dict[str, int]) -> list[list[int]]:
    """Return the columns with a known name for this role, one list per group, best first."""
    groups = []
    for aliases in ALIASES[role]:
        known = set(map(normalise, aliases))
        group = [
            index
            for key, index in positions.items()
            if key in known or (role == "images" and _NUMBER.sub("", key) in known)
        ]
        if group:
            groups.append(group)
    return groups


def _missing_columns(names: list[str], header: list[str], line: int) -> CatalogueError:
    detail = f"Missing columns: {list_names(names)}. Found in the file: {list_names(header)}."
    return refusal("missing_column", detail, line)
