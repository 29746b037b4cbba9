"""What has changed in a Request's pictures since an earlier one."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

from django.db import connection, models

from products.catalogue import escape_formula, quote_cell
from products.models import Image, Request
from products.models.output_urls import OutputUrls

HEADER = ("Change", "Input Image Url", "Output Image Url", "Earlier Output Image Url", "Error")

# Both sides read once and joined by URL: SQLite would else look through all of one for each of the other.
# A picture that has no outcome yet is what it is: pending or canceled.
COMPARISON = """
WITH now AS MATERIALIZED (
  SELECT number, url, status, output_key, external_url, error_detail FROM {table} WHERE request_id = %s
), earlier AS MATERIALIZED (
  SELECT number, url, output_key, external_url FROM {table} WHERE request_id = %s
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
SELECT kind, url, output_key, external_url, was_key, was_url, error_detail FROM change ORDER BY place, number
"""
COUNTS = "SELECT kind, COUNT(*) FROM change GROUP BY kind"


class Kind(models.TextChoices):
    """What may have become of a picture: new is also what had no output before, failing what fails now."""

    NEW = "new", "New"
    CHANGED = "changed", "Changed"
    UNCHANGED = "unchanged", "Unchanged"
    GONE = "gone", "Gone"
    FAILING = "failing", "Failing now"
    PENDING = "pending", "Pending"
    CANCELED = "canceled", "Canceled"


class Change(NamedTuple):
    """A picture of either Request: what became of it, and where its output is and was, "" if nowhere."""

    kind: str
    url: str
    output_url: str
    earlier_output_url: str
    error: str


def changes(batch: Request, earlier: Request | None) -> Iterator[Change]:
    """Each picture of `batch` in order of appearance, then those that only `earlier` had.

    Unchanged is what has the same output: other options change every picture, other bytes that look the same
    need not.
    """
    addresses = OutputUrls()

    def address(of: Request | None, url: str, key: str, external_url: str) -> str:
        return addresses.url(Image.id_for(of.pk, url), key, external_url) if of else ""

    with connection.chunked_cursor() as cursor:
        cursor.execute(*_statement(ROWS, batch, earlier))
        for kind, url, key, external, was_key, was_external, error in cursor:
            output, was = address(batch, url, key, external), address(earlier, url, was_key, was_external)
            yield Change(kind, url, output, was, error)


def count_changes(batch: Request, earlier: Request) -> list[tuple[str, int]]:
    """How many pictures there are of each kind that there is, as labels for people."""
    with connection.cursor() as cursor:
        cursor.execute(*_statement(COUNTS, batch, earlier))
        counts = Counter(dict(cursor.fetchall()))
    return [(str(kind.label), counts[kind]) for kind in Kind if counts[kind]]


def changes_csv(batch: Request, earlier: Request | None, *, for_excel: bool = False) -> Iterator[bytes]:
    """The same as a CSV in UTF-8. `for_excel`: with a byte order mark, and no cell is a formula."""
    if for_excel:
        yield "\ufeff".encode()
    for cells in chain([HEADER], changes(batch, earlier)):
        values = [escape_formula(cell) if for_excel else cell for cell in cells]
        yield (",".join(quote_cell(value, ",") for value in values) + "\r\n").encode()


def _statement(what: str, batch: Request, earlier: Request | None) -> tuple[str, list[Any]]:
    field = Request._meta.pk
    ids = [field.get_db_prep_value(one and one.pk, connection) for one in (batch, earlier)]
    return COMPARISON.format(table=connection.ops.quote_name(Image._meta.db_table)) + what, ids
