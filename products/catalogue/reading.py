"""A catalogue file, row by row."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import dropwhile, islice
from typing import IO

from products.catalogue.columns import RESULT_COLUMNS, find_columns, is_result
from products.catalogue.encoding import KEEP_UNDEFINED
from products.catalogue.table import CsvTable
from products.catalogue.urls import URL_START, separator_in, split_urls


@dataclass(frozen=True, slots=True)
class Row:
    """One product.

    `number` counts rows from 1 (those with nothing but blank cells are none), `line` is where the row starts
    in the file. `cells` are as they were: there may be fewer or more than in the header. The texts are
    stripped; the URLs are in order, with repetitions, and otherwise untouched.
    """

    number: int
    line: int
    cells: list[str]
    serial_number: str
    product_name: str
    image_urls: list[str]


class Catalogue:
    """A catalogue file with its header read; iterating over it yields its rows.

    The file must be seekable. Each iteration reads it from its start, so only one can be under way at a time.
    Creation and iteration raise `CatalogueError` where the structure is broken. `encoding` is `utf-8` or
    `cp1252`. `own_width` is how many columns there are without those of an earlier result. `separator`
    belongs between the URLs of an output cell: `,` until the first row with several URLs comes, and what
    stands between those from then on.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._table = table = CsvTable(file)
        self.encoding, self.has_bom = table.encoding, table.has_bom
        self.delimiter, self.line_terminator = table.delimiter, table.line_terminator
        self.declares_delimiter = table.preamble > 0
        self.separator = ","
        self._header_line, self.header = next(islice(table.records(), table.preamble, None), (1, []))
        self.own_width = len(self.header) - (len(RESULT_COLUMNS) if is_result(self.header) else 0)
        self.columns = find_columns(self.header[: self.own_width], self._header_line)

    def __iter__(self) -> Iterator[Row]:
        serial, name = self.columns.serial, self.columns.name
        needed = max(serial, name, *self.columns.images) + 1
        separator_known = False
        records = dropwhile(lambda record: record[0] <= self._header_line, self._table.records())
        for number, (line, cells) in enumerate(records, 1):
            full = cells if len(cells) >= needed else cells + [""] * (needed - len(cells))
            urls = [url for index in self.picture_cells(full) for url in split_urls(full[index])]
            if len(urls) > 1 and not separator_known:
                separator_known = True
                self.separator = self._find_separator(full)
            yield Row(number, line, cells, full[serial].strip(), full[name].strip(), urls)

    def picture_cells(self, cells: list[str]) -> Sequence[int]:
        """Indices of a row's cells with pictures: those of the picture columns and, where the last column is
        one of them and its list was not quoted, the surplus cells that start as a URL does."""
        width = len(self.header)
        if len(cells) <= width or width - 1 not in self.columns.images:
            return self.columns.images
        spilled = (index for index in range(width, len(cells)) if URL_START.match(cells[index].strip()))
        return (*self.columns.images, *spilled)

    def encode(self, text: str) -> bytes:
        """Encodes text as the file is, so that its cells come out byte for byte. What its encoding does
        not have becomes `?`."""
        return text.encode(self.encoding, KEEP_UNDEFINED)

    def _find_separator(self, cells: list[str]) -> str:
        found = filter(None, (separator_in(cells[index]) for index in self.columns.images))
        return next(found, self.delimiter)  # between the cells that an unquoted list has spilled into
