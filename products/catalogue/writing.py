"""Writes the rows of a catalogue again, with their output URLs."""

import re
from collections.abc import Iterator, Sequence
from zipfile import ZipFile

from products.catalogue.columns import normalise, result_columns
from products.catalogue.picture_cells import replace_urls
from products.catalogue.problems import refusal
from products.catalogue.reading import MAX_COLUMNS, Catalogue, Row
from products.catalogue.records import quote_cell, raw_cells, readable
from products.catalogue.xlsx import RowEdit

# Excel, LibreOffice and Google Sheets take full-width and small signs for the start of a formula, too.
_SIGNS = "=+\\-@＝＋－＠﹦﹢﹣﹫−"
# Programs differ in which of these they skip before the sign, and quotes may be gone by then.
_SKIPPED = (
    '\\s"\\x00-\\x1f\\x7f-\\xa0\\xad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f'
    "\\u200b-\\u200f\\u2028-\\u202f\\u205f-\\u206f\\u2800\\u3000\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0"
    "\\ufff0-\\ufffb\\U0001bca0-\\U0001bca3\\U0001d173-\\U0001d17a\\U000e0000-\\U000e0fff"
)
# Cells end at these where a file is opened with another delimiter than its own. Quotes do not protect what
# is between them then, since they do not stand at the beginning of a cell.
_DELIMITERS = ",;:|^~\\t\\r\\n\\v\\f\\x85\\u2028\\u2029"
# The lookbehind and the possessive quantifier keep the time linear.
_FORMULA = re.compile(
    f"(?<![{_SKIPPED}{_DELIMITERS}])(?P<before>[{_SKIPPED}{_DELIMITERS}]*+)(?P<sign>[{_SIGNS}])"
)
_DELIMITER = re.compile(f"[{_DELIMITERS}]")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)*|[.,]\d+)(e[+-]?\d+)?%?", re.IGNORECASE)
_BLANK = re.compile(f"[{_SKIPPED}]*+")
_CELL_END = re.compile(f"[{_SKIPPED}{_DELIMITERS}]|\\Z")


def escape_formula(value: str) -> str:
    """Return the cell, with an apostrophe before every sign by which a spreadsheet would begin a formula.

    A formula may begin with the cell, after blanks and invisible characters, or after a character inside of
    it that is the delimiter by which somebody opens the file: a comma, semicolon, colon, tab, space and more.
    Numbers are no formulas. Neither is a sign between two spaces, as in “Chair - white”.
    """
    escaped = _FORMULA.sub(_escape_sign, value)
    return f"'{escaped}" if value[:1] in ("\t", "\r", "\n") else escaped


def _escape_sign(found: re.Match[str]) -> str:
    before, sign = found["before"], found["sign"]
    value, at = found.string, found.start("sign")
    number = _NUMBER.match(value, at)
    if found.start() == 0:
        is_formula = not (number and _BLANK.fullmatch(value, number.end()))
    elif _DELIMITER.search(before):
        is_formula = not (number and _CELL_END.match(value, number.end()))
    else:
        # A space may be the delimiter, too. A sign that is a whole cell then does nothing.
        is_alone = _CELL_END.match(value, found.end()) is not None
        is_number = number and _CELL_END.match(value, number.end())
        is_formula = " " in before and not is_alone and not is_number
    return f"{before}'{sign}" if is_formula else found[0]


class Writer:
    """Writes a result with the encoding, delimiter and quotes of its catalogue.

    By default the columns of a result are added after the input's. With `replace` nothing is added; instead
    the outputs take the place of the URLs they were made from. Other cells stay byte for byte the same.
    `renditions` are the names of further outputs, each with a column of its own. `for_excel` writes
    UTF-8 with a byte order mark and escapes formulas.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        replace: bool = False,
        for_excel: bool = False,
        renditions: Sequence[str] = (),
    ) -> None:
        self._catalogue = catalogue
        self._delimiter, self._width = catalogue.delimiter, len(catalogue.header)
        self._replace, self._for_excel, self._renditions = replace, for_excel, renditions
        header, _line_end = raw_cells(catalogue.header_text, self._delimiter)
        self._quotes_all = all(cell.startswith('"') for cell in header)

    def start(self) -> Iterator[bytes]:
        """Yield what precedes the rows: byte order mark, lines before the header, header."""
        catalogue = self._catalogue
        if self._for_excel:
            # Without the lines before the header: with one like "sep=;", Excel ignores the byte order mark.
            yield "\ufeff".encode()
        else:
            yield catalogue.encoding.bom
            yield from map(self.encode, catalogue.preamble())
        named = catalogue.header[: catalogue.input_width]
        added = () if self._replace else result_columns(named, self._renditions)
        yield self.encode(self._record(catalogue.header_text, catalogue.header, catalogue.header, added))

    def row(
        self,
        row: Row,
        outputs: Sequence[str],
        status: str,
        error: str,
        renditions: Sequence[Sequence[str]] = (),
    ) -> str:
        """Return the text of a row. `outputs` has one entry per URL of the row, "" if there is no output.

        So has each of `renditions`.
        """
        if not self._replace:
            urls = _url_cells(self._catalogue, outputs, renditions)
            return self._record(row.text, row.cells, row.cells, (*urls, status, error))
        cells = list(row.cells)
        for index, cell in _replaced_cells(self._catalogue, row, outputs):
            cells[index] = cell
        return self._record(row.text, row.cells, cells, ())

    def encode(self, text: str) -> bytes:
        """Encode text for the result."""
        if not self._for_excel:
            return self._catalogue.encoding.encode(text)
        return (readable(text) if self._catalogue.encoding.is_damaged else text).encode()

    def _record(self, text: str, before: list[str], after: list[str], added: Sequence[str]) -> str:
        """Return the record `text` with its cells changed from `before` to `after`, and the cells `added`."""
        delimiter, width, input_width = self._delimiter, self._width, self._catalogue.input_width
        if self._for_excel:
            after = [escape_formula(value) for value in after]
            added = [escape_formula(value) for value in added]
        if added:
            added = [quote_cell(value, delimiter, always=self._quotes_all) for value in added]
        if after == before and len(before) == input_width == width:
            without_end = text.rstrip("\r\n")
            return delimiter.join([without_end, *added]) + text[len(without_end) :]
        raw, line_end = raw_cells(text, delimiter)
        cells = [
            old if new == value else quote_cell(new, delimiter, always=old.startswith('"'))
            for old, value, new in zip(raw, before, after, strict=True)
        ]
        if not self._replace:
            if len(cells) > width:  # the result has as many cells as its header: the last takes the surplus
                cells = [*cells[: width - 1], quote_cell(delimiter.join(after[width - 1 :]), delimiter)]
            cells += [""] * (width - len(cells))
        if not self._replace or input_width < width:
            cells = cells[:input_width]
        cells += added
        return delimiter.join(cells) + line_end


class WorkbookWriter:
    """Writes the workbook of a catalogue again, cells and styles as they were.

    The columns of a result are added behind the last one that has anything in it, or take the place of those
    of an earlier result if they fit there. With `replace` the outputs take the place of the URLs in their
    cells, links and formulas instead, and the columns of an earlier result are emptied. `renditions` are as
    in `Writer`. Raises ValueError if the catalogue is no XLSX, CatalogueError if there is no room for more
    columns.
    """

    def __init__(
        self, catalogue: Catalogue, *, replace: bool = False, renditions: Sequence[str] = ()
    ) -> None:
        if not catalogue.xlsx:
            raise ValueError("The catalogue is no XLSX.")
        self._catalogue, self._replace = catalogue, replace
        self._book, self._sheet = catalogue.xlsx
        self._has_tables = self._book.has_tables(self._sheet)
        header, input_width = catalogue.header, catalogue.input_width
        self._has_result = input_width < len(header)
        self._names = result_columns(header[:input_width], renditions)
        self._first = input_width
        if list(map(normalise, header[input_width:])) != list(map(normalise, self._names)):
            width = self._book.width(self._sheet, catalogue.header_line)
            if width > len(header) or self._has_tables:
                self._first = max(width, len(header))
        if not replace and self._first + len(self._names) > MAX_COLUMNS:
            detail = "The sheet has no room for more columns. Download the results as CSV."
            raise refusal("too_many_columns", detail)

    def header(self) -> RowEdit:
        """Return the change of the header."""
        # The names of a table's columns stand in its own part, too.
        emptied = {} if self._has_tables else self._emptied()
        if self._replace:
            return RowEdit(self._catalogue.header_line, emptied, {})
        written = emptied | self._added(*self._names)
        return RowEdit(self._catalogue.header_line, written, {}, like_last=True)

    def row(
        self,
        row: Row,
        outputs: Sequence[str],
        status: str,
        error: str,
        renditions: Sequence[Sequence[str]] = (),
    ) -> RowEdit:
        """Return the change of a row. The arguments are as in `Writer.row`."""
        if not self._replace:
            urls = _url_cells(self._catalogue, outputs, renditions)
            return RowEdit(row.line, self._emptied() | self._added(*urls, status, error), {})
        cells = _replaced_cells(self._catalogue, row, outputs)
        replaced = {index: (row.cells[index], cell) for index, cell in cells if cell != row.cells[index]}
        targets = {url: output for url, output in zip(row.image_urls, outputs, strict=True) if output}
        return RowEdit(row.line, self._emptied(), replaced, urls=targets)

    def write(self, target: ZipFile, edits: Iterator[RowEdit]) -> Iterator[None]:
        """Write the workbook with edits in the order of its rows. Yields after each block."""
        width = 0 if self._replace else self._first + len(self._names)
        keeps_formulas = not self._replace and not self._has_result
        return self._book.write(target, self._sheet, edits, width, keeps_formulas=keeps_formulas)

    def _added(self, *cells: str) -> dict[int, str]:
        return dict(enumerate(cells, self._first))

    def _emptied(self) -> dict[int, str]:
        """Return the columns of an earlier result."""
        return dict.fromkeys(range(self._catalogue.input_width, len(self._catalogue.header)), "")


def _url_cells(
    catalogue: Catalogue, outputs: Sequence[str], renditions: Sequence[Sequence[str]]
) -> list[str]:
    """Return the cells of a row's outputs and of each of its renditions."""
    return [catalogue.separator.join(urls) if any(urls) else "" for urls in (outputs, *renditions)]


def _replaced_cells(catalogue: Catalogue, row: Row, outputs: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield index and new text of each picture cell of a row."""
    remaining = iter(outputs)
    for index in catalogue.picture_cells(row.cells):
        if index < len(row.cells):
            yield index, replace_urls(row.cells[index], remaining, catalogue.base_url)
