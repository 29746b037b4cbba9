"""A catalogue as it would be read, for somebody to look at before anything is done with it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from products.catalogue.columns import ColumnNames
from products.catalogue.problems import Problem, shorten
from products.catalogue.reading import Catalogue, Row
from products.catalogue.survey import find_problems, urls_with_places
from products.catalogue.urls import host_of, url_doubt, url_problem

SHOWN_ROWS = 20
SHOWN_HOSTS = 100
#: Of each kind, so that a frequent one does not hide the others.
SHOWN_WARNINGS = 20
#: Among how many serial numbers doubles are looked for: each takes some 150 bytes of memory.
KNOWN_SERIALS = 250_000


@dataclass(frozen=True, slots=True)
class Preview:
    """What is in a file. `delimiter` is None for a workbook, whose `encoding` is `xlsx`.

    `distinct` counts different URLs and `hosts` those of each host:port, of the 100 hosts with most of them.
    """

    encoding: str
    delimiter: str | None
    columns: ColumnNames
    rows: int
    urls: int
    distinct: int
    hosts: dict[str, int]
    first_rows: list[Row]
    warnings: list[Problem]


def preview(catalogue: Catalogue) -> Preview:
    """Reads a whole file. Raises `CatalogueError` where the structure is broken."""
    warnings, serials = Warnings(), Serials()
    rows = urls = 0
    first_rows: list[Row] = []
    distinct: set[int] = set()
    hosts: Counter[str] = Counter()
    warnings.add(_unused_columns(catalogue))
    for row in catalogue:
        rows += 1
        urls += len(row.image_urls)
        if rows <= SHOWN_ROWS:
            first_rows.append(row)
        for url in row.image_urls:
            if (key := hash(url)) not in distinct:
                distinct.add(key)
                if not url_problem(url):
                    hosts[host_of(url)] += 1
        warnings.add(
            chain(find_problems(catalogue, row), _doubts(catalogue, row), serials.check(catalogue, row))
        )
    return Preview(
        "xlsx" if catalogue.is_workbook else catalogue.encoding.name,
        None if catalogue.is_workbook else catalogue.delimiter,
        catalogue.columns.names(catalogue.header),
        rows,
        urls,
        len(distinct),
        dict(hosts.most_common(SHOWN_HOSTS)),
        first_rows,
        warnings.listed(),
    )


class Warnings:
    """Keeps the first of each kind and counts all."""

    def __init__(self) -> None:
        self._first: dict[str, list[Problem]] = {}
        self._count = 0

    def add(self, found: Iterable[Problem]) -> None:
        """Take note of these."""
        for problem in found:
            self._count += 1
            known = self._first.setdefault(problem.code, [])
            if len(known) < SHOWN_WARNINGS:
                known.append(problem)

    def listed(self) -> list[Problem]:
        """Those kept, in the order of their lines, and at last a sentence where there are others."""
        kept = sorted(
            chain(*self._first.values()), key=lambda problem: (problem.line or 0, problem.column or 0)
        )
        if len(kept) < self._count:
            detail = (
                f"There are {self._count:,} warnings; the first {SHOWN_WARNINGS} of each kind are listed."
            )
            kept.append(Problem("more", detail))
        return kept


class Serials:
    """Knows the serial numbers of the rows so far, and the line of each."""

    def __init__(self) -> None:
        self._lines: dict[int, int] = {}

    def check(self, catalogue: Catalogue, row: Row) -> Iterator[Problem]:
        """Says where a row has an earlier one's serial number, which it may have where it continues that."""
        if not row.serial_number or row.continues:
            return
        key = hash(row.serial_number)
        if first := self._lines.get(key):
            detail = f"The serial number “{shorten(row.serial_number, 60)}” stands in line {first} already."
            yield Problem("duplicate_serial", detail, row.line, catalogue.columns.serial + 1)
        elif len(self._lines) < KNOWN_SERIALS:
            self._lines[key] = row.line


def _unused_columns(catalogue: Catalogue) -> Iterator[Problem]:
    for index in catalogue.columns.unused:
        detail = (
            f"The column “{shorten(catalogue.header[index].strip(), 60)}” is not read: another is preferred."
        )
        yield Problem("unused_column", detail, catalogue.header_line, index + 1)


def _doubts(catalogue: Catalogue, row: Row) -> Iterator[Problem]:
    if not row.serial_number:
        yield Problem("blank_serial", "The row has no serial number.", row.line, catalogue.columns.serial + 1)
    if not row.product_name:
        yield Problem("blank_name", "The row has no product name.", row.line, catalogue.columns.name + 1)
    if not any(map(url_doubt, row.image_urls)):
        return
    for index, url in urls_with_places(catalogue, row):
        if doubt := url_doubt(url):
            code, detail = doubt
            yield Problem(code, f"{shorten(url, 200)}: {detail}", row.line, index + 1)
