"""A CSV file as records: finds the encoding and the delimiter, and checks quotes and lengths."""

import csv
import io
import re
from collections.abc import Iterator
from itertools import dropwhile, islice
from typing import IO

from products.catalogue.columns import known_roles
from products.catalogue.encoding import BLOCK_BYTES, find_encoding
from products.catalogue.problems import CatalogueError, refusal
from products.catalogue.records import (
    MAX_CELL_CHARS,
    MAX_ROW_CHARS,
    Record,
    cell_too_long,
    readable,
    row_too_long,
)

DELIMITERS = ",;\t|"

# Parts of a header in which delimiters are not counted. PrestaShop's "Image URLs (x,y,z...)" is unquoted.
_QUOTED_OR_IN_PARENTHESES = re.compile(r'"[^"]*"?|\([^()\r\n]*\)')
_DECLARED_DELIMITER = re.compile(rf'"?sep=([{DELIMITERS}])"?\s*', re.IGNORECASE)


class CsvFile:
    """The records of a CSV file, with its encoding and delimiter.

    `declares_delimiter` says that the first record that is not blank is a line like `sep=;`. Raises
    CatalogueError if the file is empty or not text.
    """

    def __init__(self, file: IO[bytes], encoding: str = "") -> None:
        self._file = file
        self.encoding = find_encoding(file, encoding)
        head = list(islice(dropwhile(lambda line: not line.strip(), self._lines()), 10))
        if not head:
            raise refusal("empty_file", "The file is empty.")
        declared = _DECLARED_DELIMITER.fullmatch(head[0])
        self.declares_delimiter = declared is not None
        if declared:
            self.delimiter = declared[1]
        else:
            self.delimiter = _find_delimiter("".join(head))

    def records(self) -> Iterator[Record]:
        """Yield all records of the file. Their texts joined are the whole text."""
        lines: list[str] = []
        reader = csv.reader(self._collect_lines(lines), delimiter=self.delimiter)
        start = 1
        try:
            rows = ([*map(readable, cells)] for cells in reader) if self.encoding.is_damaged else reader
            for cells in rows:
                # This saves 5 % of a check of an upload.
                yield tuple.__new__(Record, (start, cells, "".join(lines)))
                start = reader.line_num + 1
                lines.clear()
        except csv.Error:  # always a cell that is too long: the reader accepts everything else
            if len(lines) > 1:
                raise self._unclosed_quote(lines[:-1], start) from None
            raise cell_too_long(start) from None

    def _collect_lines(self, record: list[str]) -> Iterator[str]:
        """Yield the lines of the file and append each to `record`, which `records` clears after each record.

        If `record` is not empty at the end of the file, the file ends inside quotes.
        """
        number = size = 0
        for number, line in enumerate(self._lines(), 1):
            size = size + len(line) if record else len(line)
            if size > MAX_ROW_CHARS:
                raise row_too_long(number - len(record))
            record.append(line)
            yield line
        if record:
            raise self._unclosed_quote(record, number - len(record) + 1)

    def _unclosed_quote(self, record: list[str], start: int) -> CatalogueError:
        """Return the error for lines that end inside quotes, the first of which is line `start`.

        It names the line of the opening quote: their last cell begins there.
        """
        cell = next(csv.reader(record, delimiter=self.delimiter))[-1]
        line = start + len(record) - max(1, len(_split_lines(cell)))
        limit = f"{MAX_CELL_CHARS:,} characters"
        detail = f"The quote opened in line {line} is never closed, or its cell is longer than {limit}."
        return refusal("unclosed_quote", detail, line)

    def _lines(self) -> Iterator[str]:
        """Yield the lines of the file with their ends: `\\n`, `\\r\\n` or `\\r`."""
        newlines = io.IncrementalNewlineDecoder(self.encoding.decoder(), translate=False)
        self._file.seek(len(self.encoding.bom))
        number, rest, at_end = 1, "", False
        while not at_end:
            block = self._file.read(BLOCK_BYTES)
            at_end = not block
            lines = _split_lines(rest + newlines.decode(block, final=at_end))
            rest = lines.pop() if lines and not at_end else ""
            yield from lines
            number += len(lines)
            if len(rest) > MAX_ROW_CHARS:
                raise row_too_long(number)


def _find_delimiter(head: str) -> str:
    """Return the delimiter of the first line with known names of columns, else of the first with one."""
    lines = re.split(r"[\r\n]+", _QUOTED_OR_IN_PARENTHESES.sub("", head))
    first = ""
    for line in lines:
        delimiter = max(DELIMITERS, key=line.count)  # the comma if there is none
        if delimiter in line:
            first = first or delimiter
            if len(line) <= MAX_ROW_CHARS // 10 and known_roles(line.split(delimiter)) > 1:
                return delimiter
    return first or DELIMITERS[0]


def _split_lines(text: str) -> list[str]:
    # str.splitlines() also splits at characters like U+2028 and U+0085, which may be part of a cell.
    return list(io.StringIO(text, newline=""))
