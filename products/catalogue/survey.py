"""One pass over a whole catalogue: what is in it, and what is wrong with it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from products.catalogue.problems import CatalogueError, Problem, refusal, shorten
from products.catalogue.reading import Catalogue, Row
from products.catalogue.urls import split_urls, url_problem

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


def survey(file: IO[bytes], *, strict: bool = False, max_urls: int | None = None) -> Summary:
    """Validates a whole file in one pass, which ends where a limit is passed.

    Raises `CatalogueError` where the structure is broken, there is no row, or there are more rows, columns or
    URLs than accepted; if `strict`, where there is any problem at all, with the first 100 of them.
    """
    catalogue = Catalogue(file)
    width = len(catalogue.header)
    _check_number(width, MAX_COLUMNS, "too_many_columns", "columns")
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
        if len(row.cells) != width or any(map(url_problem, row.image_urls)):
            found = list(_find_problems(catalogue, row.cells, row.line))
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
                yield Problem("invalid_url", f"{shorten(url, 100)}: {reason}", line, index + 1)
