"""A CSV file as records, whatever they mean."""

import csv
import io
import re
from collections.abc import Iterator
from itertools import dropwhile, islice
from typing import IO, NamedTuple

from products.catalogue.encoding import BLOCK, find_encoding
from products.catalogue.problems import CatalogueError, refusal

# In characters. A cell may have 131,072: that limit is the csv module's own, left alone because it is
# process-wide and well above Excel's 32,767.
MAX_ROW = 1_000_000
DELIMITERS = ",;\t|"

# What does not count when delimiters are: PrestaShop's "Image URLs (x,y,z...)" stands without quotes.
_ENCLOSED = re.compile(r'"[^"]*"?|\([^()\r\n]*\)')
_DECLARED_DELIMITER = re.compile(rf'"?sep=([{DELIMITERS}])"?\s*', re.IGNORECASE)


class Record(NamedTuple):
    """The cells of a record, the line it starts in, and how it stands in the file, with its line end."""

    line: int
    cells: list[str]
    text: str

    @property
    def is_blank(self) -> bool:
        return not any(map(str.strip, self.cells))


class CsvTable:
    """The records of a file, whatever they mean, with what has to be found out to read them.

    `declares_delimiter`: the first record that is not blank is a line like `sep=;`.
    """

    def __init__(self, file: IO[bytes], encoding: str = "") -> None:
        self._file = file
        self.encoding = find_encoding(file, encoding)
        head = list(islice(dropwhile(_is_blank, self._lines()), 10))
        if not head:
            raise refusal("empty_file", "The file is empty.")
        declared = _DECLARED_DELIMITER.fullmatch(head[0])
        self.declares_delimiter = declared is not None
        self.delimiter = declared[1] if declared else _most_frequent_delimiter("".join(head))

    def records(self) -> Iterator[Record]:
        """Yields all records of the file: their texts together are the whole text."""
        lines: list[str] = []
        reader = csv.reader(self._gathered(lines), delimiter=self.delimiter)
        start = 1
        try:
            for cells in reader:
                yield Record(start, cells, "".join(lines))
                start = reader.line_num + 1
                lines.clear()
        except csv.Error:  # only ever the length of a cell: the reader is lenient in everything else
            if len(lines) > 1:
                raise self._unclosed_quote(lines[:-1], start) from None
            raise cell_too_long(start) from None

    def _gathered(self, record: list[str]) -> Iterator[str]:
        """Yields the lines and gathers those of one record in `record`, which `records` clears after each.

        So whatever is in it when a further line is wanted ends inside quotes.
        """
        number = size = 0
        for number, line in enumerate(self._lines(), 1):
            size = size + len(line) if record else len(line)
            if size > MAX_ROW:
                raise row_too_long(number - len(record))
            record.append(line)
            yield line
        if record:
            raise self._unclosed_quote(record, number - len(record) + 1)

    def _unclosed_quote(self, record: list[str], start: int) -> CatalogueError:
        """Names the line of the quote inside which a record ends: its last cell reaches back to there."""
        cell = next(csv.reader(record, delimiter=self.delimiter))[-1]
        line = start + len(record) - max(1, len(_split_lines(cell)))
        limit = f"{csv.field_size_limit():,} characters"
        detail = f"The quote that opens in line {line} is never closed, or its cell is longer than {limit}."
        return refusal("unclosed_quote", detail, line)

    def _lines(self) -> Iterator[str]:
        """Yields the lines of the file with their ends, of whichever of the three kinds."""
        newlines = io.IncrementalNewlineDecoder(self.encoding.decoder(), translate=False)
        self._file.seek(len(self.encoding.mark))
        number, rest, at_end = 1, "", False
        while not at_end:
            block = self._file.read(BLOCK)
            at_end = not block
            lines = _split_lines(rest + newlines.decode(block, final=at_end))
            rest = lines.pop() if lines and not at_end else ""
            yield from lines
            number += len(lines)
            if len(rest) > MAX_ROW:
                raise row_too_long(number)


def _most_frequent_delimiter(head: str) -> str:
    """Counts outside quotes in the header, with which `head` begins. Without any it is a comma."""
    header = re.split(r"[\r\n]", _ENCLOSED.sub("", head), maxsplit=1)[0]
    return max(DELIMITERS, key=header.count)


def _split_lines(text: str) -> list[str]:
    # str.splitlines() would split at eight more characters, which may well stand in a cell.
    return list(io.StringIO(text, newline=""))


def _is_blank(line: str) -> bool:
    return not line.strip()


def cell_too_long(line: int) -> CatalogueError:
    """The error of a cell longer than the csv module reads."""
    detail = f"A cell in line {line} is longer than {csv.field_size_limit():,} characters."
    return refusal("cell_too_long", detail, line)


def row_too_long(line: int) -> CatalogueError:
    """The error of a row longer than MAX_ROW."""
    return refusal("line_too_long", f"The row in line {line} is longer than {MAX_ROW:,} characters.", line)
