"""A catalogue file as rows with serial number, product name and picture URLs."""

from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple, TypedDict

from products.catalogue.columns import RESULT_COLUMNS, ColumnNames, find_columns, is_result
from products.catalogue.csv_file import CsvFile
from products.catalogue.picture_urls import URL_START, separator_in, split_urls
from products.catalogue.problems import refusal
from products.catalogue.records import Record
from products.catalogue.workbook import Workbook, is_workbook

MAX_COLUMNS = 16_384  # Excel's limit


class Reading(TypedDict, total=False):
    """A caller's options for reading a file. `Catalogue` says what they mean."""

    encoding: str
    columns: ColumnNames
    base_url: str


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


def read_header(file: IO[bytes], *, encoding: str = "") -> list[str]:
    """Return the names of all columns. Raise CatalogueError if the file cannot be read."""
    return [name.strip() for name in _header(_open(file, encoding)).cells]


def _open(file: IO[bytes], encoding: str) -> CsvFile | Workbook:
    return Workbook(file) if is_workbook(file) else CsvFile(file, encoding)


def _header(source: CsvFile | Workbook) -> Record:
    records = (record for record in source.records() if not record.is_blank)
    if source.declares_delimiter:
        next(records)
    header = next(records, Record(1, [], ""))
    if len(header.cells) > MAX_COLUMNS:
        detail = f"The file has more than the {MAX_COLUMNS:,} columns allowed."
        raise refusal("too_many_columns", detail)
    return header


class Catalogue:
    """A catalogue file whose header has been read. Iterating over it yields its rows.

    The file must be seekable. Each iteration reads it from the start, so only one may be active at a time.
    Creation and iteration raise CatalogueError if the file cannot be read as a table.

    `encoding` (one of ENCODINGS) and the names in `columns` are used as given; what is left out is detected.
    Relative URLs are joined to `base_url`. `input_width` is the number of columns without those added by an
    earlier result. `separator` is put between the URLs of an output cell: the one found in the first row
    with several URLs, and `,` until then.
    """

    def __init__(
        self,
        file: IO[bytes],
        *,
        encoding: str = "",
        columns: ColumnNames | None = None,
        base_url: str = "",
    ) -> None:
        self._source = _open(file, encoding)
        self.is_workbook = isinstance(self._source, Workbook)
        self.encoding, self.delimiter = self._source.encoding, self._source.delimiter
        self.base_url = base_url
        self._separator: str | None = None
        header = _header(self._source)
        self.header, self.header_line, self.header_text = header.cells, header.line, header.text
        self.input_width = len(self.header) - (len(RESULT_COLUMNS) if is_result(self.header) else 0)
        self.columns = find_columns(self.header[: self.input_width], self.header_line, columns)

    @property
    def separator(self) -> str:
        return "," if self._separator is None else self._separator

    def preamble(self) -> Iterator[str]:
        """Yield the text of each record before the header."""
        for record in self._source.records():
            if record.line >= self.header_line:
                return
            yield record.text

    def __iter__(self) -> Iterator[Row]:
        return self.rows()

    def rows(self, after: int = 0) -> Iterator[Row]:
        """Yield the rows. The first `after` are skipped, which is much faster than reading them."""
        return (part for part in self.parts(after) if isinstance(part, Row))

    def parts(self, after: int = 0) -> Iterator[Row | str]:
        """Yield everything after the header: rows, and the text of each blank record.

        The first `after` rows are skipped; `separator` is then found in the others.
        """
        serial, name = self.columns.serial, self.columns.name
        needed = max(serial, name, *self.columns.images) + 1
        number, last_serial, last_name = 0, "", ""
        for line, cells, text in self._source.records():
            if line <= self.header_line:
                continue
            if not any(map(str.strip, cells)):
                yield text
                continue
            number += 1
            padded = cells if len(cells) >= needed else cells + [""] * (needed - len(cells))
            serial_number, product_name = padded[serial].strip(), padded[name].strip()
            continues = not product_name and serial_number != "" and serial_number == last_serial
            if continues:
                product_name = last_name
            last_serial, last_name = serial_number, product_name
            if number <= after:
                continue
            yield Row(number, line, cells, text, serial_number, product_name, self._urls(padded), continues)

    def urls_in(self, cell: str) -> list[str]:
        """Return the URLs of one picture cell."""
        return split_urls(cell, self.base_url)

    def picture_cells(self, cells: list[str]) -> Sequence[int]:
        """Return the indices of a row's picture cells: the picture columns, and surplus cells with URLs.

        The latter come from a list of URLs that was not quoted. They count only if the last column of the
        header is a picture column, and if they start like a URL.
        """
        width = len(self.header)
        if len(cells) <= width or width - 1 not in self.columns.images:
            return self.columns.images
        surplus = (index for index in range(width, len(cells)) if URL_START.match(cells[index].strip()))
        return (*self.columns.images, *surplus)

    def _urls(self, cells: list[str]) -> list[str]:
        """Return the URLs of a row. The first cell or row with several of them sets the separator."""
        urls: list[str] = []
        for index in self.picture_cells(cells):
            found = split_urls(cells[index], self.base_url)
            if self._separator is None and len(found) > 1:
                self._separator = separator_in(cells[index], self.base_url)
            if self._separator is None and found and index >= len(self.header):
                unquoted_list = self.delimiter.join(cells[len(self.header) - 1 :])
                self._separator = separator_in(unquoted_list, self.base_url) or None
            urls += found
        return urls
