"""The first sheet of an Excel workbook (XLSX) as records.

A small ZIP can unpack to more than fits in memory, so its size is checked before openpyxl reads it.
"""

import csv
import zipfile
import zlib
from collections.abc import Iterator
from datetime import datetime, time
from itertools import count
from typing import IO, Any
from xml.etree.ElementTree import ParseError
from xml.parsers import expat

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from products.catalogue.encoding import Encoding
from products.catalogue.problems import CatalogueError, refusal
from products.catalogue.records import MAX_ROW_CHARS, Record, cell_too_long, quote_cell, row_too_long

#: All parts of the ZIP together.
MAX_UNPACKED_BYTES = 500_000_000
#: Larger parts are parsed once to count their elements.
MAX_UNCHECKED_BYTES = 5_000_000
#: Rows or shared strings in one part. openpyxl keeps some memory for each until the end.
MAX_GROUPS = 2_000_000
#: Elements of one row or shared string, which openpyxl holds in memory together. A cell has up to three, a
#: row in Excel at most 16,384 cells.
MAX_GROUP_ELEMENTS = 100_000
#: Excel's limit. openpyxl yields a blank row for every number that the file skips, however large.
MAX_SHEET_ROWS = 1_048_576
#: Blank cells count: openpyxl adds them up to the last cell of each row.
MAX_SHEET_CELLS = 100_000_000

_ZIP = b"PK\x03\x04"
_OLE = b"\xd0\xcf\x11\xe0"
# openpyxl has no exception of its own for damaged files: these are the ones its parsing runs into.
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, ParseError, InvalidFileException, EOFError, OSError, RuntimeError),
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
)


def is_workbook(file: IO[bytes]) -> bool:
    """Return whether the file starts like an XLSX. Raise CatalogueError for XLS and encrypted files."""
    file.seek(0)
    start = file.read(4)
    if start == _OLE:
        detail = "This is an old or password-protected Excel file. Save it as XLSX or CSV."
        raise refusal("unsupported_workbook", detail)
    return start == _ZIP


class Workbook:
    """The records of the first sheet. Their text is CSV with commas, in UTF-8."""

    encoding = Encoding("utf-8")
    delimiter = ","
    declares_delimiter = False

    def __init__(self, file: IO[bytes]) -> None:
        try:
            _check_size(file)
            # data_only: the results of formulas, not the formulas.
            self._sheet: Any = openpyxl.load_workbook(file, read_only=True, data_only=True).worksheets[0]
            self._sheet.reset_dimensions()  # some programs write a wrong size, at which openpyxl would stop
        except _DAMAGED as error:
            raise _unreadable() from error

    def records(self) -> Iterator[Record]:
        """Yield the rows that are not blank, padded to the width of the first, which is the header."""
        width = cells_read = 0
        rows = self._sheet.iter_rows(values_only=True)
        for line in count(1):
            try:
                values = next(rows, None)
            except _DAMAGED as error:
                raise _unreadable() from error
            if values is None:
                return
            cells_read += len(values)
            if line > MAX_SHEET_ROWS or cells_read > MAX_SHEET_CELLS:
                raise _too_large()
            cells = [_text(value) for value in values]
            while cells and not cells[-1].strip():
                cells.pop()
            if cells:
                _check_lengths(cells, line)
                width = width or len(cells)
                cells += [""] * (width - len(cells))
                yield Record(line, cells, ",".join(quote_cell(cell, ",") for cell in cells) + "\r\n")


def _check_size(file: IO[bytes]) -> None:
    """Raise CatalogueError if the workbook is too large once unpacked, or one of _DAMAGED."""
    with zipfile.ZipFile(file) as archive:
        parts = archive.infolist()
        # The sizes given in the file can be relied on: zipfile reads no further than that.
        if sum(part.file_size for part in parts) > MAX_UNPACKED_BYTES:
            raise _too_large()
        for part in parts:
            if part.file_size > MAX_UNCHECKED_BYTES:
                with archive.open(part) as source:
                    _count_elements(source)


def _count_elements(part: IO[bytes]) -> None:
    """Raise CatalogueError if there are too many rows or shared strings, or too many elements in one."""
    groups = elements = 0

    def start(name: str, _attributes: object) -> None:
        nonlocal groups, elements
        elements += 1
        if name.rpartition(":")[2] in {"row", "si"}:
            groups, elements = groups + 1, 0
        if groups > MAX_GROUPS or elements > MAX_GROUP_ELEMENTS:
            raise _too_large()

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    try:
        parser.ParseFile(part)
    except expat.ExpatError:
        return  # not XML, like a picture; or damaged, which openpyxl reports


def _check_lengths(cells: list[str], line: int) -> None:
    """Apply the limits of a CSV, since the result is one."""
    if max(map(len, cells)) > csv.field_size_limit():
        raise cell_too_long(line)
    if sum(map(len, cells)) > MAX_ROW_CHARS:
        raise row_too_long(line)


def _text(value: Any) -> str:
    """Return a cell's value as in a CSV. Number and date formats are ignored."""
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


def _too_large() -> CatalogueError:
    return refusal("workbook_too_large", "The Excel workbook is too large once unpacked. Save it as CSV.")


def _unreadable() -> CatalogueError:
    detail = "The Excel workbook cannot be read. It is damaged or not an XLSX file."
    return refusal("unreadable_workbook", detail)
