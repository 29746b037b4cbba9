"""The rows of a sheet of an XLSX workbook."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from xml.parsers import expat

from products.catalogue.xlsx.package import Attributes, Handler, relation_of, too_large
from products.catalogue.xlsx.values import column_of, unescape

if TYPE_CHECKING:
    from products.catalogue.xlsx.formats import Formats

#: Excel's limits.
MAX_SHEET_ROWS, MAX_SHEET_COLUMNS = 1_048_576, 16_384
#: Cells of rows up to the last one of each, and those among them that are not in the file.
MAX_SHEET_CELLS, MAX_BLANK_CELLS = 100_000_000, 20_000_000
#: Links and merged ranges of a sheet. Excel has at most 65,530 links.
MAX_REFERENCES = 200_000

RANGE = re.compile(r"\$?([A-Za-z]{1,3})\$?(\d{1,7})(?::\$?([A-Za-z]{1,3})\$?(\d{1,7}))?")
LINK_FORMULA = re.compile(r"(?:_xlfn\.)?(?:HYPERLINK|IMAGE)\s*+\(\s*+\"([^\"]*+)\"", re.IGNORECASE)


class SheetRow(NamedTuple):
    """A row: its number in the sheet, its cells, and by column the target of a link where a cell has one."""

    number: int
    cells: list[str]
    links: dict[int, str]


class References(Handler):
    """Collects the links and merged ranges of a sheet. Rows and columns are counted from 1 and 0."""

    groups = frozenset({"row"})

    def __init__(self) -> None:
        super().__init__()
        self.links: dict[tuple[int, int], str] = {}
        self.merged: dict[tuple[int, int], int] = {}  # by first row and column the last row

    def start(self, name: str, attributes: Attributes) -> None:
        """Collect a link or a range."""
        if name not in {"mergeCell", "hyperlink"}:
            return
        self._group_elements = 0
        if not (found := RANGE.fullmatch(attributes.get("ref", ""))):
            return
        place = int(found[2]), column_of(found[1])
        if name == "hyperlink":
            self.links[place] = relation_of(attributes) or attributes.get("location", "")
        elif found[4] and int(found[4]) > place[0]:
            self.merged[place] = int(found[4])
        if len(self.links) + len(self.merged) > MAX_REFERENCES:
            raise too_large()


class MergedCells:
    """Gives cells that are merged over several rows their value in each row.

    `last_rows` are the last row of each range by its first row and column. A blank row stays blank.
    """

    def __init__(self, last_rows: Mapping[tuple[int, int], int]) -> None:
        self._last_rows = last_rows
        self._active: dict[int, tuple[int, str]] = {}  # by column the last row and the value

    def fill(self, number: int, cells: list[str]) -> int:
        """Fill the next row, which may become longer. Return how many cells that took."""
        count = 0
        if any(cell.strip() for cell in cells):
            for column, (last, value) in [*self._active.items()]:
                count += 1
                if last < number:
                    del self._active[column]
                    continue
                if column >= len(cells):
                    count += column - len(cells)
                    cells += [""] * (column + 1 - len(cells))
                cells[column] = cells[column] or value
        for column, cell in enumerate(cells):
            if (last_row := self._last_rows.get((number, column))) is not None:
                self._active[column] = last_row, cell
        return count


class SheetReader(Handler):
    """Makes the rows of a sheet."""

    groups = frozenset({"row"})

    def __init__(
        self,
        strings: list[str],
        formats: "Formats",
        links: dict[tuple[int, int], str],
        merged: dict[tuple[int, int], int],
    ) -> None:
        super().__init__()
        self.finished: list[SheetRow] = []
        self._strings, self._formats, self._links = strings, formats, links
        self._merged = MergedCells(merged) if merged else None
        self._row_number = 0
        self._cells: list[str] = []
        self._row_links: dict[int, str] = {}
        self._column = 0
        self._cells_left, self._blanks_left = MAX_SHEET_CELLS, MAX_BLANK_CELLS
        self._type = self._style = self._into = ""
        self._value: list[str] = []
        self._formula: list[str] | None = None
        self._is_phonetic = False

    def attach(self, parser: expat.XMLParserType, max_elements: int) -> None:
        """Set the handlers of a parser."""
        super().attach(parser, max_elements)
        parser.EndElementHandler, parser.CharacterDataHandler = self._end, self._data

    def start(self, name: str, attributes: Attributes) -> None:
        """Begin a row, a cell or a part of one."""
        if name == "c":
            self._column = (
                column_of(attributes["r"].rstrip("0123456789")) if "r" in attributes else len(self._cells)
            )
            self._type, self._style = attributes.get("t", "n"), attributes.get("s", "")
            self._value.clear()
            self._formula = None
        elif name == "v" or (name == "t" and not self._is_phonetic):
            self._into = "v"
        elif name == "f":
            self._into, self._formula = "f", []
        elif name == "row":
            self._begin_row(attributes.get("r", ""))
        elif name == "rPh":
            self._is_phonetic = True

    def _begin_row(self, number: str) -> None:
        self._row_number = next_row_number(self._row_number, number)
        if self._row_number > MAX_SHEET_ROWS:
            raise too_large()
        self._cells, self._row_links = [], {}

    def _data(self, data: str) -> None:
        if self._into == "v":
            self._value.append(data)
        elif self._into == "f" and self._formula is not None:
            self._formula.append(data)

    def _end(self, tag: str) -> None:
        name = tag.rpartition(":")[2]
        self._into = ""
        if name == "c":
            self._end_cell()
        elif name == "row":
            self._end_row()
        elif name == "rPh":
            self._is_phonetic = False

    def _end_cell(self) -> None:
        text = self._text("".join(self._value))
        missing = self._column - len(self._cells)
        if missing > 0:
            self._blanks_left -= missing
            if self._column >= MAX_SHEET_COLUMNS or self._blanks_left < 0:
                raise too_large()
            self._cells += [""] * missing
        if missing < 0:
            self._cells[self._column] = text
        else:
            self._cells.append(text)
        if self._formula and (target := LINK_FORMULA.match("".join(self._formula).strip())):
            self._row_links[self._column] = target[1]

    def _text(self, value: str) -> str:
        """Return what a cell shows."""
        kind = self._type
        if not value:
            return "" if self._formula is None else "=" + "".join(self._formula)
        if kind == "s":
            return self._strings[int(value)]
        if kind in {"str", "inlineStr"}:
            return unescape(value)
        if kind == "b":
            return "TRUE" if value.strip() in {"1", "true"} else "FALSE"
        if kind == "d":
            return value.removesuffix("T00:00:00").replace("T", " ")
        return value if kind == "e" else self._formats.text(value, self._style)

    def _end_row(self) -> None:
        cells, number = self._cells, self._row_number
        self._cells_left -= len(cells)
        if self._cells_left < 0:
            raise too_large()
        if self._merged:
            self._blanks_left -= self._merged.fill(number, cells)
            if self._blanks_left < 0:
                raise too_large()
        if self._links:
            found = ((column, self._links.get((number, column))) for column in range(len(cells)))
            self._row_links |= {column: link for column, link in found if link}
        while cells and not cells[-1].strip() and len(cells) - 1 not in self._row_links:
            cells.pop()
        if cells:
            self.finished.append(SheetRow(number, cells, self._row_links))


def next_row_number(previous: int, given: str) -> int:
    """Return the number of a row after the previous one, which may be given in the file."""
    return max(int(given) if given.isdecimal() else 0, previous + 1)
