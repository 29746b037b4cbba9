"""Reads a catalogue as people have it: encoding, delimiter, header names, several URLs in a cell.

Pure: the standard library only. Files are read as streams, so memory does not grow with them. What makes
a file as a whole unusable raises `CatalogueError`; a bad row or cell is a `Problem`, which `survey` collects.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import dropwhile, islice
from typing import IO
from urllib.parse import urlsplit

# In characters. A cell may have 131,072: that limit is the csv module's own, left alone because it is
# process-wide and well above Excel's 32,767.
MAX_ROW = 1_000_000
MAX_URL = 2_048
FIRST_ROWS = 100
FIRST_PROBLEMS = 100
DELIMITERS = ",;\t|"
# The names of each column, best first; case, punctuation and spacing make no difference.
ALIASES = {
    "serial": ("Serial Number", "S. No.", "Sr No"),
    "name": ("Product Name",),
    "images": ("Input Image Urls", "Image Urls"),
}

# What a result has after its input's columns. One that is uploaded again gets them anew.
RESULT_COLUMNS = ["Output Image Urls", "Status", "Error"]

_BLOCK = 256 * 1024
_BINARY = bytes(set(range(0x20)) - set(b"\t\n\r\f"))
_QUOTED = re.compile(r'"[^"]*"?')
_DECLARED_DELIMITER = re.compile(rf'"?sep=([{DELIMITERS}])"?\s*', re.IGNORECASE)
_PUNCTUATION = re.compile(r"[\W_]+")

_SOFT, _HARD = " \xa0,;", "|\t\r\n"
_ANY = _SOFT + _HARD
_URL_START = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]{0,30}:)?//")
# The first line finds the start of a run of separators: beginning with a plain character set is what the
# engine is fast at, and trying every place of a long run would take quadratic time.
_SPLIT = re.compile(
    rf"[{_ANY}](?<![{_ANY}]{{2}})"
    rf"(?:(?<=[{_HARD}])|[{_SOFT}]*+(?:[{_HARD}]|(?={_URL_START.pattern})))[{_ANY}]*+"
)
_SEPARATOR = re.compile(r" ?(?:[,;|\t]|\r?\n) ?")
# Spares nearly every URL the closer look. Its parts add up to less than MAX_URL.
_USUAL_URL = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9.-]{0,252}(?::\d{1,4})?/[!-~]{0,1700}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NOT_IN_HOST = re.compile(r'[\s"<>\\^`{|}]')


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, as a code and a sentence, and where: line and cell of the row, both from 1."""

    code: str
    detail: str
    line: int | None = None
    column: int | None = None


class CatalogueError(Exception):
    """The file is refused. `problems` says why; as a string it is their sentences."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(" ".join(problem.detail for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Columns:
    """Where the columns that matter stand, as indices into a row's cells."""

    serial: int
    name: int
    images: tuple[int, ...]


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


@dataclass(frozen=True, slots=True)
class Summary:
    """What one pass over a file found. Of rows and problems the first 100 are kept and all are counted."""

    rows: int
    urls: int
    first_rows: list[Row]
    problems: list[Problem]
    problem_count: int


class Catalogue:
    """A catalogue file with its header read; iterating over it yields its rows.

    The file must be seekable. Each iteration reads it from its start, so only one can be under way at a time.
    Creation and iteration raise `CatalogueError` where the structure is broken. `encoding` is `utf-8` or
    `cp1252`. `own_width` is how many columns there are without those of an earlier result. `separator`
    belongs between the URLs of an output cell: `,` until the first row with several URLs comes, and what
    stands between those from then on.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._table = table = _CsvTable(file)
        self.encoding, self.has_bom = table.encoding, table.has_bom
        self.delimiter, self.line_terminator = table.delimiter, table.line_terminator
        self.declares_delimiter = table.preamble > 0
        self.separator = ","
        self._header_line, self.header = next(islice(table.records(), table.preamble, None), (1, []))
        self.own_width = len(self.header) - (len(RESULT_COLUMNS) if _is_result(self.header) else 0)
        self.columns = _find_columns(self.header[: self.own_width], self._header_line)

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
        spilled = (index for index in range(width, len(cells)) if _URL_START.match(cells[index].strip()))
        return (*self.columns.images, *spilled)

    def encode(self, text: str) -> bytes:
        """Encodes text as the file is, so that its cells come out byte for byte. What its encoding does
        not have becomes `?`."""
        return text.encode(self.encoding, _KEEP_UNDEFINED)

    def _find_separator(self, cells: list[str]) -> str:
        for index in self.columns.images:
            first, *others = split_urls(cells[index]) or [""]
            if others:
                between = cells[index].partition(first)[2].partition(others[0])[0]
                found = _SEPARATOR.search(between)
                return found[0] if found else " "
        return self.delimiter  # between the cells that an unquoted list has spilled into


def survey(file: IO[bytes], *, strict: bool = False) -> Summary:
    """Validates a whole file in one pass.

    Raises `CatalogueError` where the structure is broken or there is no row and, if `strict`, where there is
    any problem at all, with the first 100 of them.
    """
    catalogue = Catalogue(file)
    width = len(catalogue.header)
    rows = urls = problem_count = 0
    first_rows: list[Row] = []
    problems: list[Problem] = []
    for row in catalogue:
        rows += 1
        urls += len(row.image_urls)
        if rows <= FIRST_ROWS:
            first_rows.append(row)
        if len(row.cells) != width or any(map(url_problem, row.image_urls)):
            found = list(_find_problems(catalogue, row.cells, row.line))
            problem_count += len(found)
            problems += found[: FIRST_PROBLEMS - len(problems)]
    if not rows:
        raise _refusal("no_rows", "The file has a header but no rows.")
    if strict and problems:
        raise CatalogueError(problems)
    return Summary(rows, urls, first_rows, problems, problem_count)


def split_urls(cell: str) -> list[str]:
    """Splits a cell into its URLs, in order.

    `|`, tab and line end always separate; `,` `;` and space only before a scheme or `//`, since URLs contain
    them. So a list without schemes (`a.jpg, b.jpg`) stays in one piece, to which `url_problem` objects.
    """
    cell = cell.strip(_ANY)
    return _SPLIT.split(cell) if cell else []


def url_problem(url: str) -> str | None:
    """Says in a sentence why a URL cannot be that of a picture; None if it can be tried."""
    if _USUAL_URL.fullmatch(url):
        return None
    if not url.strip():
        return "The URL is empty."
    if len(url) > MAX_URL:
        return f"The URL is longer than {MAX_URL:,} characters."
    if _CONTROL.search(url):
        return "The URL contains a control character."
    if not url.lower().startswith(("http://", "https://")):
        return "The URL does not start with http:// or https://."
    return _host_problem(url)


def _host_problem(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "The URL has an invalid host or port."
    if "@" in parts.netloc:
        return "The URL contains a user name or password."
    if not parts.hostname:
        return "The URL names no host."
    if _NOT_IN_HOST.search(parts.netloc):
        return "The URL has an invalid host or port."
    return None


def _find_problems(catalogue: Catalogue, cells: list[str], line: int) -> Iterator[Problem]:
    width = len(catalogue.header)
    pictures = catalogue.picture_cells(cells)
    spilled = set(pictures)
    surplus = [index for index in range(width, len(cells)) if cells[index].strip() and index not in spilled]
    sizes = f"The row has {len(cells):,} cells, the header has {width:,}."
    if len(cells) < width:
        yield Problem("too_few_cells", sizes, line)
    if surplus:
        yield Problem("too_many_cells", sizes, line, surplus[0] + 1)
    for index in pictures:
        for url in split_urls(cells[index]) if index < len(cells) else []:
            if reason := url_problem(url):
                yield Problem("invalid_url", f"{_shorten(url, 100)}: {reason}", line, index + 1)


class _CsvTable:
    """The records of a file, whatever they mean, with what has to be found out to read them."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.encoding, self.has_bom = _find_encoding(file)
        head = list(islice(dropwhile(_is_blank, self._lines()), 10))
        if not head:
            raise _refusal("empty_file", "The file is empty.")
        self.line_terminator = "\r\n" if head[0].endswith("\r\n") else "\n"
        declared = _DECLARED_DELIMITER.fullmatch(head[0])
        self.preamble = 1 if declared else 0  # records before the header
        self.delimiter = declared[1] if declared else _most_frequent_delimiter("".join(head))

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """Yields the records that are not blank, the header included, each with the line it starts in."""
        lines: list[str] = []
        reader = csv.reader(self._gathered(lines), delimiter=self.delimiter)
        start = 1
        try:
            for cells in reader:
                if any(map(str.strip, cells)):
                    yield start, cells
                start = reader.line_num + 1
                lines.clear()
        except csv.Error:  # only ever the length of a cell: the reader is lenient in everything else
            if len(lines) > 1:
                raise self._unclosed_quote(lines[:-1], start) from None
            detail = f"A cell in line {start} is longer than {csv.field_size_limit():,} characters."
            raise _refusal("cell_too_long", detail, start) from None

    def _gathered(self, record: list[str]) -> Iterator[str]:
        """Yields the lines and gathers those of one record in `record`, which `records` clears after each.

        So whatever is in it when a further line is wanted ends inside quotes.
        """
        number = size = 0
        for number, line in enumerate(self._lines(), 1):
            size = size + len(line) if record else len(line)
            if size > MAX_ROW:
                raise _too_long(number - len(record))
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
        return _refusal("unclosed_quote", detail, line)

    def _lines(self) -> Iterator[str]:
        """Yields the lines of the file with their ends, of whichever of the three kinds."""
        decoder = codecs.getincrementaldecoder(self.encoding)(_KEEP_UNDEFINED)
        newlines = io.IncrementalNewlineDecoder(decoder, translate=False)
        self._file.seek(len(codecs.BOM_UTF8) if self.has_bom else 0)
        number, rest, at_end = 1, "", False
        while not at_end:
            block = self._file.read(_BLOCK)
            at_end = not block
            lines = _split_lines(rest + newlines.decode(block, final=at_end))
            rest = lines.pop() if lines and not at_end else ""
            yield from lines
            number += len(lines)
            if len(rest) > MAX_ROW:
                raise _too_long(number)


def _find_encoding(file: IO[bytes]) -> tuple[str, bool]:
    """Tells in one pass how the text is encoded and whether a byte order mark precedes it.

    What is not UTF-8 from end to end is taken for cp1252, the commonest code page of Excel.
    """
    file.seek(0)
    mark = file.read(len(codecs.BOM_UTF8))
    if mark.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise _refusal("unsupported_encoding", "The file is encoded as UTF-16: please save it as UTF-8.")
    has_bom = mark == codecs.BOM_UTF8
    blocks = _text_blocks(file)
    try:
        for _ in codecs.iterdecode(blocks, "utf-8"):
            pass
    except UnicodeDecodeError:
        for _ in blocks:
            pass
        if has_bom:
            raise _refusal("unsupported_encoding", "The file is marked as UTF-8 but is not.") from None
        return "cp1252", False
    return "utf-8", has_bom


def _text_blocks(file: IO[bytes]) -> Iterator[bytes]:
    """Yields the bytes of a file as long as they can be text."""
    file.seek(0)
    line = 1
    while block := file.read(_BLOCK):
        if len(block.translate(None, _BINARY)) < len(block):
            place = min(found for control in _BINARY if (found := block.find(control)) >= 0)
            line += block.count(b"\n", 0, place)
            byte = f"0x{block[place]:02X}"
            detail = f"This is not a CSV file: line {line} contains the byte {byte}, which no text does."
            raise _refusal("not_text", detail, line)
        line += block.count(b"\n")
        yield block


def _keep_undefined(error: UnicodeError) -> tuple[str | bytes, int]:
    """Five bytes mean nothing in cp1252. They become the control characters of the same number, as in
    browsers, and bytes again on output; U+FFFD would lose them."""
    if isinstance(error, UnicodeDecodeError):
        return error.object[error.start : error.end].decode("latin-1"), error.end
    if isinstance(error, UnicodeEncodeError):
        return error.object[error.start : error.end].encode("latin-1", "replace"), error.end
    raise error


_KEEP_UNDEFINED = f"{__name__}.keep_undefined"
codecs.register_error(_KEEP_UNDEFINED, _keep_undefined)


def _most_frequent_delimiter(head: str) -> str:
    """Counts outside quotes in the header, with which `head` begins. Without any it is a comma."""
    header = re.split(r"[\r\n]", _QUOTED.sub("", head), maxsplit=1)[0]
    return max(DELIMITERS, key=header.count)


def _find_columns(header: list[str], line: int) -> Columns:
    places: dict[str, int] = {}
    for index, name in enumerate(header):
        key = normalise(name)
        if key and places.setdefault(key, index) != index:
            detail = f"Two columns have the same name: {_list_names([header[places[key]], name])}."
            raise _refusal("duplicate_column", detail, line, index + 1)
    found = {
        role: places[key]
        for role, names in ALIASES.items()
        for key in map(normalise, reversed(names))
        if key in places
    }
    if missing := [names[0] for role, names in ALIASES.items() if role not in found]:
        detail = f"Missing columns: {_list_names(missing)}. Found in the file: {_list_names(header)}."
        raise _refusal("missing_column", detail, line)
    return Columns(found["serial"], found["name"], (found["images"],))


def _is_result(header: list[str]) -> bool:
    ending = header[-len(RESULT_COLUMNS) :]
    return list(map(normalise, ending)) == list(map(normalise, RESULT_COLUMNS))


def normalise(header: str) -> str:
    """The form in which names of columns are compared."""
    return _PUNCTUATION.sub(" ", header.casefold()).strip()


def _list_names(names: list[str]) -> str:
    listed = [f"“{_shorten(name.strip(), 60)}”" for name in names[:30]]
    return ", ".join(listed) + (" …" if len(names) > 30 else "") or "nothing"


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


def _split_lines(text: str) -> list[str]:
    # str.splitlines() would split at eight more characters, which may well stand in a cell.
    return list(io.StringIO(text, newline=""))


def _is_blank(line: str) -> bool:
    return not line.strip()


def _too_long(line: int) -> CatalogueError:
    return _refusal("line_too_long", f"The row in line {line} is longer than {MAX_ROW:,} characters.", line)


def _refusal(code: str, detail: str, line: int | None = None, column: int | None = None) -> CatalogueError:
    return CatalogueError([Problem(code, detail, line, column)])
