"""The products table of a Request's page: search, filters and pagination."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Case, Count, F, Q, When, Window
from django.db.models.functions import RowNumber

from products.catalogue import server_of
from products.models import Image, ImageStatus, Product, ProductImage, ProductQuerySet, Request
from products.models.product import leading_rows
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
class ProductRow:
    """A product as the table shows it."""

    row_number: int
    serial_number: str
    product_name: str
    status: Any  # a RequestStatus with its label
    pictures: list[tuple[int, Image]]  # with their positions in the product, from 1
    more: int  # number of pictures left out

    @classmethod
    def of(cls, product: Product, places: list[Any]) -> "ProductRow":
        """Return a row that shows these places, which come from `_first_places`."""
        counts = [(status, getattr(place, f"in_{status}")) for place in places[:1] for status in ImageStatus]
        return cls(
            product.row_number,
            product.serial_number,
            product.product_name,
            Product.status_of([status for status, count in counts if count]),
            [(place.position + 1, place.image) for place in places],
            sum(count for _status, count in counts) - len(places),
        )


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
    places = _first_places(batch, products, MAX_PICTURES if query.get("row") else PICTURES_PER_PRODUCT, code)
    has_pending = any(place.in_pending for of_row in places.values() for place in of_row)
    return {
        "form": form,
        "is_search": is_search,
        "only_cause": explain(code, host).title if code else "",
        "only_host": server_of(host),
        "products": [ProductRow.of(product, places[product.pk]) for product in products],
        "has_previous": has_previous,
        "has_next": has_next,
        "seconds": POLL_SECONDS if is_search or has_pending or not products else SETTLED_POLL_SECONDS,
    }


def _first_places(
    batch: Request, products: list[Product], most: int, code: str
) -> "defaultdict[UUID, list[Any]]":
    """Return the first places of each product, those that failed with the error `code` before others.

    Each says how many Images of its product are in each status, like `in_pending`. The database counts
    them: a row may have a hundred thousand.
    """
    order: list[Case | F] = [Case(When(image__error_code=code, then=0), default=1)] if code else []
    rank = Window(RowNumber(), partition_by="product_id", order_by=[*order, F("position")])
    counts = {
        f"in_{status}": Window(Count("pk", filter=Q(image__status=status)), partition_by="product_id")
        for status in ImageStatus
    }
    places = ProductImage.objects.filter(product__in=products).select_related("image")
    if batch.renditions:
        places = places.prefetch_related("image__renditions")
    found: defaultdict[UUID, list[Any]] = defaultdict(list)
    for place in places.annotate(rank=rank, **counts).filter(rank__lte=most).order_by("product_id", "rank"):
        found[place.product_id].append(place)
    return found


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
