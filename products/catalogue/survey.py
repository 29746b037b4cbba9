"""One pass over a whole catalogue: what is in it, and what is wrong with it."""

from collections.abc import Iterator
from dataclasses import dataclass

from products.catalogue.problems import CatalogueError, Problem, refusal, shorten
from products.catalogue.reading import Catalogue, Row
from products.catalogue.urls import url_problem

FIRST_ROWS = 100
FIRST_PROBLEMS = 100
# Far beyond any catalogue of REQUEST_MAX_IMAGES pictures, and few enough to be read while somebody waits.
MAX_ROWS = 2_000_000
MAX_COLUMNS = 16_384  # Excel's


@dataclass(frozen=True, slots=True)
class Summary:
    """What one pass over a file found. Of rows and problems the first 100 are kept and all are counted."""

    rows: int
    urls: int
    first_rows: list[Row]
    problems: list[Problem]
    problem_count: int


def survey(catalogue: Catalogue, *, strict: bool = False, max_urls: int | None = None) -> Summary:
    """Validates a whole file in one pass, which ends where a limit is passed.

    Raises `CatalogueError` where the structure is broken, there is no row, or there are more rows, columns or
    URLs than accepted; if `strict`, where there is any problem at all, with the first 100 of them.
    """
    _check_number(len(catalogue.header), MAX_COLUMNS, "too_many_columns", "columns")
    rows = urls = problem_count = 0
    first_rows: list[Row] = []
    problems: list[Problem] = []
    for row in catalogue:
        rows += 1
        urls += len(row.image_urls)
        _check_number(rows, MAX_ROWS, "too_many_rows", "rows")
        _check_number(urls, max_urls, "too_many_images", "picture URLs")
        if rows <= FIRST_ROWS:
            first_rows.append(row)
        found = find_problems(catalogue, row)
        problem_count += len(found)
        problems += found[: FIRST_PROBLEMS - len(problems)]
    if not rows:
        raise refusal("no_rows", "The file has a header but no rows.")
    if strict and problems:
        raise CatalogueError(problems)
    return Summary(rows, urls, first_rows, problems, problem_count)


def _check_number(number: int, limit: int | None, code: str, things: str) -> None:
    if limit is not None and number > limit:
        raise refusal(code, f"The file has more than {limit:,} {things}; no more are accepted.")


def find_problems(catalogue: Catalogue, row: Row) -> list[Problem]:
    """What is wrong with one row."""
    if len(row.cells) == len(catalogue.header) and not any(map(url_problem, row.image_urls)):
        return []
    return [*_misfits(catalogue, row), *_bad_urls(catalogue, row)]


def _misfits(catalogue: Catalogue, row: Row) -> Iterator[Problem]:
    width, cells = len(catalogue.header), row.cells
    sizes = f"The row has {len(cells):,} cells, the header has {width:,}."
    if len(cells) < width:
        yield Problem("too_few_cells", sizes, row.line)
    spilled = set(catalogue.picture_cells(cells))
    surplus = [index for index in range(width, len(cells)) if cells[index].strip() and index not in spilled]
    if surplus:
        yield Problem("too_many_cells", sizes, row.line, surplus[0] + 1)


def _bad_urls(catalogue: Catalogue, row: Row) -> Iterator[Problem]:
    for index, url in urls_with_places(catalogue, row):
        if reason := url_problem(url):
            yield Problem("invalid_url", f"{shorten(url, 100)}: {reason}", row.line, index + 1)


def urls_with_places(catalogue: Catalogue, row: Row) -> Iterator[tuple[int, str]]:
    """A row's URLs, each with the index of its cell."""
    for index in catalogue.picture_cells(row.cells):
        if index < len(row.cells):
            for url in catalogue.urls_in(row.cells[index]):
                yield index, url
