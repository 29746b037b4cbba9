"""Products and Images: rows of which there are millions."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet, prefetch_related_objects
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from products.admin.base import NOTHING, ReadOnlyAdmin, link, link_to
from products.admin.requests import as_uuid
from products.catalogue import url_problem
from products.models import Image, Product, Request

#: Of the Products that show one Image, those that its page names.
NAMED_PRODUCTS = 50


class RowAdmin(ReadOnlyAdmin):
    """Found by what has an index, in the order of an index, never sorted otherwise."""

    search_fields = ["id"]
    sortable_by = ()
    show_facets = admin.ShowFacets.NEVER

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # By a query of their own: in a join they mislead PostgreSQL about what is found by an index.
        return super().get_queryset(request).prefetch_related("request")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By what is equal: Django's own search would compare every row's as a text."""
        text = search_term.strip()
        if not text:
            return queryset, False
        pk = as_uuid(text)
        if pk and Request.objects.filter(pk=pk).exists():
            # By itself: beside other conditions its index would not be taken.
            return queryset.filter(request=pk), False
        found = self.has_name(text)
        if pk:
            found |= Q(pk=pk)
        return queryset.filter(found), False

    def has_name(self, text: str) -> Q:
        """The condition that a row is called so."""
        raise NotImplementedError

    @admin.display(description="request")
    def of_request(self, row: Any) -> SafeString:
        return link_to(row.request, row.request.filename)


@admin.register(Product)
class ProductAdmin(RowAdmin):
    list_display = ["row_number", "serial_number", "product_name", "of_request"]
    list_display_links = ["row_number", "serial_number"]
    search_help_text = (
        "As a whole: a serial number, or the id of a product or a request. At most 10,000 are counted."
    )
    ordering = ["request_id", "row_number"]
    fields = [
        "of_request",
        "row_number",
        "serial_number",
        "product_name",
        "status",
        "pictures",
        "cells_in_order",
    ]
    readonly_fields = ["of_request", "status", "pictures", "cells_in_order"]

    def has_name(self, text: str) -> Q:
        return Product.has_serial(text)

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Product | None:
        """With its images, which the list does without."""
        product = super().get_object(request, object_id, from_field)
        if product:
            prefetch_related_objects([product], "places__image")
        return product

    @admin.display
    def status(self, product: Product) -> str:
        return Request.Status(product.status).label

    @admin.display
    def pictures(self, product: Product) -> SafeString:
        images = ((thumbnail(image), link_to(image), outcome(image)) for image in product.images_in_order)
        return format_html_join("", '<div class="picture">{} <span>{}: {}</span></div>', images)

    @admin.display(description="cells as they were")
    def cells_in_order(self, product: Product) -> SafeString:
        cells = ([cell] for cell in product.cells)
        return format_html('<ol class="cells">{}</ol>', format_html_join("", "<li>{}</li>", cells))


class CauseFilter(admin.SimpleListFilter):
    """The causes in the one Request that is listed. Over all Requests, those of which some link here."""

    title = "cause"
    parameter_name = "error_code"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        codes = [self.value() or ""]
        if pk := as_uuid(request.GET.get("request__id__exact", "")):
            codes += [code for code, _count in Image.objects.filter(request=pk).causes()]
        return [(code, code) for code in dict.fromkeys(codes) if code]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Image]) -> QuerySet[Image]:
        code = self.value()
        return queryset.filter(status=Image.Status.FAILED, error_code=code) if code else queryset


@admin.register(Image)
class ImageAdmin(RowAdmin):
    list_display = [
        "picture",
        "number",
        "url",
        "status",
        "error_code",
        "attempts",
        "source",
        "output",
        "of_request",
    ]
    list_display_links = ["number", "url"]
    list_filter = ["status", CauseFilter]
    search_help_text = "As a whole: a URL, or the id of an image or a request. At most 10,000 are counted."
    ordering = ["request_id", "number"]
    fieldsets = [
        (None, {"fields": ["of_request", "number", "address", "status", "error_code", "error_detail"]}),
        ("Picture", {"fields": ["picture", "output_address", "source", "output", "unchanged"]}),
        ("Work", {"fields": ["host", "attempts", "crashes", "due_at", "claimed_by", "settled_at"]}),
        ("Products that show it", {"fields": ["shown_by"]}),
    ]
    readonly_fields = ["of_request", "address", "picture", "output_address", "source", "output", "shown_by"]

    def has_name(self, text: str) -> Q:
        return Image.has_url(text)

    @admin.display
    def picture(self, image: Image) -> SafeString | str:
        return thumbnail(image)

    @admin.display(description="URL")
    def address(self, image: Image) -> SafeString | str:
        """As a link only where it is an address of the web."""
        return image.url if url_problem(image.url) else link(image.url, image.url)

    @admin.display(description="output URL")
    def output_address(self, image: Image) -> SafeString | str:
        """The address that it is handed out under."""
        return link(image.output_url, image.output_url) if image.output_path else NOTHING

    @admin.display
    def source(self, image: Image) -> str:
        return facts(image.source_format, image.source_width, image.source_height, image.source_bytes)

    @admin.display
    def output(self, image: Image) -> str:
        return facts(image.output_format, image.output_width, image.output_height, image.output_bytes)

    @admin.display(description="products")
    def shown_by(self, image: Image) -> SafeString:
        # In no order: to sort them all takes seconds for a placeholder that every product shows.
        places = image.places.select_related("product").order_by()[: NAMED_PRODUCTS + 1]
        products = list(dict.fromkeys(place.product for place in places))
        shown: list[object] = [link_to(product) for product in products[:NAMED_PRODUCTS]]
        if len(products) > NAMED_PRODUCTS:
            shown.append("and others")
        return format_html_join("", "<div>{}</div>", ([one] for one in shown))


def outcome(image: Image) -> str:
    """An Image's status, and why it failed if it did."""
    return ". ".join(filter(None, [image.get_status_display(), image.error_detail]))


def thumbnail(image: Image) -> SafeString | str:
    """The stored output, small, if there is one. Of what is stored elsewhere nothing is loaded."""
    if not image.output_key:
        return NOTHING
    html = '<a href="{}"><img class="thumbnail" src="{}" alt="Output of image {}" loading="lazy"></a>'
    return format_html(html, image.output_path, reverse("thumbnail", args=[image.pk]), image.number)


def facts(kind: str, width: int | None, height: int | None, size: int | None) -> str:
    """A picture's facts in one line, if they are known."""
    return f"{kind}, {width} × {height}, {filesizeformat(size)}" if size else NOTHING
