"""Records: the cells of one line of a table, together with their text as CSV."""

import csv
import re
from functools import lru_cache
from typing import NamedTuple

from products.catalogue.problems import CatalogueError, refusal

MAX_CELL_CHARS = 1_000_000
MAX_ROW_CHARS = 2_000_000

# The csv module's own limit of 131,072 is less than descriptions in HTML have. It is one for the process.
csv.field_size_limit(MAX_CELL_CHARS)

# NUL and lone surrogates, which databases do not take. The latter also stand for bytes that were not decoded.
_UNREADABLE = re.compile("[\x00\ud800-\udfff]")


class Record(NamedTuple):
    """The line a record starts in (from 1), its cells, and its text in the file with the line end."""

    line: int
    cells: list[str]
    text: str

    @property
    def is_blank(self) -> bool:
        return not any(map(str.strip, self.cells))


def readable(text: str) -> str:
    """Return the text with U+FFFD for NUL and lone surrogates."""
    return _UNREADABLE.sub("\ufffd", text)


def raw_cells(text: str, delimiter: str) -> tuple[list[str], str]:
    """Split the text of a record into its cells, quotes included, and its line end ("" if it has none).

    Finds the same cells as the csv module: a quote is special only at the start of a cell, and text after
    the closing quote belongs to the cell.
    """
    cells, position, match_cell = [], 0, _cell_pattern(delimiter).match
    while match := match_cell(text, position):
        cells.append(match[0])
        position = match.end()
        if not text.startswith(delimiter, position):
            break
        position += 1
    return cells, text[position:]


@lru_cache
def _cell_pattern(delimiter: str) -> re.Pattern[str]:
    return re.compile(rf'(?:"[^"]*+(?:""[^"]*+)*+")?[^{re.escape(delimiter)}\r\n]*+')


def quote_cell(value: str, delimiter: str, *, always: bool = False) -> str:
    """Return a cell as CSV text: quoted where necessary, or always."""
    if always or delimiter in value or '"' in value or "\n" in value or "\r" in value:
        return '"' + value.replace('"', '""') + '"'
    return value


def cell_too_long(line: int) -> CatalogueError:
    """Return the error for a cell longer than MAX_CELL_CHARS."""
    detail = f"A cell in line {line} is longer than {MAX_CELL_CHARS:,} characters."
    return refusal("cell_too_long", detail, line)


def row_too_long(line: int) -> CatalogueError:
    """Return the error for a row longer than MAX_ROW_CHARS."""
    detail = f"The row in line {line} is longer than {MAX_ROW_CHARS:,} characters."
    return refusal("line_too_long", detail, line)
