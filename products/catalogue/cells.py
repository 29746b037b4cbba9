"""How cells stand in the text of a record: taken apart and put together without touching the others."""

import re
from functools import lru_cache

# As Excel and LibreOffice know the start of a formula, in full width too.
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)*|[.,]\d+)(e[+-]?\d+)?%?", re.IGNORECASE)


def raw_cells(record: str, delimiter: str) -> tuple[list[str], str]:
    """The cells of a record with their quotes, and its line end; "" where the file ends without one.

    They are those that the csv module finds: a quote counts at the start of a cell only, and what follows
    the closing one belongs to the cell.
    """
    cells, place, find = [], 0, _cell(delimiter).match
    while match := find(record, place):
        cells.append(match[0])
        place = match.end()
        if not record.startswith(delimiter, place):
            break
        place += 1
    return cells, record[place:]


def quote(value: str, delimiter: str, *, always: bool = False) -> str:
    """A cell as it stands in a record: in quotes where it has to be, or always."""
    if always or delimiter in value or '"' in value or "\n" in value or "\r" in value:
        return '"' + value.replace('"', '""') + '"'
    return value


def defused(value: str) -> str:
    """The cell, behind an apostrophe where a spreadsheet would take it for a formula. Numbers are none."""
    return f"'{value}" if _FORMULA.match(value) and not _NUMBER.fullmatch(value) else value


@lru_cache
def _cell(delimiter: str) -> re.Pattern[str]:
    return re.compile(rf'(?:"[^"]*+(?:""[^"]*+)*+")?[^{re.escape(delimiter)}\r\n]*+')
