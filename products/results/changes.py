"""Changes between the pictures of two Requests."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, models

from products.catalogue import escape_formula, quote_cell
from products.models import Image, Request
from products.models.output_urls import OutputUrls

HEADER = ("Change", "Input Image Url", "Output Image Url", "Earlier Output Image Url", "Error")

# MATERIALIZED reads each side once; SQLite would otherwise scan one side for each row of the other.
# A picture without an outcome keeps its status as its kind: pending or canceled.
COMPARISON = """
WITH now AS MATERIALIZED (
  SELECT number, url, status, output_key, external_url, error_detail FROM {table} WHERE {now}
), earlier AS MATERIALIZED (
  SELECT number, url, output_key, external_url FROM {table} WHERE {earlier}
), change AS (
  SELECT 0 AS place, now.number, now.url, now.output_key, now.external_url, now.error_detail,
    COALESCE(earlier.output_key, '') AS was_key, COALESCE(earlier.external_url, '') AS was_url,
    CASE
      WHEN now.status = 'failed' THEN 'failing'
      WHEN now.status <> 'completed' THEN now.status
      WHEN COALESCE(earlier.output_key, '') = '' AND COALESCE(earlier.external_url, '') = '' THEN 'new'
      WHEN now.output_key = earlier.output_key AND now.external_url = earlier.external_url THEN 'unchanged'
      ELSE 'changed'
    END AS kind
  FROM now LEFT JOIN earlier ON earlier.url = now.url
  UNION ALL
  SELECT 1, earlier.number, earlier.url, '', '', '', earlier.output_key, earlier.external_url, 'gone'
  FROM earlier LEFT JOIN now ON now.url = earlier.url WHERE now.url IS NULL
)
"""
ROWS = """
SELECT kind, url, output_key, external_url, was_key, was_url, error_detail
FROM change WHERE place = %s ORDER BY number
"""
#: Pictures of one statement.
PAGE_IMAGES = 1000
COUNTS = "SELECT kind, COUNT(*) FROM change GROUP BY kind"


class Kind(models.TextChoices):
    """Kinds of change. `new` includes pictures that had no output before; `failing` means failed now."""

    NEW = "new", "New"
    CHANGED = "changed", "Changed"
    UNCHANGED = "unchanged", "Unchanged"
    GONE = "gone", "Gone"
    FAILING = "failing", "Failing now"
    PENDING = "pending", "Pending"
    CANCELED = "canceled", "Canceled"


class Change(NamedTuple):
    """A picture of either Request with the URLs of its current and earlier output, "" for none."""

    kind: str
    url: str
    output_url: str
    earlier_output_url: str
    error: str


def changes(batch: Request, earlier: Request | None) -> Iterator[Change]:
    """Yield the pictures of `batch` in order of appearance, then those that only `earlier` had.

    A picture is unchanged if its output is the same file. Other options therefore change every picture;
    a source with different bytes may still give the same output. Pages are statements of their own: while
    the reader takes its time, no cursor is open.
    """
    addresses = OutputUrls()

    def address(of: Request | None, url: str, key: str, external_url: str) -> str:
        return addresses.url(Image.id_for(of.pk, url), key, external_url) if of else ""

    for place, side in enumerate((batch, earlier)):
        for urls in _pages(side) if side else ():
            for kind, url, key, external, was_key, was_external, error in _compare(
                batch, earlier, urls, place
            ):
                output, was = address(batch, url, key, external), address(earlier, url, was_key, was_external)
                yield Change(kind, url, output, was, error)


def _pages(batch: Request) -> Iterator[list[str]]:
    """Yield the URLs of the Images of a Request in order, some at a time."""
    images, number = Image.objects.filter(request=batch).order_by("number").values_list("number", "url"), 0
    while page := list(images.filter(number__gt=number)[:PAGE_IMAGES]):
        number = page[-1][0]
        yield [url for _, url in page]


def _compare(batch: Request, earlier: Request | None, urls: list[str], place: int) -> list[tuple[str, ...]]:
    """Return the rows of one part of the comparison, 0 or 1, for these URLs."""
    of_batch, of_earlier = (
        _ids(*(Image.id_for(one.pk, url) for url in urls)) if one else [] for one in (batch, earlier)
    )
    marks = [", ".join(["%s"] * len(ids)) or "NULL" for ids in (of_batch, of_earlier)]
    statement = _comparison(f"id IN ({marks[0]})", f"id IN ({marks[1]})") + ROWS
    with connection.cursor() as cursor:
        cursor.execute(statement, [*of_batch, *of_earlier, place])
        rows: list[tuple[str, ...]] = cursor.fetchall()
    return rows


def count_changes(batch: Request, earlier: Request) -> list[tuple[str, int]]:
    """Return the label of each kind of change that occurs, with its number of pictures."""
    with connection.cursor() as cursor:
        cursor.execute(_comparison("request_id = %s", "request_id = %s") + COUNTS, _ids(batch.pk, earlier.pk))
        counts = Counter(dict(cursor.fetchall()))
    return [(str(kind.label), counts[kind]) for kind in Kind if counts[kind]]


def changes_csv(batch: Request, earlier: Request | None, *, for_excel: bool = False) -> Iterator[bytes]:
    """Yield changes() as CSV in UTF-8; `for_excel` adds a byte order mark and defuses formulas."""
    if for_excel:
        yield "\ufeff".encode()
    for cells in chain([HEADER], changes(batch, earlier)):
        values = [escape_formula(cell) if for_excel else cell for cell in cells]
        yield (",".join(quote_cell(value, ",") for value in values) + "\r\n").encode()


def _comparison(now: str, earlier: str) -> str:
    """Return the beginning of a statement that compares the Images of two conditions."""
    table = connection.ops.quote_name(Image._meta.db_table)
    return COMPARISON.format(table=table, now=now, earlier=earlier)


def _ids(*ids: UUID) -> list[Any]:
    """Return ids as the database takes them."""
    field = Request._meta.pk
    return [field.get_db_prep_value(one, connection) for one in ids]
