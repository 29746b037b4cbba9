"""Changes between the pictures of two Requests, or of two runs of one."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple, Self
from uuid import UUID

from django.db import connection, models

from products.catalogue import escape_formula, quote_cell
from products.models import Image, Rendition, Request
from products.models.output_urls import OutputUrls
from products.results.result_csv import rendition_names, rendition_urls

# MATERIALIZED reads each side once; SQLite would otherwise scan one side for each row of the other.
# A picture without an outcome keeps its status as its kind: pending, canceled or ignored. One that was
# settled after its side's moment (`is_known` is false) had no output then: it had failed or was canceled.
COMPARISON = """
WITH now AS MATERIALIZED (
  SELECT id, number, url, status, output_key, external_url, error_detail, {now_known} AS is_known
  FROM {table} WHERE {now}
), earlier AS MATERIALIZED (
  SELECT id, number, url, output_key, external_url FROM {table} WHERE {earlier} AND {earlier_known}
), change AS (
  SELECT 0 AS place, now.number, now.url,
    CASE WHEN now.is_known THEN now.output_key ELSE '' END AS output_key,
    CASE WHEN now.is_known THEN now.external_url ELSE '' END AS external_url,
    CASE WHEN now.is_known THEN now.error_detail ELSE '' END AS error_detail,
    COALESCE(earlier.output_key, '') AS was_key, COALESCE(earlier.external_url, '') AS was_url,
    earlier.url IS NOT NULL AS was_there,
    CASE
      WHEN now.status = 'failed' OR NOT now.is_known THEN 'failing'
      WHEN now.status <> 'completed' THEN now.status
      WHEN COALESCE(earlier.output_key, '') = '' AND COALESCE(earlier.external_url, '') = '' THEN 'new'
      WHEN now.output_key = earlier.output_key AND now.external_url = earlier.external_url
        AND {same_renditions} THEN 'unchanged'
      ELSE 'changed'
    END AS kind
  FROM now LEFT JOIN earlier ON earlier.url = now.url
  UNION ALL
  SELECT 1, earlier.number, earlier.url, '', '', '', earlier.output_key, earlier.external_url, TRUE, 'gone'
  FROM earlier LEFT JOIN now ON now.url = earlier.url WHERE now.url IS NULL
)
"""
# The condition that each rendition of one Image is one of the other.
RENDITIONS_AMONG = """
NOT EXISTS (SELECT 1 FROM {renditions} AS one WHERE one.image_id = {one}.id AND NOT EXISTS (
  SELECT 1 FROM {renditions} AS other
  WHERE other.image_id = {other}.id AND other.name = one.name AND other.key = one.key))
"""
ROWS = """
SELECT kind, url, output_key, external_url, was_key, was_url, error_detail
FROM change WHERE place = %s ORDER BY number
"""
PICTURES = """
SELECT place, number, kind, url, output_key <> '', was_key <> '', was_there FROM change
WHERE kind IN ({kinds}) AND (place, number) > (%s, %s) ORDER BY place, number LIMIT %s
"""
FIRST_OF_EACH_KIND = """
SELECT place, number, kind, url, output_key <> '', was_key <> '', was_there FROM (
  SELECT change.*, ROW_NUMBER() OVER (PARTITION BY kind ORDER BY place, number) AS of_kind
  FROM change WHERE kind IN ({kinds})
) AS ranked WHERE of_kind <= %s ORDER BY place, number
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
    IGNORED = "ignored", "Left out"
    PENDING = "pending", "Pending"
    CANCELED = "canceled", "Canceled"


class State(NamedTuple):
    """The pictures of a Request as they are or, with `until`, as they were at that moment."""

    batch: Request
    until: datetime | None = None

    @classmethod
    def after_run(cls, batch: Request, number: int) -> Self:
        """Return the state at the end of a run, or the present one for the latest run.

        A completed picture takes no part in later runs, so what was completed at the end of a run is what was
        settled before the next one started.
        """
        following = next((run for run in batch.all_runs if run.number > number), None)
        return cls(batch, following.started_at if following else None)

    @property
    def is_known(self) -> tuple[str, list[Any]]:
        """A condition on Images in SQL, with its parameters: settled by the moment of this state."""
        if self.until is None:
            return "1 = 1", []
        moment = Image._meta.get_field("settled_at").get_db_prep_value(self.until, connection)
        return "COALESCE(settled_at < %s, 1 = 0)", [moment]


class Change(NamedTuple):
    """A picture of either state with the URLs of its current and earlier output, "" for none.

    `renditions` has those of its renditions by their names.
    """

    kind: str
    url: str
    output_url: str
    earlier_output_url: str
    error: str
    renditions: dict[str, tuple[str, str]]


class ChangedPicture(NamedTuple):
    """A picture that changed. Its place in the order of all is `place`, then `number`.

    `has_output` and `had_output` say whether there is a stored output now, and was one before; `was_there`
    whether the earlier state has the picture at all.
    """

    place: int
    number: int
    kind: str
    url: str
    has_output: bool
    had_output: bool
    was_there: bool


def changed_pictures(
    now: State, earlier: State, kinds: Sequence[Kind], after: tuple[int, int], limit: int
) -> list[ChangedPicture]:
    """Return the first pictures with these kinds of change after a place and number, (0, 0) for the first."""
    pictures = PICTURES.format(kinds=", ".join(["%s"] * len(kinds)))
    return [ChangedPicture(*row) for row in _select(pictures, now, earlier, None, *kinds, *after, limit)]


def first_pictures(now: State, earlier: State, kinds: Sequence[Kind], limit: int) -> list[ChangedPicture]:
    """Return the first pictures, up to `limit`, with each of these kinds of change."""
    pictures = FIRST_OF_EACH_KIND.format(kinds=", ".join(["%s"] * len(kinds)))
    return [ChangedPicture(*row) for row in _select(pictures, now, earlier, None, *kinds, limit)]


def changes(now: State, earlier: State | None) -> Iterator[Change]:
    """Yield the pictures of `now` in order of appearance, then those that only `earlier` had.

    A picture is unchanged if its output and its renditions are the same files. Other options therefore
    change every picture; a source with different bytes may still give the same output. Pages are statements
    of their own: while the reader takes its time, no cursor is open.
    """
    for place, side in enumerate((now, earlier)):
        for urls in _pages(side.batch) if side else ():
            rows = _select(ROWS, now, earlier, urls, place)
            outputs = _Outputs(now, {url: (key, external) for _, url, key, external, *_ in rows})
            before = _Outputs(earlier, {url: was for _, url, _, _, *was, _ in rows})
            names = changed_renditions(now, earlier)
            for kind, url, *_, error in rows:
                renditions = {
                    name: (outputs.rendition(url, name), before.rendition(url, name)) for name in names
                }
                yield Change(kind, url, outputs.url(url), before.url(url), error, renditions)


def changed_renditions(now: State, earlier: State | None) -> list[str]:
    """Return the names of the renditions of both states: those of `now` in order, then the others."""
    sides = [now, earlier] if earlier else [now]
    return list(dict.fromkeys(name for side in sides for name in rendition_names(side.batch)))


class _Outputs:
    """The URLs of the outputs of some pictures in a state, given the key or the external URL of each."""

    def __init__(self, state: State | None, outputs: Mapping[str, Sequence[str]]) -> None:
        self._outputs = outputs
        self._addresses = OutputUrls()
        self._ids = {url: Image.id_for(state.batch.pk, url) for url in outputs} if state else {}
        names = rendition_names(state.batch) if state else []
        stored = [pk for url, pk in self._ids.items() if outputs[url][0]]
        urls = rendition_urls(names, stored, self._addresses)
        self._renditions = {pk: dict(zip(names, of_image, strict=True)) for pk, of_image in urls.items()}

    def url(self, url: str) -> str:
        """Return the URL of the output of the picture at `url`, "" if there is none."""
        key, external_url = self._outputs[url]
        return self._addresses.url(self._ids[url], key, external_url) if url in self._ids else ""

    def rendition(self, url: str, name: str) -> str:
        """Return the URL of a rendition of the picture at `url`, "" if there is none."""
        of_image = self._renditions.get(self._ids[url], {}) if url in self._ids else {}
        return of_image.get(name, "")


def _pages(batch: Request) -> Iterator[list[str]]:
    """Yield the URLs of the Images of a Request in order, some at a time."""
    images, number = Image.objects.filter(request=batch).order_by("number").values_list("number", "url"), 0
    while page := list(images.filter(number__gt=number)[:PAGE_IMAGES]):
        number = page[-1][0]
        yield [url for _, url in page]


def count_changes(now: State, earlier: State) -> list[tuple[str, int]]:
    """Return the label of each kind of change that occurs, with its number of pictures."""
    counts = Counter(dict(_select(COUNTS, now, earlier)))
    return [(str(kind.label), counts[kind]) for kind in Kind if counts[kind]]


def changes_csv(now: State, earlier: State | None, *, for_excel: bool = False) -> Iterator[bytes]:
    """Yield changes() as CSV in UTF-8; `for_excel` adds a byte order mark and defuses formulas."""
    if for_excel:
        yield "\ufeff".encode()
    names = changed_renditions(now, earlier)
    more = [
        f"{title} ({name})" for name in names for title in ("Output Image Url", "Earlier Output Image Url")
    ]
    header = ["Change", "Input Image Url", "Output Image Url", "Earlier Output Image Url", "Error", *more]
    for cells in chain([header], (_cells(change) for change in changes(now, earlier))):
        values = [escape_formula(cell) if for_excel else cell for cell in cells]
        yield (",".join(quote_cell(value, ",") for value in values) + "\r\n").encode()


def _cells(change: Change) -> list[str]:
    *cells, error, renditions = change
    return [*cells, error, *chain.from_iterable(renditions.values())]


def _select(
    rows: str, now: State, earlier: State | None, urls: list[str] | None = None, *parameters: Any
) -> list[tuple[Any, ...]]:
    """Return the rows that a SELECT with parameters finds in the comparison, of these URLs or of all."""
    of_now, of_earlier = (_condition(state, urls) for state in (now, earlier))
    now_known = now.is_known
    earlier_known = earlier.is_known if earlier else ("1 = 1", [])
    statement = COMPARISON.format(
        table=connection.ops.quote_name(Image._meta.db_table),
        now=of_now[0],
        now_known=now_known[0],
        earlier=of_earlier[0],
        earlier_known=earlier_known[0],
        same_renditions=_same_renditions(now, earlier),
    )
    of_states = [*now_known[1], *of_now[1], *of_earlier[1], *earlier_known[1]]
    with connection.cursor() as cursor:
        cursor.execute(statement + rows, [*of_states, *parameters])
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def _same_renditions(now: State, earlier: State | None) -> str:
    """Return the condition that two Images have the same renditions, in SQL."""
    if not any(state.batch.renditions for state in (now, earlier) if state):
        return "1 = 1"
    table = connection.ops.quote_name(Rendition._meta.db_table)
    pairs = (("now", "earlier"), ("earlier", "now"))
    conditions = (RENDITIONS_AMONG.format(renditions=table, one=one, other=other) for one, other in pairs)
    return " AND ".join(conditions)


def _condition(state: State | None, urls: list[str] | None) -> tuple[str, list[Any]]:
    """Return a condition on the Images of a state in SQL, of these URLs or of all, with its parameters."""
    if state is None:
        return "1 = 0", []
    if urls is None:
        return "request_id = %s", _ids(state.batch.pk)
    ids = _ids(*(Image.id_for(state.batch.pk, url) for url in urls))
    return f"id IN ({', '.join(['%s'] * len(ids))})", ids


def _ids(*ids: UUID) -> list[Any]:
    """Return ids as the database takes them."""
    field = Request._meta.pk
    return [field.get_db_prep_value(one, connection) for one in ids]
