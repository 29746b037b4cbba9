"""Reads a whole catalogue and reports what is in it: `validate` on upload, `preview` for a user to check."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from products.catalogue.columns import ColumnNames
from products.catalogue.picture_cells import is_unusual
from products.catalogue.picture_urls import (
    URL_START,
    has_url_problem,
    host_of,
    looks_like_picture,
    url_problem,
    url_warning,
)
from products.catalogue.problems import CatalogueError, Problem, refusal, shorten
from products.catalogue.reading import Catalogue, Row

FIRST_PROBLEMS = 100
#: More than any catalogue within REQUEST_MAX_IMAGES has, and few enough to read during an HTTP request.
MAX_ROWS = 2_000_000

PREVIEW_ROWS = 20
PREVIEW_HOSTS = 100
#: Per code, so that a frequent warning does not hide the others.
PREVIEW_WARNINGS = 20
#: Pictures missing in a ZIP that a preview names.
PREVIEW_MISSING = 10
#: URLs of the rows that a preview shows. The first row is shown whatever it holds.
PREVIEW_URLS = 1_000
#: A row with more is likely a mistake.
MAX_USUAL_URLS = 1_000
#: Hosts that are counted, in the order of appearance.
MAX_HOSTS = 20_000
#: Duplicates are searched among the first so many, since each takes about 150 bytes of memory.
MAX_SERIAL_NUMBERS = 250_000


@dataclass(frozen=True, slots=True)
class Summary:
    """Result of `validate`. All problems are counted, the first 100 are kept.

    `urls` counts all URLs, `invalid_urls` those that cannot be fetched. `read_as` is the `encoding` of a
    preview.
    """

    header_hash: str
    read_as: str
    rows: int
    urls: int
    invalid_urls: int
    problems: list[Problem]
    problem_count: int


@dataclass(frozen=True, slots=True)
class Preview:
    """Result of `preview`. Other files than CSV have their kind as `encoding` and the `delimiter` None.

    `urls` counts all URLs, `distinct` different ones. `invalid_urls` counts those that cannot be fetched,
    `pictures` different ones that can. `hosts` counts the different URLs of each host, for the 100 hosts with
    the most, among the first 20,000. `fetched_hosts` are these without the pictures that are here already.
    `first_rows` are fewer where they hold many URLs.
    `missing` are the first paths of pictures that the catalogue's ZIP does not have, `missing_count` counts
    all. `warning_count` counts the warnings that are not listed too. `sheet` is the one that is read of a
    workbook, `sheets` are all that are visible.
    """

    encoding: str
    delimiter: str | None
    columns: ColumnNames
    rows: int
    urls: int
    distinct: int
    invalid_urls: int
    pictures: int
    hosts: dict[str, int]
    fetched_hosts: dict[str, int]
    first_rows: list[Row]
    warnings: list[Problem]
    warning_count: int
    sheet: str | None = None
    sheets: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    missing_count: int = 0

    @property
    def uses(self) -> int:
        """The number of URLs without the invalid ones, which is how often pictures are used."""
        return self.urls - self.invalid_urls


def validate(catalogue: Catalogue, *, strict: bool = False, max_urls: int | None = None) -> Summary:
    """Check a whole file in one pass, which ends where a limit is exceeded.

    Raises CatalogueError if the file cannot be read as a table, has no rows, or has more rows, columns or
    URLs than allowed; with `strict` also if there is any problem, with the first 100 of them.
    """
    rows = urls = invalid_urls = problem_count = 0
    problems: list[Problem] = []
    for row in catalogue.parts():
        if isinstance(row, str):
            continue
        rows += 1
        urls += len(row.image_urls)
        if rows > MAX_ROWS:
            raise _limit_exceeded(MAX_ROWS, "too_many_rows", "rows")
        if max_urls is not None and urls > max_urls:
            raise _limit_exceeded(max_urls, "too_many_images", "picture URLs")
        if found := _problems(catalogue, row):
            problem_count += len(found)
            invalid_urls += sum(problem.code == "invalid_url" for problem in found)
            problems += found[: FIRST_PROBLEMS - len(problems)]
    if not rows:
        raise refusal("no_rows", "The file has a header but no rows.")
    if strict and problems:
        raise CatalogueError(problems)
    counts = rows, urls, invalid_urls
    return Summary(catalogue.header_hash, catalogue.read_as, *counts, problems, problem_count)


def preview(
    catalogue: Catalogue,
    is_here: Callable[[str], bool] = lambda url: False,
    missing_path: Callable[[str], str] = lambda url: "",
) -> Preview:
    """Read a whole file. Raise CatalogueError if it cannot be read as a table.

    `is_here` returns whether the picture with a URL is not fetched, `missing_path` the path of one that is
    neither fetched nor here.
    """
    warnings, pictures = _Warnings(catalogue), _Pictures(is_here, missing_path)
    rows = urls = 0
    first_rows: list[Row] = []
    for row in catalogue:
        rows += 1
        urls += len(row.image_urls)
        if rows == 1 or (rows <= PREVIEW_ROWS and urls <= PREVIEW_URLS):
            first_rows.append(row)
        for url in row.image_urls:
            pictures.add(url)
        warnings.check(row)
    listed = warnings.listed()
    return Preview(
        encoding=catalogue.read_as,
        delimiter=catalogue.delimiter if catalogue.kind == "csv" else None,
        columns=catalogue.columns.names(catalogue.header),
        rows=rows,
        urls=urls,
        distinct=pictures.count,
        invalid_urls=warnings.counts["invalid_url"],
        pictures=pictures.valid_count,
        hosts=pictures.hosts(),
        fetched_hosts=pictures.fetched_hosts(),
        first_rows=first_rows,
        warnings=listed,
        warning_count=warnings.counts.total(),
        sheet=catalogue.sheet,
        sheets=catalogue.sheets,
        missing=pictures.missing,
        missing_count=pictures.missing_count,
    )


class _Pictures:
    """The distinct pictures of a preview, counted by host, and those that are missing in a ZIP."""

    def __init__(self, is_here: Callable[[str], bool], missing_path: Callable[[str], str]) -> None:
        self._is_here, self._missing_path = is_here, missing_path
        self._seen: set[int] = set()
        self._hosts: Counter[str] = Counter()
        self._here: Counter[str] = Counter()
        self.valid_count = 0  # of distinct URLs that can be fetched
        self.missing: list[str] = []
        self.missing_count = 0

    @property
    def count(self) -> int:
        """The number of distinct URLs."""
        return len(self._seen)

    def add(self, url: str) -> None:
        """Count a URL unless it was counted before."""
        if (key := hash(url)) in self._seen:
            return
        self._seen.add(key)
        if not url_problem(url):
            self.valid_count += 1
            if (host := host_of(url)) in self._hosts or len(self._hosts) < MAX_HOSTS:
                self._hosts[host] += 1
                self._here[host] += self._is_here(url)
        if path := self._missing_path(url):
            self.missing_count += 1
            if self.missing_count <= PREVIEW_MISSING:
                self.missing.append(shorten(path, 100))

    def hosts(self) -> dict[str, int]:
        """Return the numbers of pictures of the hosts with the most."""
        return dict(self._hosts.most_common(PREVIEW_HOSTS))

    def fetched_hosts(self) -> dict[str, int]:
        """Return the same without pictures that are not fetched."""
        here = self._here
        return {host: count - here[host] for host, count in self.hosts().items() if count > here[host]}


class _Warnings:
    """The warnings of a preview: the first of each code are kept, all are counted."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._kept: dict[str, list[Problem]] = {}
        self.counts: Counter[str] = Counter()  # by code
        self._lines: dict[int, int] = {}  # by the hash of a serial number, the line where it first appears
        self._reported: set[int] = set(catalogue.columns.unused)
        for record in catalogue.above_header():
            self._add(Problem("skipped_line", "This line is above the header. It is not read.", record.line))
        for index in catalogue.columns.guessed:
            name = shorten(catalogue.header[index].strip(), 60)
            detail = f"The column “{name}” was chosen by its content, since its name is not known."
            self._add(Problem("column_by_content", detail, catalogue.header_line, index + 1))
        for index in catalogue.columns.unused:
            name = shorten(catalogue.header[index].strip(), 60)
            detail = f"The column “{name}” is not used because another column fits better."
            self._add(Problem("unused_column", detail, catalogue.header_line, index + 1))

    def check(self, row: Row) -> None:
        """Add the warnings for a row."""
        for problem in _problems(self._catalogue, row):
            self._add(problem)
        columns = self._catalogue.columns
        if columns.serial is not None and not row.serial_number:
            detail = "The row has no serial number."
            self._add(Problem("blank_serial", detail, row.line, columns.serial + 1))
        if columns.name is not None and not row.product_name:
            self._add(Problem("blank_name", "The row has no product name.", row.line, columns.name + 1))
        if len(row.image_urls) > MAX_USUAL_URLS:
            detail = f"The row has {len(row.image_urls):,} picture URLs. Is a separator between rows missing?"
            self._add(Problem("many_urls", detail, row.line))
        pictures = [index for index in self._catalogue.picture_cells(row.cells) if index < len(row.cells)]
        if any(map(url_warning, row.image_urls)) or any(is_unusual(row.cells[index]) for index in pictures):
            for index in pictures:
                for url, code, detail in self._catalogue.warnings_in(row.cells[index]):
                    self._add(Problem(code, f"{shorten(url, 200)}: {detail}", row.line, index + 1))
        if self._catalogue.encoding.is_damaged:
            for index, cell in enumerate(row.cells):
                if "\ufffd" in cell:
                    detail = "The cell contains bytes that cannot be read as text. They are kept as they are."
                    self._add(Problem("unreadable_character", detail, row.line, index + 1))
        self._check_unread(row)
        if columns.serial is not None and row.serial_number and not row.continues:
            self._check_duplicate(row, columns.serial + 1)

    def _check_unread(self, row: Row) -> None:
        """Warn of the first URL in each column without a name, and of a picture in each that is not read."""
        catalogue = self._catalogue
        read = set(catalogue.picture_cells(row.cells)) | self._reported
        for index, cell in enumerate(row.cells[: catalogue.input_width]):
            if "//" in cell and index not in read and URL_START.match(cell.strip()):
                is_named = bool(catalogue.header[index].strip())
                if not is_named or looks_like_picture(cell):
                    self._reported.add(index)
                    detail = (
                        f"{shorten(cell.strip(), 200)}: There are URLs in this column, which is not read."
                    )
                    self._add(Problem("unread_urls", detail, row.line, index + 1))

    def _check_duplicate(self, row: Row, column: int) -> None:
        key = hash(row.serial_number)
        if first_line := self._lines.get(key):
            name = shorten(row.serial_number, 60)
            detail = f"The serial number “{name}” is already used in line {first_line}."
            self._add(Problem("duplicate_serial", detail, row.line, column))
        elif len(self._lines) < MAX_SERIAL_NUMBERS:
            self._lines[key] = row.line

    def _add(self, problem: Problem) -> None:
        self.counts[problem.code] += 1
        kept = self._kept.setdefault(problem.code, [])
        if len(kept) < PREVIEW_WARNINGS:
            kept.append(problem)

    def listed(self) -> list[Problem]:
        """Return the kept warnings in the order of lines, and a last one if others were left out.

        All rows have been checked.
        """
        for line in self._catalogue.skipped:
            detail = "This line repeats the header or is a total. It is not read as a product."
            self._add(Problem("skipped_line", detail, line))
        warnings = [problem for kept in self._kept.values() for problem in kept]
        warnings.sort(key=lambda problem: (problem.line or 0, problem.column or 0))
        count = self.counts.total()
        if len(warnings) < count:
            detail = f"There are {count:,} warnings. The first {PREVIEW_WARNINGS} of each kind are shown."
            warnings.append(Problem("more", detail))
        return warnings


def _limit_exceeded(limit: int, code: str, things: str) -> CatalogueError:
    return refusal(code, f"The file has more than the {limit:,} {things} allowed.")


def _problems(catalogue: Catalogue, row: Row) -> list[Problem]:
    """Return the problems of a row: too few or too many cells, and URLs that cannot be fetched."""
    width, cells = len(catalogue.header), row.cells
    if len(cells) == width and not has_url_problem(row.image_urls):
        return []
    problems = []
    sizes = f"The row has {len(cells):,} cells, the header has {width:,}."
    if len(cells) < width:
        problems.append(Problem("too_few_cells", sizes, row.line))
    picture_cells = set(catalogue.picture_cells(cells))
    surplus = range(width, len(cells))
    if unread := [index for index in surplus if cells[index].strip() and index not in picture_cells]:
        problems.append(Problem("too_many_cells", sizes, row.line, unread[0] + 1))
    for index, url in _urls_by_cell(catalogue, row):
        if reason := url_problem(url):
            problems.append(Problem("invalid_url", f"{shorten(url, 100)}: {reason}", row.line, index + 1))
    return problems


def _urls_by_cell(catalogue: Catalogue, row: Row) -> Iterator[tuple[int, str]]:
    """Yield a row's URLs, each with the index of its cell."""
    for index in catalogue.picture_cells(row.cells):
        if index < len(row.cells):
            for url in catalogue.urls_in(row.cells[index]):
                yield index, url
