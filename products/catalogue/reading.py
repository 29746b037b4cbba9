"""A catalogue file as rows with serial number, product name and picture URLs."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice, takewhile
from typing import IO, NamedTuple, TypeAlias, TypedDict

from products.catalogue.columns import (
    ColumnNames,
    Columns,
    find_columns,
    hash_of_header,
    input_columns,
    is_picture_name,
    known_roles,
    no_picture_column,
)
from products.catalogue.content import SAMPLE_CELL_CHARS, SAMPLE_CHARS, SAMPLE_ROWS, find_by_content
from products.catalogue.csv_file import CsvFile
from products.catalogue.items import ItemFile, items_kind
from products.catalogue.picture_cells import cell_warnings, separator_in, split_urls
from products.catalogue.picture_urls import URL_START
from products.catalogue.problems import CatalogueError, refusal
from products.catalogue.records import Record
from products.catalogue.workbook import HEADER_ROWS, Workbook, workbook_kind
from products.catalogue.xlsx import Sheet, Xlsx

MAX_COLUMNS = 16_384  # Excel's limit
_END_OF_FILE = ["\x1a"]  # of CP/M and MS-DOS, which some programs still write
#: Cells of a row that make the rows above it with a single one titles.
MIN_TABLE_CELLS = 3
MAX_SKIPPED_LINES = 1_000
#: Rows that are shown of a file that is refused.
HEAD_ROWS = 8
# First cells of a line with sums. Without a URL such a line is no product.
_TOTALS = frozenset(
    [
        *("total", "totals", "grand total", "subtotal", "sum", "summe", "gesamt", "gesamtsumme"),
        *("zwischensumme", "somme", "total général", "sous-total", "suma", "totale", "somma", "totaal"),
        *("razem", "suma całkowita", "итого"),
    ]
)


Source: TypeAlias = CsvFile | ItemFile | Workbook


class Reading(TypedDict, total=False):
    """A caller's options for reading a file. `Catalogue` says what they mean."""

    encoding: str
    columns: ColumnNames
    base_url: str
    sheet: str


class Row(NamedTuple):
    """A row with a product.

    `number` counts the rows that are not blank, `line` is the line of the file where the row starts, both
    from 1. `cells` are unchanged; there may be fewer or more than in the header. `text` is the row in the
    file, with its line end. `serial_number` and `product_name` are stripped. `image_urls` are in order and
    may repeat. A row `continues` the previous one if it has the same serial number and no name; it then
    takes that row's name.
    """

    number: int
    line: int
    cells: list[str]
    text: str
    serial_number: str
    product_name: str
    image_urls: list[str]
    continues: bool = False


class Head(NamedTuple):
    """The names of all columns, those of the visible sheets of a workbook, and the first rows as they are."""

    columns: list[str]
    sheets: list[str]
    rows: list[list[str]]

    @property
    def header_hash(self) -> str:
        """As `header_hash` of a Catalogue."""
        return hash_of_header(self.columns)


def read_head(file: IO[bytes], *, encoding: str = "", sheet: str = "") -> Head:
    """Return what a file says about itself. Raise CatalogueError if it cannot be read."""
    source = _open(file, encoding, sheet)
    header = _header(source)
    records = (record for record in source.records() if record.line > header.line and not record.is_blank)
    rows = [record.cells for record in _first(records, HEAD_ROWS)] if any(header.cells) else []
    columns = [name.strip() for name in header.cells]
    return Head(columns, source.sheets if isinstance(source, Workbook) else [], rows)


def _open(file: IO[bytes], encoding: str, sheet: str) -> Source:
    if workbook_kind(file):
        return Workbook(file, sheet)
    kind = "" if encoding else items_kind(file)
    return ItemFile(file, kind) if kind else CsvFile(file, encoding)


def _header(source: Source) -> Record:
    """Return the header: of the first rows, the one with the most known names, else the first.

    A row with a single cell in front of wider ones is a title.
    """
    records = (record for record in source.records() if not record.is_blank)
    if source.declares_delimiter:
        next(records)
    header = next(records, Record(1, [], ""))
    first = [header, *_first(records, HEADER_ROWS - 1)]
    if len(first[0].cells) > MAX_COLUMNS:
        detail = f"The file has more than the {MAX_COLUMNS:,} columns allowed."
        raise refusal("too_many_columns", detail)
    filled = [sum(bool(cell.strip()) for cell in record.cells) for record in first]
    roles = [
        known_roles(record.cells) if count > 1 and len(record.cells) <= MAX_COLUMNS else 0
        for record, count in zip(first, filled, strict=True)
    ]
    if max(roles) > 1:
        return first[roles.index(max(roles))]
    return next(
        (
            record
            for record, count in zip(first, filled, strict=True)
            if count > 1 or max(filled) < MIN_TABLE_CELLS
        ),
        first[0],
    )


def _first(records: Iterable[Record], count: int) -> list[Record]:
    """Return the first `count` records, or those in front of an error, which the reading of rows reports."""
    found: list[Record] = []
    with suppress(CatalogueError):
        found.extend(islice(records, count))
    return found


def _is_total(cells: list[str]) -> bool:
    """Return whether a row begins with a word for a sum and has no URL."""
    first = cells[0] or next(filter(None, cells))
    return first.strip(" :\xa0").casefold() in _TOTALS and not any(map(URL_START.search, cells))


class Catalogue:
    """A catalogue file whose header has been read. Iterating over it yields its rows.

    The file must be seekable. Each iteration reads it from the start, so only one may be active at a time.
    Creation and iteration raise CatalogueError if the file cannot be read as a table.

    `encoding` (one of ENCODINGS) and the names in `columns` are used as given; what is left out is detected.
    Relative URLs are joined to `base_url`. `sheet` is the name of a workbook's sheet, or its number from 1.

    `input_width` is the number of columns without those added by an
    earlier result, `named_width` the number up to the last of these that has a name. `separator` is put
    between the URLs of an output cell: the one found in the first row with several URLs, and `,` until then.
    `skipped` has the first lines below the header that were no products though they were not blank.
    """

    def __init__(
        self,
        file: IO[bytes],
        *,
        encoding: str = "",
        columns: ColumnNames | None = None,
        base_url: str = "",
        sheet: str = "",
    ) -> None:
        self._source = _open(file, encoding, sheet)
        self.encoding, self.delimiter = self._source.encoding, self._source.delimiter
        self.base_url = base_url
        self.skipped: list[int] = []
        self._separator: str | None = None
        header = _header(self._source)
        self.header, self.header_line, self.header_text = header.cells, header.line, header.text
        self.input_width = input_columns(self.header)
        named = self.header[: self.input_width]
        self.named_width = max((index + 1 for index, name in enumerate(named) if name.strip()), default=0)
        self.columns = self._find_columns(named, columns)
        if isinstance(self._source, Workbook):
            self._source.link_columns = frozenset(self.columns.images)

    @property
    def kind(self) -> str:
        """The kind of file: csv, xlsx, xls, ods, xml or json."""
        return "csv" if isinstance(self._source, CsvFile) else self._source.kind

    @property
    def read_as(self) -> str:
        """The name of the encoding of a CSV, the kind of any other file."""
        return self.encoding.name if self.kind == "csv" else self.kind

    @property
    def xlsx(self) -> tuple[Xlsx, Sheet] | None:
        """The workbook with the sheet that is read, if the file is an XLSX."""
        return self._source.xlsx if isinstance(self._source, Workbook) else None

    @property
    def sheet(self) -> str | None:
        """The name of the sheet of a workbook that is read."""
        return self._source.sheet if isinstance(self._source, Workbook) else None

    @property
    def sheets(self) -> list[str]:
        """The names of the visible sheets of a workbook."""
        return self._source.sheets if isinstance(self._source, Workbook) else []

    @property
    def header_hash(self) -> str:
        """A hash that catalogues share if they have the same columns, those of earlier results aside."""
        return hash_of_header(self.header)

    def _find_columns(self, header: list[str], names: ColumnNames | None) -> Columns:
        """Return the columns by name, and those that have no known name by their content."""
        found = find_columns(header, self.header_line, names)
        if found.serial is None or found.name is None or not found.images:
            found = find_by_content(found, header, self._sample(), self.base_url)
        if not found.images:
            raise no_picture_column(header, self.header_line)
        return found

    def _sample(self) -> list[list[str]]:
        """Return the first rows below the header, of each cell the start. They end in front of an error."""
        rows: list[list[str]] = []
        size = 0
        records = (record for record in self._source.records() if record.line > self.header_line)
        with suppress(CatalogueError):
            for record in islice(records, SAMPLE_ROWS):
                if not record.is_blank:
                    rows.append([cell[:SAMPLE_CELL_CHARS] for cell in record.cells])
                    size += len(record.text)
                if size > SAMPLE_CHARS:
                    break
        return rows

    @property
    def separator(self) -> str:
        return "," if self._separator is None else self._separator

    def preamble(self) -> Iterator[str]:
        """Yield the text of each record before the header."""
        for record in self._source.records():
            if record.line >= self.header_line:
                return
            yield record.text

    def above_header(self) -> Iterator[Record]:
        """Yield the records before the header that are neither blank nor a line like `sep=;`."""
        records = (record for record in self._source.records() if not record.is_blank)
        if self._source.declares_delimiter:
            next(records)
        return takewhile(lambda record: record.line < self.header_line, records)

    def __iter__(self) -> Iterator[Row]:
        return self.rows()

    def rows(self, after: int = 0) -> Iterator[Row]:
        """Yield the rows. The first `after` are skipped, which is much faster than reading them."""
        return (part for part in self.parts(after) if isinstance(part, Row))

    def parts(self, after: int = 0) -> Iterator[Row | str]:
        """Yield everything after the header: rows, and the text of each record that is no product.

        Such are blank ones, those that repeat the header, and totals. The first `after` rows are skipped;
        `separator` is then found in the others.
        """
        serial, name, header = self.columns.serial, self.columns.name, self.header
        needed = max(serial or 0, name or 0, *self.columns.images) + 1
        self.skipped.clear()
        number, last_serial, last_name = 0, "", ""
        for line, cells, text in self._source.records():
            if line <= self.header_line:
                continue
            if not any(map(str.strip, cells)) or cells == _END_OF_FILE:
                yield text
                continue
            padded = cells if len(cells) >= needed else cells + [""] * (needed - len(cells))
            if cells == header or _is_total(cells) or (not number and self._is_second_header(cells)):
                if len(self.skipped) < MAX_SKIPPED_LINES:
                    self.skipped.append(line)
                yield text
                continue
            number += 1
            serial_number = str(number) if serial is None else padded[serial].strip()
            product_name = "" if name is None else padded[name].strip()
            continues = not product_name and serial_number != "" and serial_number == last_serial
            if continues:
                product_name = last_name
            last_serial, last_name = serial_number, product_name
            if number <= after:
                continue
            values = number, line, cells, text, serial_number, product_name, self._urls(padded), continues
            yield tuple.__new__(Row, values)  # saves 4 % of a check of an upload

    def _is_second_header(self, cells: list[str]) -> bool:
        """Return whether the first row has the name of a picture column in place of a picture."""
        return any(index < len(cells) and is_picture_name(cells[index]) for index in self.columns.images)

    def urls_in(self, cell: str) -> list[str]:
        """Return the URLs of one picture cell."""
        return split_urls(cell, self.base_url)

    def warnings_in(self, cell: str) -> Iterator[tuple[str, str, str]]:
        """Yield URL, code and sentence for each doubt about a URL of a picture cell."""
        return cell_warnings(cell, self.base_url)

    def picture_cells(self, cells: list[str]) -> Sequence[int]:
        """Return the indices of a row's picture cells: the picture columns, and surplus cells with URLs.

        The latter come from a list of URLs that was not quoted. They count only if the last column with a
        name is a picture column, and if they start like a URL.
        """
        width = self.named_width
        if len(cells) <= width or width - 1 not in self.columns.images:
            return self.columns.images
        end = len(cells) if self.input_width == len(self.header) else self.input_width
        surplus = (index for index in range(width, end) if URL_START.match(cells[index].strip()))
        return (*self.columns.images, *surplus)

    def _urls(self, cells: list[str]) -> list[str]:
        """Return the URLs of a row. The first cell or row with several of them sets the separator."""
        urls: list[str] = []
        has_surplus = len(cells) > self.named_width
        for index in self.picture_cells(cells) if has_surplus else self.columns.images:
            found = split_urls(cells[index], self.base_url)
            if self._separator is None and found:
                self._find_separator(cells, index, len(found))
            urls += found
        return urls

    def _find_separator(self, cells: list[str], index: int, count: int) -> None:
        """Set the separator if this cell has several URLs, or is one of a list that was not quoted."""
        if count > 1:
            self._separator = separator_in(cells[index], self.base_url)
        elif index >= self.named_width:
            unquoted_list = self.delimiter.join(cells[self.named_width - 1 :])
            self._separator = separator_in(unquoted_list, self.base_url) or None
