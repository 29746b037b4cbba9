"""Corrections: a failed or whole result that was corrected by hand, compared with its Request."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from django.core.files import File

from products.catalogue import Catalogue, CatalogueError, Problem, Reading, url_problem
from products.lifecycle.repair import Replacement, fetch_from
from products.lifecycle.submit import check_catalogue
from products.models import ImageStatus, Product, ProductImage, Request
from products.models.files import storage_checked

#: Pictures corrected by one file. They are changed in one transaction.
MAX_CORRECTIONS = 50_000


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
        detail = f"The file corrects more than {MAX_CORRECTIONS:,} pictures. Split it."
        raise CatalogueError([Problem("too_many_images", detail)])
    if not dry_run and found.urls:
        fetch_from(batch, found.urls)
    return found


def _compare(batch: Request, catalogue: Catalogue, *, by_serial: bool) -> Corrections:
    """Return the corrections that a file has for the failed Images of a Request.

    Without `by_serial`, the number of a row takes the place of its serial number.
    """
    failed = _failed_rows(batch)
    rows: defaultdict[str, list[list[str]]] = defaultdict(list)
    others: list[int] = []  # hashes of the serial numbers of rows without failures
    for row in catalogue:
        serial = row.serial_number if by_serial else str(row.number)
        if serial in failed:
            rows[serial].append(row.image_urls)
        else:
            others.append(hash(serial))
    found = Corrections()
    if others:
        serials = batch.products.order_by().values_list("serial_number", flat=True)
        known = {hash(serial) for serial in serials.iterator()}
        found.unmatched = sum(serial not in known for serial in others)
    for serial, corrected in rows.items():
        _match(found, failed[serial], corrected)
    return found


def _failed_rows(batch: Request) -> dict[str, list[list[_Place]]]:
    """Return the places of each row with a failed Image, by serial number."""
    failing = ProductImage.objects.filter(image__request=batch, image__status=ImageStatus.FAILED)
    products = batch.products.filter(pk__in=failing.values("product")).with_images().defer("cells")
    rows: defaultdict[str, list[list[_Place]]] = defaultdict(list)
    for product in products.iterator(1000):
        rows[product.serial_number].append(_places(product))
    return rows


def _places(product: Product) -> list[_Place]:
    return [
        _Place(image.pk, image.url, image.fetched_from, image.is_failed) for image in product.images_in_order
    ]


def _match(found: Corrections, failed: list[list[_Place]], corrected: Iterable[list[str]]) -> None:
    """Match the rows of one serial number, and add the corrections in them.

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
