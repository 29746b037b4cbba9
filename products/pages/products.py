"""The products table of a Request's page: search, filters and pagination."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from products.models import Image, ImageStatus, Product, ProductQuerySet, Request
from products.pages.forms import ProductSearchForm
from products.results.failures import explain

PRODUCTS_PER_PAGE = 25
#: In a table of several products.
PICTURES_PER_PRODUCT = 3
#: Where a single product is shown.
MAX_PICTURES = 80


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
    def from_product(cls, product: Product, max_pictures: int, code: str) -> "ProductRow":
        """Take the first pictures of a product, those that failed with the error `code` before others."""
        pictures = list(enumerate(product.images_in_order, 1))
        if code:
            pictures.sort(key=lambda item: item[1].error_code != code)
        return cls(
            product.row_number,
            product.serial_number,
            product.product_name,
            product.status,
            pictures[:max_pictures],
            len(pictures[max_pictures:]),
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
    max_pictures = MAX_PICTURES if query.get("row") else PICTURES_PER_PRODUCT
    has_pending = any(
        image.status == ImageStatus.PENDING for product in products for image in product.images_in_order
    )
    return {
        "form": form,
        "is_search": is_search,
        "only_cause": explain(code).title if code else "",
        "only_host": query.get("host", ""),
        "products": [ProductRow.from_product(product, max_pictures, code) for product in products],
        "has_previous": has_previous,
        "has_next": has_next,
        "polls": batch.is_active and (is_search or has_pending or not products),
    }


def _search(batch: Request, query: dict[str, Any]) -> ProductQuerySet:
    """Return the batch's products that match every filter of the query."""
    products = batch.products.with_images()
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
        return rows[:PRODUCTS_PER_PAGE], after > 0, len(rows) > PRODUCTS_PER_PAGE
    rows = list(products.filter(row_number__lt=before).order_by("-row_number")[: PRODUCTS_PER_PAGE + 1])
    return rows[:PRODUCTS_PER_PAGE][::-1], len(rows) > PRODUCTS_PER_PAGE, True
