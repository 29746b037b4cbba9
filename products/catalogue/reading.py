"""A catalogue file, row by row."""

from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple, TypedDict

from products.catalogue.columns import RESULT_COLUMNS, ColumnNames, find_columns, is_result
from products.catalogue.table import CsvTable, Record
from products.catalogue.urls import URL_START, separator_in, split_urls
from products.catalogue.workbook import Workbook, is_workbook


class Reading(TypedDict, total=False):
    """How a caller wants a file to be read; see `Catalogue`."""

    encoding: str
    columns: ColumnNames
    base_url: str


class Row(NamedTuple):
    """One product.

    `number` counts rows from 1 (those with nothing but blank cells are none), `line` is where the row starts
    in the file. `cells` are as they were: there may be fewer or more than in the header. `text` is how they
    stand in the file, with the line end. The other texts are stripped; the URLs are in order, with
    repetitions. A row `continues` the one before if it has the same serial number and no name: then that
    one's name is its own.
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
    """The names of all columns, for somebody to say which ones matter.

    Raises `CatalogueError` where the file cannot be read at all.
    """
    return [name.strip() for name in _header(_table(file, encoding)).cells]


def _table(file: IO[bytes], encoding: str) -> CsvTable | Workbook:
    return Workbook(file) if is_workbook(file) else CsvTable(file, encoding)


def _header(table: CsvTable | Workbook) -> Record:
    records = (record for record in table.records() if not record.is_blank)
    if table.declares_delimiter:
        next(records)
    return next(records, Record(1, [], ""))


class Catalogue:
    """A catalogue file with its header read; iterating over it yields its rows.

    The file must be seekable. Each iteration reads it from its start, so only one can be under way at a time.
    Creation and iteration raise `CatalogueError` where the structure is broken.

    What is given is not guessed: `encoding`, one of ENCODINGS, and the names of `columns`. `base_url` is what
    relative paths of pictures are below. `own_width` is how many columns there are without those of an
    earlier result. `separator` belongs between the URLs of an output cell: `,` until the first cell with
    several URLs comes, and what stands between those from then on.
    """

    def __init__(
        self,
        file: IO[bytes],
        *,
        encoding: str = "",
        columns: ColumnNames | None = None,
        base_url: str = "",
    ) -> None:
        self._table = _table(file, encoding)
        self.is_workbook = isinstance(self._table, Workbook)
        self.encoding, self.delimiter = self._table.encoding, self._table.delimiter
        self.base_url = base_url
        self._separator: str | None = None
        header = _header(self._table)
        self.header, self.header_line, self.header_text = header.cells, header.line, header.text
        self.own_width = len(self.header) - (len(RESULT_COLUMNS) if is_result(self.header) else 0)
        self.columns = find_columns(self.header[: self.own_width], self.header_line, columns)

    @property
    def separator(self) -> str:
        return "," if self._separator is None else self._separator

    def preamble(self) -> Iterator[str]:
        """What stands before the header, as text."""
        for record in self._table.records():
            if record.line >= self.header_line:
                return
            yield record.text

    def __iter__(self) -> Iterator[Row]:
        return self.rows()

    def rows(self, after: int = 0) -> Iterator[Row]:
        """The rows, without the first `after`, which cost next to nothing."""
        return (part for part in self.parts(after) if isinstance(part, Row))

    def parts(self, after: int = 0) -> Iterator[Row | str]:
        """Everything after the header: the rows, and as text the records with nothing but blank cells.

        Without the first `after` rows; then `separator` is that of the others.
        """
        serial, name = self.columns.serial, self.columns.name
        needed = max(serial, name, *self.columns.images) + 1
        number, last_serial, last_name = 0, "", ""
        for line, cells, text in self._table.records():
            if line <= self.header_line:
                continue
            if not any(map(str.strip, cells)):
                yield text
                continue
            number += 1
            full = cells if len(cells) >= needed else cells + [""] * (needed - len(cells))
            serial_number, product_name = full[serial].strip(), full[name].strip()
            continues = not product_name and serial_number != "" and serial_number == last_serial
            if continues:
                product_name = last_name
            last_serial, last_name = serial_number, product_name
            if number <= after:
                continue
            yield Row(number, line, cells, text, serial_number, product_name, self._urls(full), continues)

    def urls_in(self, cell: str) -> list[str]:
        """The URLs of one cell with pictures."""
        return split_urls(cell, self.base_url)

    def picture_cells(self, cells: list[str]) -> Sequence[int]:
        """Indices of a row's cells with pictures: those of the picture columns and, where the last column is
        one of them and its list was not quoted, the surplus cells that start as a URL does."""
        width = len(self.header)
        if len(cells) <= width or width - 1 not in self.columns.images:
            return self.columns.images
        spilled = (index for index in range(width, len(cells)) if URL_START.match(cells[index].strip()))
        return (*self.columns.images, *spilled)

    def _urls(self, cells: list[str]) -> list[str]:
        """The URLs of a row. The first of all that stand side by side tell what separates them."""
        urls: list[str] = []
        for index in self.picture_cells(cells):
            found = split_urls(cells[index], self.base_url)
            if self._separator is None and len(found) > 1:
                self._separator = separator_in(cells[index], self.base_url)
            if self._separator is None and found and index >= len(self.header):
                spilled = self.delimiter.join(cells[len(self.header) - 1 :])
                self._separator = separator_in(spilled, self.base_url) or None
            urls += found
        return urls
