"""The products table of a Request's page: search, filters and pagination."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Case, F, When, Window
from django.db.models.functions import RowNumber
from django.template.defaultfilters import filesizeformat
from django.urls import reverse

from products.catalogue import server_of
from products.models import Image, ImageStatus, Product, ProductImage, ProductQuerySet, Request
from products.models.output_urls import OutputUrls
from products.models.product import leading_rows
from products.models.recipes import format_name
from products.pages.forms import ProductSearchForm
from products.results.failures import explain

PRODUCTS_PER_PAGE = 25
#: In a table of several products.
PICTURES_PER_PRODUCT = 3
#: Where a single product is shown.
MAX_PICTURES = 80
#: Between two polls of a page of products, and of one whose pictures are all settled.
POLL_SECONDS, SETTLED_POLL_SECONDS = 3, 15


@dataclass(frozen=True, slots=True)
class RowPicture:
    """A picture as the table shows it, in texts, since a template takes longer to make them.

    `number` is its place in the row, from 1, and `key` the part of ids that is its own. `path` is that of the
    output. `before` and `after` describe source and output; empty if unknown.
    """

    number: int
    key: str
    label: str
    image: Image
    path: str
    thumbnail: str
    source_thumbnail: str
    before: str
    after: str


class _Pictures:
    """Makes the pictures of a page of rows. Parts of addresses that all have in common are looked up once."""

    def __init__(self) -> None:
        self._output_urls = OutputUrls()
        some = UUID(int=0)
        self._thumbnail, self._source_thumbnail = (
            reverse(view, args=[some]).replace(str(some), "{}") for view in ("thumbnail", "source-thumbnail")
        )

    def at(self, row_number: int, place: ProductImage) -> RowPicture:
        """Return the picture of a place in this row."""
        number, image = place.position + 1, place.image
        return RowPicture(
            number=number,
            key=f"{row_number}-{number}",
            label=f"picture {number} of row {row_number}",
            image=image,
            path=self._output_urls.path(image.pk, image.output_key, image.external_url),
            thumbnail=self._thumbnail.format(image.pk),
            source_thumbnail=self._source_thumbnail.format(image.pk),
            before=_describe(
                image.source_format, image.source_width, image.source_height, image.source_bytes
            ),
            after=_describe(image.output_format, image.output_width, image.output_height, image.output_bytes),
        )


def _describe(name: str, width: int | None, height: int | None, size: int | None) -> str:
    """Return a picture's format, dimensions in pixels and size in bytes as text; "" without a size."""
    return f"{format_name(name)}, {width}\xa0×\xa0{height}, {filesizeformat(size)}" if size else ""


@dataclass(frozen=True, slots=True)
class ProductRow:
    """A product as the table shows it."""

    row_number: int
    serial_number: str
    product_name: str
    status: Any  # a RequestStatus with its label
    pictures: list[RowPicture]
    more: int  # number of pictures left out


def products_context(query_string: Mapping[str, str], batch: Request) -> dict[str, Any]:
    """Return the template context of the products table.

    It shows up to PRODUCTS_PER_PAGE products that match the query string. `seconds` is the time between two
    polls, which is longer once all pictures that are shown are settled.
    """
    form = ProductSearchForm(query_string)
    query = form.cleaned_data if form.is_valid() else {}
    code, host = query.get("code", ""), query.get("host", "")
    is_search = any(query.get(name) for name in ("q", "status", "code", "row"))
    products, has_previous, has_next = _paginate(_search(batch, query), query)
    is_row = bool(query.get("row"))
    most = MAX_PICTURES if is_row else PICTURES_PER_PRODUCT
    places = _first_places(batch, products, most, code)
    statuses = _statuses(products, places)
    has_pending = any(ImageStatus.PENDING in of_row for of_row in statuses.values())
    return {
        "form": form,
        "is_search": is_search,
        "is_row": is_row,
        "only_cause": explain(code, host).title if code else "",
        "only_host": server_of(host),
        "products": _rows(products, places, statuses),
        "has_previous": has_previous,
        "has_next": has_next,
        "seconds": POLL_SECONDS if is_search or has_pending or not products else SETTLED_POLL_SECONDS,
    }


def _rows(
    products: list[Product], places: Mapping[UUID, list[ProductImage]], statuses: Mapping[UUID, set[str]]
) -> list[ProductRow]:
    """Return a row for each product with the places that are shown, and the statuses of all its Images."""
    pictures = _Pictures()
    return [
        ProductRow(
            product.row_number,
            product.serial_number,
            product.product_name,
            Product.status_of(statuses.get(product.pk, ())),
            [pictures.at(product.row_number, place) for place in places.get(product.pk, ())],
            _width(product) - len(places.get(product.pk, ())),
        )
        for product in products
    ]


def _first_places(
    batch: Request, products: list[Product], most: int, code: str
) -> Mapping[UUID, list[ProductImage]]:
    """Return the first places of each product, those that failed with the error `code` before others."""
    places = ProductImage.objects.filter(product__in=products).select_related("image")
    if batch.renditions:
        places = places.prefetch_related("image__renditions")
    if code:
        order: list[Case | F] = [Case(When(image__error_code=code, then=0), default=1), F("position")]
        rank = Window(RowNumber(), partition_by="product_id", order_by=order)
        places = places.annotate(rank=rank).filter(rank__lte=most).order_by("product_id", "rank")
    else:
        places = places.filter(position__lt=most).order_by("product_id", "position")
    found: defaultdict[UUID, list[ProductImage]] = defaultdict(list)
    for place in places:
        found[place.product_id].append(place)
    return found


def _statuses(products: list[Product], places: Mapping[UUID, list[ProductImage]]) -> Mapping[UUID, set[str]]:
    """Return the statuses of each product's Images, given those that are shown.

    The database names those of the others: a row may have a hundred thousand.
    """
    found: defaultdict[UUID, set[str]] = defaultdict(set)
    for product_id, shown in places.items():
        found[product_id].update(place.image.status for place in shown)
    if wide := [product for product in products if _width(product) > len(places.get(product.pk, ()))]:
        others = ProductImage.objects.filter(product__in=wide).order_by()
        for product_id, status in others.values_list("product_id", "image__status").distinct():
            found[product_id].add(status)
    return found


def _width(product: Any) -> int:
    """Return how many places a product of `with_last_positions` has."""
    return 0 if product.last_position is None else product.last_position + 1


def _search(batch: Request, query: dict[str, Any]) -> ProductQuerySet:
    """Return the batch's products that match every filter of the query."""
    products = batch.products.with_last_positions()
    if words := query.get("q"):
        products = products.found_by(batch, words)
    if status := query.get("status"):
        products = products.in_status(status)
    if code := query.get("code"):
        products = products.with_failure(code, query["host"])
    if row := query.get("row"):
        products = products.filter(row_number=row)
    return products


def _paginate(products: ProductQuerySet, query: dict[str, Any]) -> tuple[list[Product], bool, bool]:
    """Return a page of products after or before a row number, and whether there are previous and next ones.

    Pages start at a row number instead of an offset, so that a late page costs no more than the first.
    """
    after, before = query.get("after") or 0, query.get("before")
    if before is None:
        rows = list(products.filter(row_number__gt=after).order_by("row_number")[: PRODUCTS_PER_PAGE + 1])
        shown = rows[: min(leading_rows(rows), PRODUCTS_PER_PAGE)]
        return shown, after > 0, len(rows) > len(shown)
    rows = list(products.filter(row_number__lt=before).order_by("-row_number")[: PRODUCTS_PER_PAGE + 1])
    shown = rows[: min(leading_rows(rows), PRODUCTS_PER_PAGE)]
    return shown[::-1], len(rows) > len(shown), True
