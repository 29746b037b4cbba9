"""An XLSX workbook as rows of text, read as a stream by expat.

Only what a catalogue needs is read: sheets, texts, number formats and links. All else may be damaged or odd.
A few kilobytes of ZIP can unpack to XML that takes minutes and gigabytes, so everything is counted on the way
and refused where it exceeds a limit. Namespaces are ignored, so that Strict workbooks are read like others.
"""

import io
import posixpath
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, time
from functools import lru_cache
from typing import IO, Any, NamedTuple
from xml.parsers import expat

from openpyxl.styles.numbers import BUILTIN_FORMATS, is_date_format, is_timedelta_format
from openpyxl.utils.datetime import CALENDAR_MAC_1904, CALENDAR_WINDOWS_1900, from_excel

from products.catalogue.problems import CatalogueError, refusal

#: The ZIP's list of files. Each takes at least 46 bytes there, and some 500 in memory.
MAX_DIRECTORY_BYTES = 2_000_000
#: The parts that are read, together. A sheet of real rows unpacks to 5 to 40 times its size.
MAX_UNPACKED_BYTES = 500_000_000
FREE_UNPACKED_BYTES, MAX_UNPACKED_RATIO = 20_000_000, 100
#: Elements of the parts that are read, together. A cell has one to three and takes at least as many bytes.
FREE_ELEMENTS, MAX_ELEMENTS_PER_BYTE = 1_000_000, 4
#: Rows or shared strings in one part.
MAX_GROUPS = 2_000_000
#: Elements and bytes of one row or shared string, or of a part without any, which are in memory together. A
#: cell has up to three elements, a row in Excel at most 16,384 cells.
MAX_GROUP_ELEMENTS, MAX_GROUP_BYTES = 100_000, 16_000_000
#: A tag or comment. expat before 2.6 starts again at its beginning with each block that it is given.
MAX_TOKEN_BYTES = 256 * 1024
BLOCK_BYTES = 64 * 1024
#: Excel's limits.
MAX_SHEET_ROWS, MAX_SHEET_COLUMNS, MAX_SHEETS = 1_048_576, 16_384, 1_000
MAX_FORMAT_CHARS = 255
#: Cells of rows up to the last one of each, and those among them that are not in the file.
MAX_SHEET_CELLS, MAX_BLANK_CELLS = 100_000_000, 20_000_000
#: Links and merged ranges of a sheet. Excel has at most 65,530 links.
MAX_REFERENCES = 200_000

_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_ZEROS = re.compile(r'(?:"([^"]*)")?(0+)(?:"([^"]*)")?')
_RANGE = re.compile(r"\$?([A-Za-z]{1,3})\$?(\d{1,7})(?::\$?([A-Za-z]{1,3})\$?(\d{1,7}))?")
_REFERENCES = re.compile(rb"(?:mergeCell|hyperlink)[\s/>]")
_TARGET = re.compile(r"(?:_xlfn\.)?(?:HYPERLINK|IMAGE)\s*+\(\s*+\"([^\"]*+)\"", re.IGNORECASE)

Attributes = dict[str, str]


class Sheet(NamedTuple):
    """A sheet with the name of its part."""

    name: str
    part: str
    is_visible: bool


class SheetRow(NamedTuple):
    """A row: its number in the sheet, its cells, and by column the target of a link where a cell has one."""

    number: int
    cells: list[str]
    links: dict[int, str]


class Xlsx:
    """A workbook whose sheets, texts and formats have been read.

    Reading raises CatalogueError where a limit is exceeded, and ValueError, LookupError, OSError, ExpatError
    or an error of zipfile and zlib where the file is damaged.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._archive = _open_archive(file)
        self._parts = {_part_name(info.filename): info for info in reversed(self._archive.infolist())}
        size = file.seek(0, io.SEEK_END)
        self._bytes_left = min(MAX_UNPACKED_BYTES, FREE_UNPACKED_BYTES + MAX_UNPACKED_RATIO * size)
        self._elements_left = FREE_ELEMENTS + MAX_ELEMENTS_PER_BYTE * size
        self._counted: set[str] = set()
        main = next(
            (target for kind, target in self._relations("").values() if kind == "officedocument"),
            "xl/workbook.xml",
        )
        relations = self._relations(main)
        by_kind = dict(reversed([*relations.values()]))
        self.sheets, epoch = self._read_sheets(main, relations)
        self._formats = self._read_formats(by_kind.get("styles", "xl/styles.xml"), epoch)
        self._strings = self._read_strings(by_kind.get("sharedstrings", "xl/sharedstrings.xml"))

    def rows(self, sheet: Sheet) -> Iterator[SheetRow]:
        """Yield the rows of a sheet that have cells. Merged cells have their value in each merged row."""
        references = _References()
        if self._mentions_references(sheet.part):
            self._parse(sheet.part, references)
        relations = self._relations(sheet.part)
        links = {
            place: relations[link][1] if link in relations else link
            for place, link in references.links.items()
        }
        reader = _SheetReader(self._strings, self._formats, links, references.merged)
        for _block in self._parsed(sheet.part, reader):
            yield from reader.finished
            reader.finished.clear()

    def _read_sheets(self, main: str, relations: dict[str, tuple[str, str]]) -> tuple[list[Sheet], datetime]:
        found: list[Attributes] = []
        epoch = CALENDAR_WINDOWS_1900

        def start(name: str, attributes: Attributes) -> None:
            nonlocal epoch
            if name == "sheet":
                found.append(attributes)
            elif name == "workbookPr" and attributes.get("date1904") in {"1", "true"}:
                epoch = CALENDAR_MAC_1904

        self._parse(main, _Collector(start))
        sheets = []
        for attributes in found[:MAX_SHEETS]:
            kind, part = relations.get(_relation_of(attributes), ("", ""))
            if kind == "worksheet" and part in self._parts:
                visible = attributes.get("state", "visible") == "visible"
                sheets.append(Sheet(attributes.get("name", ""), part, visible))
        return sheets, epoch

    def _read_formats(self, part: str, epoch: datetime) -> "_Formats":
        codes, used = dict(BUILTIN_FORMATS), []
        is_cell_style = False

        def start(name: str, attributes: Attributes) -> None:
            nonlocal is_cell_style
            if name == "numFmt" and attributes.get("numFmtId", "").isdecimal():
                codes[int(attributes["numFmtId"])] = attributes.get("formatCode", "")[:MAX_FORMAT_CHARS]
            elif name in {"cellXfs", "cellStyleXfs"}:
                is_cell_style = name == "cellXfs"
            elif name == "xf" and is_cell_style:
                number = attributes.get("numFmtId", "")
                used.append(number if number.isdecimal() else "0")

        if part in self._parts:
            with suppress(expat.ExpatError):  # a format is no reason to refuse a file
                self._parse(part, _Collector(start))
        return _Formats([codes.get(int(one), "General") for one in used], epoch)

    def _read_strings(self, part: str) -> list[str]:
        strings = _Strings()
        if part in self._parts:
            self._parse(part, strings)
        return strings.found

    def _relations(self, part: str) -> dict[str, tuple[str, str]]:
        """Return kind and target of each relation of a part, by its id."""
        folder, name = posixpath.split(part)
        found: dict[str, tuple[str, str]] = {}

        def start(element: str, attributes: Attributes) -> None:
            if element == "Relationship":
                target = attributes.get("Target", "")
                if attributes.get("TargetMode") != "External":
                    target = _part_name(posixpath.join("/", folder, target.replace("\\", "/")))
                kind = attributes.get("Type", "").rpartition("/")[2].lower()
                found[attributes.get("Id", "")] = kind, target

        if (relations := posixpath.join(folder, "_rels", f"{name}.rels")) in self._parts:
            self._parse(relations, _Collector(start))
        return found

    def _mentions_references(self, part: str) -> bool:
        """Return whether a sheet may have links or merged cells, which stand after its rows."""
        before = b""
        with self._open(part) as source:
            while block := source.read(BLOCK_BYTES):
                if _REFERENCES.search(before + block):
                    return True
                before = block[-20:]
        return False

    def _parse(self, part: str, handler: "_Handler") -> None:
        for _block in self._parsed(part, handler):
            pass

    def _parsed(self, part: str, handler: "_Handler") -> Iterator[None]:
        """Give a part to the handler. Yields after each block."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = _refuse_doctype
        handler.attach(parser, self._elements_left)
        is_first = part not in self._counted
        given = 0
        with self._open(part) as source:
            while block := source.read(BLOCK_BYTES):
                parser.Parse(block)
                given += len(block)
                if (
                    given - parser.CurrentByteIndex > MAX_TOKEN_BYTES
                    or given - handler.group_start > MAX_GROUP_BYTES
                ):
                    raise too_large()
                yield
        parser.Parse(b"", True)
        yield
        if is_first:
            self._elements_left -= handler.elements

    def _open(self, part: str) -> IO[bytes]:
        """Open a part for reading. Raise CatalogueError if the parts that are read become too much."""
        info = self._parts[part]
        if part not in self._counted:
            # The sizes given in the file can be relied on: zipfile reads no further than that.
            self._bytes_left -= info.file_size
            if self._bytes_left < 0:
                raise too_large()
            self._counted.add(part)
        return self._archive.open(info)


class _Handler:
    """Handles the elements of a part, and counts them. Raises CatalogueError where they are too many."""

    #: Elements that are counted as groups, whose contents are in memory together.
    groups: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.elements = self.group_start = self._group_count = self._group_elements = 0
        self._max_elements = 0

    def attach(self, parser: expat.XMLParserType, max_elements: int) -> None:
        """Set the handlers of a parser."""
        self._parser, self._max_elements = parser, max_elements
        parser.StartElementHandler = self._start

    def _start(self, tag: str, attributes: Attributes) -> None:
        name = tag.rpartition(":")[2]
        self.elements += 1
        self._group_elements += 1
        if name in self.groups:
            self._group_count += 1
            self.group_start, self._group_elements = self._parser.CurrentByteIndex, 0
        too_many = self.elements > self._max_elements or self._group_count > MAX_GROUPS
        if too_many or self._group_elements > MAX_GROUP_ELEMENTS:
            raise too_large()
        self.start(name, attributes)

    def start(self, name: str, attributes: Attributes) -> None:
        """Handle the start of an element, given by its name without a namespace."""
        raise NotImplementedError


class _Collector(_Handler):
    """Calls a function for each element."""

    def __init__(self, start: Callable[[str, Attributes], None]) -> None:
        super().__init__()
        self._call = start

    def start(self, name: str, attributes: Attributes) -> None:
        """Call the function."""
        self._call(name, attributes)


class _References(_Handler):
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
        if not (found := _RANGE.fullmatch(attributes.get("ref", ""))):
            return
        place = int(found[2]), column_of(found[1])
        if name == "hyperlink":
            self.links[place] = _relation_of(attributes) or attributes.get("location", "")
        elif found[4] and int(found[4]) > place[0]:
            self.merged[place] = int(found[4])
        if len(self.links) + len(self.merged) > MAX_REFERENCES:
            raise too_large()


class _Strings(_Handler):
    """Collects shared strings, without the phonetic readings of East Asian texts."""

    groups = frozenset({"si"})

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._texts: list[str] = []
        self._is_text = self._is_phonetic = False

    def attach(self, parser: expat.XMLParserType, max_elements: int) -> None:
        """Set the handlers of a parser."""
        super().attach(parser, max_elements)
        parser.EndElementHandler, parser.CharacterDataHandler = self._end, self._data

    def start(self, name: str, attributes: Attributes) -> None:
        """Begin a string or a part of one."""
        if name == "si":
            self._texts.clear()
        elif name == "rPh":
            self._is_phonetic = True
        self._is_text = name == "t" and not self._is_phonetic

    def _data(self, data: str) -> None:
        if self._is_text:
            self._texts.append(data)

    def _end(self, tag: str) -> None:
        name = tag.rpartition(":")[2]
        self._is_text = False
        if name == "rPh":
            self._is_phonetic = False
        elif name == "si":
            self.found.append(unescape("".join(self._texts)))


class _SheetReader(_Handler):
    """Makes the rows of a sheet."""

    groups = frozenset({"row"})

    def __init__(
        self,
        strings: list[str],
        formats: "_Formats",
        links: dict[tuple[int, int], str],
        merged: dict[tuple[int, int], int],
    ) -> None:
        super().__init__()
        self.finished: list[SheetRow] = []
        self._strings, self._formats, self._links, self._merged = strings, formats, links, merged
        self._row_number = 0
        self._cells: list[str] = []
        self._row_links: dict[int, str] = {}
        self._column = self._cells_left = self._blanks_left = 0
        self._cells_left, self._blanks_left = MAX_SHEET_CELLS, MAX_BLANK_CELLS
        self._type = self._style = self._into = ""
        self._value: list[str] = []
        self._formula: list[str] | None = None
        self._is_phonetic = False
        self._active: dict[int, tuple[int, str]] = {}  # by column the last row and the value of merged cells

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
        given = int(number) if number.isdecimal() else 0
        self._row_number = max(given, self._row_number + 1)
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
        if self._formula and (target := _TARGET.match("".join(self._formula).strip())):
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
        if self._merged or self._links:
            self._add_references(cells, number)
        while cells and not cells[-1].strip():
            cells.pop()
        if cells:
            self.finished.append(SheetRow(number, cells, self._row_links))

    def _add_references(self, cells: list[str], number: int) -> None:
        """Add the links of a row, and the values of cells merged with others above.

        A blank row stays blank.
        """
        if any(cell.strip() for cell in cells):
            for column, (last, value) in [*self._active.items()]:
                self._blanks_left -= 1
                if last < number:
                    del self._active[column]
                    continue
                if column >= len(cells):
                    self._blanks_left -= column - len(cells)
                    cells += [""] * (column + 1 - len(cells))
                cells[column] = cells[column] or value
            if self._blanks_left < 0:
                raise too_large()
        for column, cell in enumerate(cells):
            if (merged_to := self._merged.get((number, column))) is not None:
                self._active[column] = merged_to, cell
            if link := self._links.get((number, column)):
                self._row_links[column] = link


class _Formats:
    """The number formats of a workbook by the index of a cell's style."""

    def __init__(self, codes: list[str], epoch: datetime) -> None:
        self._codes, self._epoch = codes, epoch
        is_date, is_duration = lru_cache(is_date_format), lru_cache(is_timedelta_format)
        self._dates = [is_date(code) for code in codes]
        self._durations = [is_duration(code) for code in codes]
        self.text = lru_cache(maxsize=20_000)(self._text)

    def _text(self, value: str, style: str) -> str:
        """Return a number as Excel shows it, a date as in ISO 8601."""
        number = float(value)
        index = int(style) if style.isdecimal() else -1
        if 0 <= index < len(self._codes):
            if self._dates[index] or self._durations[index]:
                try:
                    return text_of(from_excel(number, self._epoch, timedelta=self._durations[index]))
                except (ValueError, OverflowError):
                    return text_of(number)
            if (zeros := _ZEROS.fullmatch(self._codes[index])) and number >= 0:
                return f"{zeros[1] or ''}{text_of(round(number)).zfill(len(zeros[2]))}{zeros[3] or ''}"
        return text_of(number)


def text_of(value: Any) -> str:
    """Return the value of a cell as in a CSV: numbers with up to 15 digits, as Excel has them."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e21 else f"{value:.15g}"
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ")
    return str(value)


def unescape(text: str) -> str:
    """Return a text with its `_xHHHH_` replaced by the characters that they stand for."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


@lru_cache(maxsize=20_000)
def column_of(letters: str) -> int:
    """Return the index of a column, 2 for `C`."""
    number = 0
    for letter in letters[:4].upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return max(number - 1, 0)


def too_large() -> CatalogueError:
    """Return the error for a workbook that exceeds a limit."""
    return refusal("workbook_too_large", "The Excel workbook is too large once unpacked. Save it as CSV.")


def _refuse_doctype(*_declaration: object) -> None:
    detail = "The Excel workbook contains a DOCTYPE, which no program writes. Save it again, or as CSV."
    raise refusal("unreadable_workbook", detail)


def _open_archive(file: IO[bytes]) -> zipfile.ZipFile:
    end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    if end and end[zipfile._ECD_SIZE] > MAX_DIRECTORY_BYTES:  # type: ignore[attr-defined]
        raise too_large()
    return zipfile.ZipFile(file)


def _part_name(name: str) -> str:
    """Return the name of a part as they are compared: some programs write other cases and backslashes."""
    return posixpath.normpath(name.replace("\\", "/")).lstrip("/").lower()


def _relation_of(attributes: Attributes) -> str:
    return next((value for name, value in attributes.items() if name.endswith(":id")), "")
