"""The pictures of a Request as tiles, filtered and sorted, and the page of one picture."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

from django.core.paginator import Paginator
from django.db.models import F, OrderBy, Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from products.accounts.authentication import UserRequest
from products.models import Image, ImageStatus, Request
from products.models.image import ImageQuerySet
from products.pages.forms import PictureSearchForm, UrlForm
from products.pages.polling import has_seen, mark_of, polled
from products.pages.tabs import tab_context, visible
from products.results.failures import explain

PICTURES_PER_PAGE = 60
#: Images that one page filters and sorts, a range of their numbers. No index fits every filter, so this
#: bounds what a search reads.
MAX_SEARCHED = 50_000
#: Rows that show a picture, on its page.
MAX_ROWS = 20

ORDERS: dict[str, OrderBy] = {
    "": F("number").asc(),
    "saved": (F("source_bytes") - F("output_bytes")).desc(nulls_last=True),
    "largest": F("source_bytes").desc(nulls_last=True),
    "smallest": (F("source_width") * F("source_height")).asc(nulls_last=True),
}


@dataclass(frozen=True, slots=True)
class Tile:
    """An Image as a tile shows it."""

    image: Image
    name: str  # of its file

    @classmethod
    def of(cls, image: Image) -> "Tile":
        return cls(image, file_name(image.source_url))

    @property
    def saved_percent(self) -> int | None:
        """Share of its bytes that the picture lost; None if that is not known."""
        image = self.image
        if not image.source_bytes or image.output_bytes is None:
            return None
        return round(100 * (image.source_bytes - image.output_bytes) / image.source_bytes)

    @property
    def problem(self) -> str:
        """Title of the error with which the picture failed, or an empty string."""
        return explain(self.image.error_code, self.image.host).title if self.image.is_failed else ""


def file_name(url: str) -> str:
    """Return the last part of a URL's path, or its host if it has none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return unquote(parts.path.rstrip("/").rpartition("/")[2]) or parts.netloc or url


@require_safe
@polled("Request")
def pictures(request: UserRequest, pk: UUID) -> HttpResponse:
    """The pictures of a Request that match the query string."""
    batch = visible(request, pk)
    if has_seen(request, mark_of(batch)):
        return HttpResponse(status=204)
    form = PictureSearchForm(request.GET)
    query = form.cleaned_data if form.is_valid() else {}
    start = query.get("start") or 1
    images = _search(batch, query).filter(number__range=(start, start + MAX_SEARCHED - 1))
    images = images.order_by(ORDERS[query.get("sort", "")], "number")
    page = Paginator(images, PICTURES_PER_PAGE).get_page(request.GET.get("page"))
    context = {
        **tab_context(request, batch, "pictures"),
        "form": form,
        "page": page,
        "tiles": [Tile.of(image) for image in page],
        "is_search": any(query.get(name) for name in ("q", "status", "format", "host", "smaller")),
        "start": start,
        "end": min(start + MAX_SEARCHED - 1, batch.images_total),
        "next_start": start + MAX_SEARCHED if start + MAX_SEARCHED <= batch.images_total else None,
    }
    return render(request, "pages/pictures.html", context)


@require_safe
@polled("Request")
def picture(request: UserRequest, pk: UUID, image: UUID) -> HttpResponse:
    """One picture: both versions, its facts, the rows that show it, its renditions, and repairs."""
    batch = visible(request, pk)
    if has_seen(request, mark_of(batch)):
        return HttpResponse(status=204)
    found = get_object_or_404(batch.images.prefetch_related("renditions"), pk=image)
    places = found.places.select_related("product").defer("product__cells").order_by("pk")
    beside = {one.number: one for one in batch.images.filter(number__in=[found.number - 1, found.number + 1])}
    context: dict[str, Any] = {
        **tab_context(request, batch, "pictures"),
        "image": found,
        "tile": Tile.of(found),
        "explanation": explain(found.error_code, found.host) if found.is_failed else None,
        "places": places[:MAX_ROWS],
        "has_more_rows": len(places[MAX_ROWS : MAX_ROWS + 1]) > 0,
        "previous": beside.get(found.number - 1),
        "next": beside.get(found.number + 1),
        "before_url": reverse("source-picture", args=[found.pk]),
        "after_url": reverse("output", args=[found.pk]),
        "url_form": UrlForm(initial={"url": found.source_url}),
    }
    return render(request, "pages/picture.html", context)


def _search(batch: Request, query: dict[str, Any]) -> ImageQuerySet:
    """Return the Images of a Request that match every filter of the query."""
    images = batch.images.all()
    if words := query.get("q"):
        images = images.filter(url__icontains=words)
    if (status := query.get("status")) == "unchanged":
        images = images.filter(status=ImageStatus.COMPLETED, unchanged=True)
    elif status:
        images = images.filter(status=status)
    if source_format := query.get("format"):
        images = images.filter(source_format=source_format)
    if host := query.get("host"):
        images = images.filter(host=host.lower())
    if side := query.get("smaller"):
        images = images.filter(Q(source_width__lt=side) | Q(source_height__lt=side))
    return images
