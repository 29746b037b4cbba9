"""A sheet of a workbook (XLSX, XLS, ODS) as records."""

import errno
from collections.abc import Iterator
from itertools import islice
from typing import IO
from xml.parsers import expat

from products.catalogue.columns import known_roles
from products.catalogue.conversion import ConvertedBook
from products.catalogue.encoding import Encoding
from products.catalogue.picture_urls import URL_START
from products.catalogue.problems import CatalogueError, list_names, refusal
from products.catalogue.records import (
    MAX_CELL_CHARS,
    MAX_ROW_CHARS,
    Record,
    cell_too_long,
    quote_cell,
    readable,
    row_too_long,
)
from products.catalogue.xlsx import ARCHIVE_ERRORS, Sheet, Xlsx, too_large

_ZIP = b"PK\x03\x04"
_OLE = b"\xd0\xcf\x11\xe0"
_OPENDOCUMENT = b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet"
_DAMAGED = (
    *ARCHIVE_ERRORS,
    *(expat.ExpatError, OSError, LookupError, TypeError),
)
#: Rows of a sheet in which its header is searched.
HEADER_ROWS = 20
#: All rows of a sheet together.
MAX_TEXT_CHARS = 500_000_000


def workbook_kind(file: IO[bytes]) -> str:
    """Return "xlsx", "xls" or "ods" for a file that starts like one of these, else ""."""
    file.seek(0)
    start = file.read(100)
    if start.startswith(_OLE):
        return "xls"
    if start.startswith(_ZIP):
        return "ods" if _OPENDOCUMENT in start else "xlsx"
    return ""


class Workbook:
    """The records of one sheet. Their text is CSV with commas, in UTF-8. `kind` is xlsx, xls or ods.

    `sheet` is a name, or a number from 1; without it, the first visible sheet with known columns is read, or
    the first visible one. In `link_columns` cells with a link have its target as their text, unless their own
    text is a URL.
    """

    encoding = Encoding("utf-8")
    delimiter = ","
    declares_delimiter = False

    def __init__(self, file: IO[bytes], sheet: str = "") -> None:
        self.link_columns: frozenset[int] = frozenset()
        try:
            self.kind = workbook_kind(file)
            self._book = Xlsx(file) if self.kind == "xlsx" else ConvertedBook(file)
            self._sheet = self._choose(sheet)
        except _DAMAGED as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise  # no fault of the file
            raise _unreadable() from error

    @property
    def sheet(self) -> str:
        """The name of the sheet that is read."""
        return self._sheet.name

    @property
    def sheets(self) -> list[str]:
        """The names of all visible sheets."""
        return [sheet.name for sheet in self._book.sheets if sheet.is_visible]

    def records(self) -> Iterator[Record]:
        """Yield the rows that are not blank, padded to the width of the first.

        Shared strings and merged cells have their text in each row, so that the rows may have far more of it
        than the file.
        """
        width = size = 0
        rows = self._book.rows(self._sheet)
        while True:
            try:
                row = next(rows, None)
            except _DAMAGED as error:
                raise _unreadable() from error
            if row is None:
                return
            number, cells, links = row
            for column in self.link_columns & links.keys():
                if not URL_START.match(cells[column].strip()):
                    cells[column] = links[column]
            cells = [readable(cell) for cell in cells]
            size += _checked_size(cells, number)
            if size > MAX_TEXT_CHARS:
                raise too_large()
            width = width or len(cells)
            cells += [""] * (width - len(cells))
            yield Record(number, cells, ",".join([quote_cell(cell, ",") for cell in cells]) + "\r\n")

    @property
    def xlsx(self) -> tuple[Xlsx, Sheet] | None:
        """The workbook with its sheet, if it is an XLSX, which can be written again."""
        return (self._book, self._sheet) if isinstance(self._book, Xlsx) else None

    def _choose(self, wanted: str) -> Sheet:
        sheets = self._book.sheets
        if not sheets:
            raise LookupError("There is no sheet.")
        if wanted:
            names = [sheet.name for sheet in sheets]
            if wanted in names:
                return sheets[names.index(wanted)]
            if wanted.isdecimal() and 1 <= int(wanted) <= len(sheets):
                return sheets[int(wanted) - 1]
            detail = f"There is no sheet “{wanted[:60]}”. Found in the file: {list_names(names)}."
            raise refusal("unknown_sheet", detail)
        visible = [sheet for sheet in sheets if sheet.is_visible] or sheets
        if len(visible) == 1:
            return visible[0]
        return next((sheet for sheet in visible if self._has_known_columns(sheet)), visible[0])

    def _has_known_columns(self, sheet: Sheet) -> bool:
        try:
            rows = islice(self._book.rows(sheet), HEADER_ROWS)
            return any(known_roles(row.cells) > 1 for row in rows)
        except _DAMAGED:
            return False


def _checked_size(cells: list[str], line: int) -> int:
    """Return the characters of a row. Raise CatalogueError beyond the limits of a CSV: the result is one."""
    if max(map(len, cells)) > MAX_CELL_CHARS:
        raise cell_too_long(line)
    size = sum(map(len, cells))
    if size > MAX_ROW_CHARS:
        raise row_too_long(line)
    return size


def _unreadable() -> CatalogueError:
    detail = "The workbook cannot be read. It is damaged or not an XLSX, XLS or ODS file."
    return refusal("unreadable_workbook", detail)
