"""Corrections: a failed or whole result that was corrected by hand, compared with its Request."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from itertools import islice
from uuid import UUID

from django.core.files import File

from products.catalogue import Catalogue, CatalogueError, Problem, Reading, url_problem
from products.lifecycle.repair import Replacement, fetch_from
from products.lifecycle.submit import check_catalogue
from products.models import ImageStatus, Product, ProductImage, Request
from products.models.files import storage_checked

#: Pictures and rows corrected by one file. They are changed in one transaction.
MAX_CORRECTIONS = 50_000
#: Rows of the Request that are read, or looked up by their serial numbers, at once.
CHUNK_ROWS = 1000


@dataclass(frozen=True, slots=True)
class _Place:
    """The picture at one place of a row."""

    image_id: UUID
    url: str
    fetched_from: str
    is_failed: bool


@dataclass(slots=True)
class Corrections(Replacement):
    """Corrected URLs by Image, and the number of rows that fit no row of the Request."""

    urls: dict[UUID, str] = field(default_factory=dict)
    unmatched: int = 0


def correct(batch: Request, file: "File[bytes]", *, dry_run: bool = False) -> Corrections:
    """Fetch failed Images from the URLs that a corrected result has at their places, in a new run.

    Rows are matched by serial number, pictures by their place in the row. Without a column of serial numbers,
    rows are matched by their number, so the file has to have all of them. With `dry_run`, nothing is changed.
    Raises CatalogueError if the file is refused, StillActive while the Request is being processed.
    """
    with storage_checked(), batch.source.open("rb") as source:
        original = Catalogue(source, **batch.reading)
    has_serials = original.columns.serial is not None
    reading: Reading = {"columns": original.columns.names(original.header), "base_url": batch.base_url}
    rows = check_catalogue(file, **reading).rows
    if not has_serials and rows != batch.products_total:
        detail = "The catalogue has no serial numbers. Upload the whole result, with all of its rows."
        raise CatalogueError([Problem("missing_rows", detail)])
    found = _compare(batch, Catalogue(file, **reading), by_serial=has_serials)
    if found.count > MAX_CORRECTIONS:
        raise _too_many()
    if not dry_run and found.urls:
        fetch_from(batch, found.urls)
    return found


def _too_many() -> CatalogueError:
    detail = f"The file corrects more than {MAX_CORRECTIONS:,} pictures. Split it."
    return CatalogueError([Problem("too_many_images", detail)])


def _compare(batch: Request, catalogue: Catalogue, *, by_serial: bool) -> Corrections:
    """Return the corrections that a file has for the failed Images of a Request.

    Without `by_serial`, the number of a row takes the place of its serial number. The file is read several
    times: hashes of its rows are in memory, and the rows that differ from those of the Request, of which
    there may be MAX_CORRECTIONS.
    """

    def lines() -> Iterator[tuple[str, list[str]]]:
        return ((row.serial_number if by_serial else str(row.number), row.image_urls) for row in catalogue)

    serials: Counter[int] = Counter()
    in_file: Counter[int] = Counter()
    for serial, urls in lines():
        serials[hash(serial)] += 1
        in_file[hash((serial, *urls))] += 1
    failed, unchanged = _failed_rows(batch, serials, in_file)
    rows: defaultdict[str, list[list[str]]] = defaultdict(list)
    kept = 0
    for serial, urls in lines():
        key = hash((serial, *urls))
        if unchanged[key]:
            unchanged[key] -= 1
        elif serial in failed:
            kept += 1
            if kept > MAX_CORRECTIONS:
                raise _too_many()
            rows[serial].append(urls)
    found = Corrections(unmatched=_unknown_rows(batch, (serial for serial, _ in lines()), serials.keys()))
    for serial, corrected in rows.items():
        _match(found, failed[serial], corrected)
    return found


def _failed_rows(
    batch: Request, serials: Counter[int], in_file: Counter[int]
) -> tuple[dict[str, list[list[_Place]]], Counter[int]]:
    """Return the places of each row with a failed Image that is changed in a file, by serial number.

    `serials` counts the hashes of the serial numbers in the file, `in_file` those of its rows. The second
    value counts the hashes of rows that the file has unchanged. Where it has other rows of a serial number
    than those that failed, these are rows without failures, too. Raises CatalogueError for more than
    MAX_CORRECTIONS changed rows.
    """
    failing = ProductImage.objects.filter(image__request=batch, image__status=ImageStatus.FAILED)
    products = batch.products.with_images().defer("cells")
    rows: defaultdict[str, list[list[_Place]]] = defaultdict(list)
    unchanged: Counter[int] = Counter()
    left = serials.copy()
    changed = 0
    for product in products.filter(pk__in=failing.values("product")).iterator(CHUNK_ROWS):
        serial, places = product.serial_number, _places(product)
        key = hash((serial, *(place.url for place in places)))
        if unchanged[key] < in_file[key]:
            unchanged[key] += 1
            left[hash(serial)] -= 1
        elif hash(serial) in serials:
            changed += 1
            if changed > MAX_CORRECTIONS:
                raise _too_many()
            rows[serial].append(places)
    # A file of failed rows alone has as many. In others, rows without failures are among them.
    others = iter([serial for serial, places in rows.items() if left[hash(serial)] != len(places)])
    while chunk := list(islice(others, CHUNK_ROWS)):
        of_chunk = products.exclude(pk__in=failing.values("product")).filter(Product.has_serial(*chunk))
        for product in of_chunk.iterator(CHUNK_ROWS):
            key = hash((product.serial_number, *(place.url for place in _places(product))))
            if unchanged[key] < in_file[key]:
                unchanged[key] += 1
    return rows, unchanged


def _unknown_rows(batch: Request, rows: Iterable[str], serials: Set[int]) -> int:
    """Return how many of these serial numbers of a file the Request does not have; `serials` are hashes."""
    known = batch.products.order_by().values_list("serial_number", flat=True)
    unknown = serials - {hash(serial) for serial in known.iterator() if hash(serial) in serials}
    return sum(hash(serial) in unknown for serial in rows) if unknown else 0


def _places(product: Product) -> list[_Place]:
    return [
        _Place(image.pk, image.url, image.fetched_from, image.is_failed) for image in product.images_in_order
    ]


def _match(found: Corrections, failed: list[list[_Place]], corrected: Iterable[list[str]]) -> None:
    """Match the rows of one serial number that differ, and add the corrections in them.

    A row that has kept a URL belongs to the row with that URL. The others are matched in order, if there are
    as many of them as rows left.
    """
    left, changed = list(failed), []
    for urls in corrected:
        kept = next((places for places in left if _is_same_row(places, urls)), None)
        if kept:
            left.remove(kept)
            _add(found, kept, urls)
        else:
            changed.append(urls)
    same_length = len(left) == len(changed) and all(
        len(places) == len(urls) for places, urls in zip(left, changed, strict=True)
    )
    if same_length:
        for places, urls in zip(left, changed, strict=True):
            _add(found, places, urls)
    else:
        found.unmatched += len(changed)


def _is_same_row(places: list[_Place], urls: list[str]) -> bool:
    """Return whether a corrected row has as many pictures as this one, and one of its URLs in place."""
    return len(places) == len(urls) and any(
        url in (place.url, place.fetched_from) for place, url in zip(places, urls, strict=True)
    )


def _add(found: Corrections, places: list[_Place], urls: list[str]) -> None:
    for place, url in zip(places, urls, strict=True):
        is_known = url in (place.url, place.fetched_from) or place.image_id in found.urls
        if place.is_failed and not is_known:
            valid = None if url_problem(url) else url
            found.add(place.url, valid)
            if valid:
                found.urls[place.image_id] = valid
