"""Which of a Request's Products a page shows."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from products.models import Image, ImageStatus, Product, ProductQuerySet, Request
from products.pages.forms import ProductSearchForm
from products.results.failures import meaning_of

PRODUCTS_PER_PAGE = 25
#: Of each product while others are shown beside it, and of one that is shown alone.
PICTURES_PER_PRODUCT, MOST_PICTURES = 3, 80


@dataclass(frozen=True, slots=True)
class ShownProduct:
    """A row with the first of its pictures; `more` counts the others."""

    row_number: int
    serial_number: str
    product_name: str
    status: Any  # a RequestStatus, with its label
    pictures: list[tuple[int, Image]]
    more: int

    @classmethod
    def of(cls, product: Product, most: int, code: str) -> "ShownProduct":
        """With at most so many pictures, each with its place from 1; those that failed with `code` first."""
        images = list(enumerate(product.images_in_order, 1))
        if code:
            images.sort(key=lambda place: place[1].error_code != code)
        texts = (product.row_number, product.serial_number, product.product_name)
        return cls(*texts, product.status, images[:most], len(images[most:]))


def product_page(request: HttpRequest, batch: Request) -> dict[str, Any]:
    """The products that the query looks for: 25 of them, whether there are others before and behind, and
    whether more may come of them by themselves."""
    form = ProductSearchForm(request.GET)
    wanted = form.cleaned_data if form.is_valid() else {}
    is_search = any(wanted.get(name) for name in ("q", "status", "code", "row"))
    products, has_previous, has_next = _rows(_found(batch, wanted), wanted)
    most = MOST_PICTURES if wanted.get("row") else PICTURES_PER_PRODUCT
    return {
        "form": form,
        "is_search": is_search,
        "only_cause": meaning_of(wanted["code"]).title if wanted.get("code") else "",
        "only_host": wanted.get("host", ""),
        "products": [ShownProduct.of(product, most, wanted.get("code", "")) for product in products],
        "has_previous": has_previous,
        "has_next": has_next,
        "is_moving": batch.is_active and (is_search or _has_pending(products)),
    }


def _found(batch: Request, wanted: dict[str, Any]) -> ProductQuerySet:
    found = batch.products.with_images()
    if words := wanted.get("q"):
        found = found.found_by(batch, words)
    if status := wanted.get("status"):
        found = found.in_status(status)
    if code := wanted.get("code"):
        found = found.with_failure(code, wanted["host"])
    if row := wanted.get("row"):
        found = found.filter(row_number=row)
    return found


def _rows(found: ProductQuerySet, wanted: dict[str, Any]) -> tuple[list[Product], bool, bool]:
    """The rows after, or before, the row that is named, and whether there are others before and behind."""
    after, before = wanted.get("after") or 0, wanted.get("before")
    if before is None:
        rows = list(found.filter(row_number__gt=after).order_by("row_number")[: PRODUCTS_PER_PAGE + 1])
        return rows[:PRODUCTS_PER_PAGE], after > 0, len(rows) > PRODUCTS_PER_PAGE
    rows = list(found.filter(row_number__lt=before).order_by("-row_number")[: PRODUCTS_PER_PAGE + 1])
    return rows[:PRODUCTS_PER_PAGE][::-1], len(rows) > PRODUCTS_PER_PAGE, True


def _has_pending(products: list[Product]) -> bool:
    places = (image for product in products for image in product.images_in_order)
    return not products or any(image.status == ImageStatus.PENDING for image in places)
