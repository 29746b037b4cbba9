"""Admin of Products and Images, of which there may be millions."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet, prefetch_related_objects
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from products.admin.base import EMPTY_VALUE, ReadOnlyAdmin, link, link_to
from products.catalogue import url_problem
from products.models import Image, Product, Request
from products.models.ids import parse_uuid

#: Products that the page of an Image lists.
NAMED_PRODUCTS = 50


class RowAdmin(ReadOnlyAdmin):
    """Lists in the order of an index, and searches by indexed values only."""

    search_fields = ["id"]
    sortable_by = ()
    show_facets = admin.ShowFacets.NEVER

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # Not select_related(): with the join, PostgreSQL would not choose the index that a search needs.
        return super().get_queryset(request).prefetch_related("request")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search by equality. Django's own search would compare the text of every row."""
        text = search_term.strip()
        if not text:
            return queryset, False
        pk = parse_uuid(text)
        if pk and Request.objects.filter(pk=pk).exists():
            # Alone: combined with other conditions by OR, the index would not be used.
            return queryset.filter(request=pk), False
        found = self.matches_text(text)
        if pk:
            found |= Q(pk=pk)
        return queryset.filter(found), False

    def matches_text(self, text: str) -> Q:
        """Return the condition that the serial number or URL of a row equals `text`."""
        raise NotImplementedError

    @admin.display(description="request")
    def of_request(self, row: Any) -> SafeString:
        return link_to(row.request, row.request.filename)


@admin.register(Product)
class ProductAdmin(RowAdmin):
    list_display = ["row_number", "serial_number", "product_name", "of_request"]
    list_display_links = ["row_number", "serial_number"]
    search_help_text = (
        "The whole serial number, product id or request id. Only the first 10,000 matches are counted."
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

    def matches_text(self, text: str) -> Q:
        return Product.has_serial(text)

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Product | None:
        """Return a product with its images, which only its page shows."""
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

    @admin.display(description="original cells")
    def cells_in_order(self, product: Product) -> SafeString:
        cells = ([cell] for cell in product.cells)
        return format_html('<ol class="cells">{}</ol>', format_html_join("", "<li>{}</li>", cells))


class CauseFilter(admin.SimpleListFilter):
    """Failed Images with one error code. Offers the codes of the Request that the list is filtered by."""

    title = "cause"
    parameter_name = "error_code"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        codes = [self.value() or ""]
        if pk := parse_uuid(request.GET.get("request__id__exact", "")):
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
    search_help_text = "The whole URL, image id or request id. Only the first 10,000 matches are counted."
    ordering = ["request_id", "number"]
    fieldsets = [
        (None, {"fields": ["of_request", "number", "address", "status", "error_code", "error_detail"]}),
        (
            "Picture",
            {
                "fields": [
                    *("picture", "output_address", "source", "output", "renditions"),
                    *("unchanged", "animated"),
                ]
            },
        ),
        ("Work", {"fields": ["host", "attempts", "crashes", "due_at", "claimed_by", "settled_at"]}),
        ("Products with this image", {"fields": ["shown_by"]}),
    ]
    readonly_fields = [
        *("of_request", "address", "picture", "output_address", "source", "output", "renditions"),
        "shown_by",
    ]

    def matches_text(self, text: str) -> Q:
        return Image.has_url(text)

    @admin.display
    def picture(self, image: Image) -> SafeString | str:
        return thumbnail(image)

    @admin.display(description="URL")
    def address(self, image: Image) -> SafeString | str:
        """Return the URL, as a link if it is an http or https URL."""
        return image.url if url_problem(image.url) else link(image.url, image.url)

    @admin.display(description="output URL")
    def output_address(self, image: Image) -> SafeString | str:
        return link(image.output_url, image.output_url) if image.output_path else EMPTY_VALUE

    @admin.display
    def source(self, image: Image) -> str:
        return picture_facts(image.source_format, image.source_width, image.source_height, image.source_bytes)

    @admin.display
    def output(self, image: Image) -> str:
        return picture_facts(image.output_format, image.output_width, image.output_height, image.output_bytes)

    @admin.display
    def renditions(self, image: Image) -> SafeString | str:
        shown = [
            (one.name, link(one.path, picture_facts(one.format, one.width, one.height, one.bytes)))
            for one in image.renditions.all()
        ]
        return format_html_join("", "<div>{}: {}</div>", shown) or EMPTY_VALUE

    @admin.display(description="products")
    def shown_by(self, image: Image) -> SafeString:
        # Unordered: sorting would take seconds for a placeholder image that every product shows.
        places = image.places.select_related("product").order_by()[: NAMED_PRODUCTS + 1]
        products = list(dict.fromkeys(place.product for place in places))
        shown: list[object] = [link_to(product) for product in products[:NAMED_PRODUCTS]]
        if len(products) > NAMED_PRODUCTS:
            shown.append("and others")
        return format_html_join("", "<div>{}</div>", ([one] for one in shown))


def outcome(image: Image) -> str:
    """Return the status of an Image with its error, if any."""
    return ". ".join(filter(None, [image.get_status_display(), image.error_detail]))


def thumbnail(image: Image) -> SafeString | str:
    """Return a thumbnail of the stored output. An output on another server is not loaded."""
    if not image.output_key:
        return EMPTY_VALUE
    html = '<a href="{}"><img class="thumbnail" src="{}" alt="Output of image {}" loading="lazy"></a>'
    return format_html(html, image.output_path, reverse("thumbnail", args=[image.pk]), image.number)


def picture_facts(kind: str, width: int | None, height: int | None, size: int | None) -> str:
    """Return format, size in pixels and size in bytes of a picture, if they are known."""
    return f"{kind}, {width} × {height}, {filesizeformat(size)}" if size else EMPTY_VALUE
