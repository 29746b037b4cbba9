"""An Excel workbook (XLSX) as records: its first sheet."""

import csv
import zipfile
import zlib
from collections.abc import Iterator
from datetime import datetime, time
from itertools import count
from typing import IO, Any
from xml.etree.ElementTree import ParseError

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from products.catalogue.cells import quote
from products.catalogue.encoding import Encoding
from products.catalogue.problems import CatalogueError, refusal
from products.catalogue.table import MAX_ROW, Record, cell_too_long, row_too_long
from products.catalogue.unpacking import check_unpacked, too_large

#: Excel's own. A row's number is only a figure in the file, up to which openpyxl would count blank rows.
MAX_ROWS = 1_048_576
#: Blank ones included, which openpyxl adds up to the last of each row.
MAX_CELLS = 100_000_000

_ZIP = b"PK\x03\x04"
_OLE = b"\xd0\xcf\x11\xe0"
# openpyxl has no error of its own for a broken file: these are what its parsing meets.
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, ParseError, InvalidFileException, EOFError, OSError, RuntimeError),
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
)


def is_workbook(file: IO[bytes]) -> bool:
    """Whether the file begins as an XLSX does. CatalogueError where it begins as those before XLSX did."""
    file.seek(0)
    start = file.read(4)
    if start == _OLE:
        raise refusal(
            "unsupported_workbook", "This is an old or protected Excel file: please save it as XLSX or CSV."
        )
    return start == _ZIP


class Workbook:
    """The records of the first sheet. Their text is that of a CSV in UTF-8 with commas."""

    encoding = Encoding("utf-8")
    delimiter = ","
    declares_delimiter = False

    def __init__(self, file: IO[bytes]) -> None:
        try:
            check_unpacked(file)
            # data_only: what formulas came to, not the formulas.
            self._sheet: Any = openpyxl.load_workbook(file, read_only=True, data_only=True).worksheets[0]
            self._sheet.reset_dimensions()  # which some programs write wrongly, and openpyxl would stop there
        except _BROKEN as error:
            raise _unreadable() from error

    def records(self) -> Iterator[Record]:
        """Yields the rows that are not blank, none shorter than the first, which is the header."""
        width = cells_read = 0
        rows = self._sheet.iter_rows(values_only=True)
        for line in count(1):
            try:
                values = next(rows, None)
            except _BROKEN as error:
                raise _unreadable() from error
            if values is None:
                return
            cells_read += len(values)
            if line > MAX_ROWS or cells_read > MAX_CELLS:
                raise too_large()
            cells = _trimmed([_text(value) for value in values])
            if cells:
                _check_lengths(cells, line)
                width = width or len(cells)
                cells += [""] * (width - len(cells))
                yield Record(line, cells, ",".join(quote(cell, ",") for cell in cells) + "\r\n")


def _check_lengths(cells: list[str], line: int) -> None:
    """As in a CSV, which the result will be."""
    if max(map(len, cells)) > csv.field_size_limit():
        raise cell_too_long(line)
    if sum(map(len, cells)) > MAX_ROW:
        raise row_too_long(line)


def _trimmed(cells: list[str]) -> list[str]:
    while cells and not cells[-1].strip():
        cells.pop()
    return cells


def _text(value: Any) -> str:
    """A cell's value as a CSV has it; numbers and dates without the format they are shown in."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).upper()
        case float() if value.is_integer():
            return str(int(value))
        case datetime() if value.time() == time():
            return value.date().isoformat()
    return str(value)


def _unreadable() -> CatalogueError:
    return refusal(
        "unreadable_workbook", "The Excel workbook cannot be read: it is damaged, or another kind of ZIP."
    )
