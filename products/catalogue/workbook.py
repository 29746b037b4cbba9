"""The first sheet of an Excel workbook (XLSX) as records.

A few kilobytes of ZIP can unpack to XML that takes minutes and gigabytes to read. So each part that is read
is first parsed as a stream that builds nothing, and refused where it exceeds a limit. Parts that are not
needed, such as pictures, themes and further sheets, are never opened.
"""

import csv
import io
import zipfile
import zlib
from collections.abc import Iterator
from datetime import datetime, time
from functools import lru_cache
from itertools import count
from typing import IO, Any
from xml.etree import ElementTree
from xml.parsers import expat

from openpyxl.reader.excel import ExcelReader
from openpyxl.styles.numbers import BUILTIN_FORMATS, is_date_format, is_timedelta_format
from openpyxl.utils.exceptions import InvalidFileException
from openpyxl.worksheet._read_only import ReadOnlyWorksheet
from openpyxl.xml.constants import ARC_STYLE, SHEET_MAIN_NS

from products.catalogue.encoding import Encoding
from products.catalogue.problems import CatalogueError, refusal
from products.catalogue.records import MAX_ROW_CHARS, Record, cell_too_long, quote_cell, row_too_long

#: The ZIP's list of files. Each takes at least 46 bytes there, and some 500 in memory.
MAX_DIRECTORY_BYTES = 2_000_000
#: The parts that are read, together. A sheet of real rows unpacks to 5 to 40 times its size.
MAX_UNPACKED_BYTES = 500_000_000
FREE_UNPACKED_BYTES, MAX_UNPACKED_RATIO = 20_000_000, 100
#: Elements of the parts that are read, together. A cell has one to three and takes at least as many bytes.
FREE_ELEMENTS, MAX_ELEMENTS_PER_BYTE = 1_000_000, 4
#: Rows or shared strings in one part. openpyxl keeps some memory for each until the end.
MAX_GROUPS = 2_000_000
#: Elements and bytes of one row or shared string, or of a part without any: openpyxl holds them in memory
#: together. A cell has up to three elements, a row in Excel at most 16,384 cells.
MAX_GROUP_ELEMENTS, MAX_GROUP_BYTES = 100_000, 16_000_000
#: A tag or comment. expat before 2.6 starts again at its beginning with each block that it is given.
MAX_TOKEN_BYTES = 256 * 1024
BLOCK_BYTES = 64 * 1024
#: Excel's limit. openpyxl yields a blank row for every number that the file skips, however large.
MAX_SHEET_ROWS = 1_048_576
#: openpyxl adds blank cells up to the last cell of each row.
MAX_SHEET_CELLS = 100_000_000
MAX_BLANK_CELLS = 20_000_000
MAX_FORMAT_CHARS = 255  # Excel's limit for a number format

_ZIP = b"PK\x03\x04"
_OLE = b"\xd0\xcf\x11\xe0"
_XML = f"{{{SHEET_MAIN_NS}}}"
# openpyxl has no exception of its own for damaged files: these are the ones its parsing runs into.
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, ElementTree.ParseError, InvalidFileException, EOFError, OSError),
    *(ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError),
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
            self._sheet = _open_first_sheet(file)
        except _DAMAGED as error:
            raise _unreadable() from error

    def records(self) -> Iterator[Record]:
        """Yield the rows that are not blank, padded to the width of the first, which is the header."""
        width = 0
        rows = self._sheet.iter_rows(values_only=True)
        for line in count(1):
            try:
                values = next(rows, None)
            except _DAMAGED as error:
                raise _unreadable() from error
            if values is None:
                return
            if line > MAX_SHEET_ROWS:
                raise _too_large()
            cells = ["" if value is None else _text(value) for value in values]
            while cells and not cells[-1].strip():
                cells.pop()
            if cells:
                _check_lengths(cells, line)
                width = width or len(cells)
                cells += [""] * (width - len(cells))
                yield Record(line, cells, ",".join(quote_cell(cell, ",") for cell in cells) + "\r\n")


def _open_first_sheet(file: IO[bytes]) -> Any:
    """Return the first sheet, unread. Raise CatalogueError or one of _DAMAGED.

    `openpyxl.load_workbook` reads more than is needed: all styles, links and sheets.
    """
    end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    if end and end[zipfile._ECD_SIZE] > MAX_DIRECTORY_BYTES:  # type: ignore[attr-defined]
        raise _too_large()
    # data_only: the results of formulas, not the formulas.
    reader = ExcelReader(file, read_only=True, data_only=True, keep_links=False)
    reader.archive = archive = _CheckedArchive(file)
    reader.read_manifest()
    reader.read_strings()
    reader.read_workbook()
    if ARC_STYLE in reader.valid_files:
        _find_date_formats(reader.wb, archive.read(ARC_STYLE))
    for _sheet, link in reader.parser.find_sheets():
        if link.target in reader.valid_files and "chartsheet" not in link.Type:
            sheet = ReadOnlyWorksheet(reader.wb, "", link.target, reader.shared_strings)
            sheet.reset_dimensions()  # some programs write a wrong size, at which openpyxl would stop
            return sheet
    raise LookupError("There is no sheet.")


def _find_date_formats(workbook: Any, styles: bytes) -> None:
    """Tell openpyxl which cell styles show numbers as dates or durations."""
    root = ElementTree.fromstring(styles)  # noqa: S314 (checked: no DOCTYPE)
    formats = dict(BUILTIN_FORMATS)
    for custom in root.iterfind(f"{_XML}numFmts/{_XML}numFmt"):
        formats[int(custom.attrib["numFmtId"])] = custom.attrib["formatCode"][:MAX_FORMAT_CHARS]
    dates = lru_cache(is_date_format)
    durations = lru_cache(is_timedelta_format)
    used = [formats.get(int(xf.get("numFmtId", 0))) for xf in root.iterfind(f"{_XML}cellXfs/{_XML}xf")]
    workbook._date_formats = {index for index, code in enumerate(used) if dates(code)}
    workbook._timedelta_formats = {index for index, code in enumerate(used) if durations(code)}


class _CheckedArchive(zipfile.ZipFile):
    """A workbook's ZIP. Each part is checked when it is first opened; all of them share the limits."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        size = file.seek(0, io.SEEK_END)
        self._bytes_left = min(MAX_UNPACKED_BYTES, FREE_UNPACKED_BYTES + MAX_UNPACKED_RATIO * size)
        self._elements_left = FREE_ELEMENTS + MAX_ELEMENTS_PER_BYTE * size
        self._checked: set[str] = set()

    def open(
        self,
        name: str | zipfile.ZipInfo,
        mode: Any = "r",
        pwd: bytes | None = None,
        *,
        force_zip64: bool = False,
    ) -> IO[bytes]:
        """Open a part for reading. Raise CatalogueError if it exceeds a limit."""
        part = self.getinfo(name) if isinstance(name, str) else name
        if part.filename not in self._checked:
            # The sizes given in the file can be relied on: zipfile reads no further than that.
            self._bytes_left -= part.file_size
            if self._bytes_left < 0:
                raise _too_large()
            check = _PartCheck(self._elements_left)
            with super().open(part) as source:
                check.read(source)
            self._elements_left -= check.elements
            self._checked.add(part.filename)
        return super().open(part, mode, pwd, force_zip64=force_zip64)


class _PartCheck:
    """Counts what a part consists of, and raises CatalogueError where it is too much."""

    def __init__(self, max_elements: int) -> None:
        self.elements = 0
        self._max_elements = max_elements
        self._groups = self._group_elements = self._group_start = 0
        self._column = self._cells = self._real_cells = 0  # the column of the last cell, and cells up to it
        self._parser = expat.ParserCreate()
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.StartElementHandler = self._element

    def read(self, part: IO[bytes]) -> None:
        """Parse the part. One that is no XML is read as far as it is, which is where openpyxl ends too."""
        given = 0
        try:
            while block := part.read(BLOCK_BYTES):
                self._parser.Parse(block)
                given += len(block)
                parsed = self._parser.CurrentByteIndex
                if given - parsed > MAX_TOKEN_BYTES or given - self._group_start > MAX_GROUP_BYTES:
                    raise _too_large()
            self._parser.Parse(b"", True)
        except expat.ExpatError:
            return

    def _doctype(self, *_declaration: object) -> None:
        detail = "The Excel workbook contains a DOCTYPE, which no program writes. Save it again, or as CSV."
        raise refusal("unreadable_workbook", detail)

    def _element(self, tag: str, attributes: dict[str, str]) -> None:
        self.elements += 1
        self._group_elements += 1
        name = tag.rpartition(":")[2]
        if name == "c":
            self._real_cells += 1
            self._column, before = _column(attributes.get("r")) or self._column + 1, self._column
            self._cells += max(0, self._column - before)
            if self._cells > MAX_SHEET_CELLS or self._cells - self._real_cells > MAX_BLANK_CELLS:
                raise _too_large()
        elif name in {"row", "si"}:
            self._groups += 1
            self._group_start, self._group_elements, self._column = self._parser.CurrentByteIndex, 0, 0
        too_many = self.elements > self._max_elements or self._groups > MAX_GROUPS
        if too_many or self._group_elements > MAX_GROUP_ELEMENTS:
            raise _too_large()


def _column(reference: str | None) -> int:
    """Return the number of a column, 3 for `C7`; 0 if there is none."""
    return _column_of_letters(reference.rstrip("0123456789")) if reference else 0


@lru_cache(maxsize=20_000)
def _column_of_letters(letters: str) -> int:
    number = 0
    for letter in letters[:3].upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return max(number, 0)


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
