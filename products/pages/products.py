"""The products table of a Request's page: search, filters and pagination."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from django.db.models import Case, Count, F, When, Window
from django.db.models.functions import RowNumber
from django.http import HttpRequest

from products.models import Image, ImageStatus, Product, ProductImage, ProductQuerySet, Request
from products.models.product import leading_rows
from products.pages.forms import ProductSearchForm
from products.results.failures import explain

PRODUCTS_PER_PAGE = 25
#: In a table of several products.
PICTURES_PER_PRODUCT = 3
#: Where a single product is shown.
MAX_PICTURES = 80

Pictures: TypeAlias = "defaultdict[UUID, list[tuple[int, Image]]]"


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
    def of(
        cls, product: Product, pictures: list[tuple[int, Image]], statuses: "Counter[str]"
    ) -> "ProductRow":
        """Return a row that shows some of its pictures. `statuses` counts all of them."""
        return cls(
            product.row_number,
            product.serial_number,
            product.product_name,
            Product.status_of(list(statuses)),
            pictures,
            statuses.total() - len(pictures),
        )


def products_context(request: HttpRequest, batch: Request) -> dict[str, Any]:
    """Return the template context of the products table.

    It shows up to PRODUCTS_PER_PAGE products that match the query string. `polls` is true while their
    pictures may still change.
    """
    form = ProductSearchForm(request.GET)
    query = form.cleaned_data if form.is_valid() else {}
    code = query.get("code", "")
    is_search = any(query.get(name) for name in ("q", "status", "code", "row"))
    products, has_previous, has_next = _paginate(_search(batch, query), query)
    pictures = _first_pictures(products, MAX_PICTURES if query.get("row") else PICTURES_PER_PRODUCT, code)
    statuses = _statuses(products)
    has_pending = any(ImageStatus.PENDING in of_row for of_row in statuses.values())
    return {
        "form": form,
        "is_search": is_search,
        "only_cause": explain(code).title if code else "",
        "only_host": query.get("host", ""),
        "products": [
            ProductRow.of(product, pictures[product.pk], statuses[product.pk]) for product in products
        ],
        "has_previous": has_previous,
        "has_next": has_next,
        "polls": batch.is_active and (is_search or has_pending or not products),
    }


def _first_pictures(products: list[Product], most: int, code: str) -> Pictures:
    """Return the first pictures of each product, those that failed with the error `code` before others."""
    found: Pictures = defaultdict(list)
    places = ProductImage.objects.filter(product__in=products).select_related("image")
    if code:
        order = [Case(When(image__error_code=code, then=0), default=1), F("position")]
        rank = Window(RowNumber(), partition_by="product_id", order_by=order)
        places = places.annotate(rank=rank).filter(rank__lte=most).order_by("product_id", "rank")
    else:
        places = places.filter(position__lt=most)
    for place in places:
        found[place.product_id].append((place.position + 1, place.image))
    return found


def _statuses(products: list[Product]) -> "defaultdict[UUID, Counter[str]]":
    """Return by product how many of its pictures are in each status."""
    found: defaultdict[UUID, Counter[str]] = defaultdict(Counter)
    places = ProductImage.objects.filter(product__in=products).order_by()
    for product, status, count in places.values_list("product", "image__status").annotate(n=Count("*")):
        found[product][status] = count
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
