"""What staff see: everything, read-only. Requests can be canceled and retried, tokens issued and revoked."""

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from products.models import ApiToken, Image, Product, Request

COUNTED_ROWS = 10_000


class CappedPaginator(Paginator):  # type: ignore[type-arg]  # generic in the stubs only
    """Counts no further than 10,000 rows: to count millions takes a database seconds, for every page."""

    object_list: QuerySet[Any]

    @cached_property
    def count(self) -> int:
        return self.object_list[:COUNTED_ROWS].count()


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic in the stubs only
    """Shows rows and changes none."""

    show_full_result_count = False
    paginator = CappedPaginator

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Request)
class RequestAdmin(ReadOnlyAdmin):
    list_display = ["filename", "owner", "status", "done", "images_failed", "saved", "created_at"]
    list_filter = ["status", "format", "created_at"]
    list_select_related = ["owner"]
    search_fields = ["filename", "owner__username"]
    actions = ["retry", "cancel"]
    # Without the fields of the machinery, and without `source`, which only the result's addresses hand out.
    fields = [
        *(
            "filename",
            "owner",
            "status",
            "error",
            "run",
            "rows",
            "quality",
            "format",
            "max_width",
            "max_height",
        ),
        *("encoding", "columns", "base_url"),
        *("products_total", "ingested_rows", "images_total", "images_completed", "images_failed"),
        *("images_canceled", "images_unchanged", "before", "after", "saved"),
        *("created_at", "started_at", "finished_at", "last_progress_at"),
    ]
    readonly_fields = ["rows", "before", "after", "saved"]

    def has_control_permission(self, request: HttpRequest) -> bool:
        """May the user retry and cancel? Django's own right to change a Request says so."""
        return request.user.has_perm("products.change_request")

    @admin.display(description="images done")
    def done(self, batch: Request) -> str:
        return f"{batch.images_completed} / {batch.images_total}"

    @admin.display(description="bytes before")
    def before(self, batch: Request) -> str:
        return filesizeformat(batch.bytes_source)

    @admin.display(description="bytes after")
    def after(self, batch: Request) -> str:
        return filesizeformat(batch.bytes_output)

    @admin.display(description="bytes saved")
    def saved(self, batch: Request) -> str:
        return filesizeformat(batch.bytes_saved)

    @admin.display(description="contents")
    def rows(self, batch: Request) -> SafeString:
        """Links to the lists of the Request's Images and Products."""
        of_request = f"?request__id__exact={batch.pk}"
        images, products = _list_url(Image), _list_url(Product)
        return format_html(
            '<a href="{}">Images</a> · <a href="{}">Failed images</a> · <a href="{}">Products</a>',
            images + of_request,
            f"{images}{of_request}&status__exact={Image.Status.FAILED}",
            products + of_request,
        )

    @admin.action(description="Retry what failed", permissions=["control"])
    def retry(self, request: HttpRequest, queryset: QuerySet[Request]) -> None:
        count = sum(batch.retry() for batch in queryset)
        self.message_user(request, f"Images that are tried again: {count}.", messages.SUCCESS)

    @admin.action(description="Cancel", permissions=["control"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Request]) -> None:
        count = sum(batch.cancel() for batch in queryset)
        self.message_user(request, f"Requests that were canceled: {count}.", messages.SUCCESS)


class RowAdmin(ReadOnlyAdmin):
    """Rows of which there are millions: found by ids, in the order of an index, never sorted otherwise."""

    list_select_related = ["request"]
    search_fields = ["id"]
    search_help_text = "The id of a request, or of the row itself."
    sortable_by = ()
    show_facets = admin.ShowFacets.NEVER

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By id: Django's own search would compare every row's as a text."""
        if not search_term:
            return queryset, False
        try:
            wanted = UUID(search_term.strip())
        except ValueError:
            return queryset.none(), False
        return queryset.filter(Q(pk=wanted) | Q(request_id=wanted)), False


@admin.register(Product)
class ProductAdmin(RowAdmin):
    list_display = ["row_number", "serial_number", "product_name", "request"]
    list_display_links = ["row_number", "serial_number"]
    ordering = ["request_id", "row_number"]
    fields = ["request", "row_number", "serial_number", "product_name", "status", "pictures", "cells"]
    readonly_fields = ["status", "pictures"]

    @admin.display
    def status(self, product: Product) -> str:
        return Request.Status(product.status).label

    @admin.display
    def pictures(self, product: Product) -> SafeString:
        images = (
            (_change_url(image), image.url, image.get_status_display()) for image in product.images_in_order
        )
        return format_html_join("", '<div><a href="{}">{}</a>: {}</div>', images)


@admin.register(Image)
class ImageAdmin(RowAdmin):
    list_display = ["number", "url", "status", "error_code", "attempts", "request"]
    list_display_links = ["number", "url"]
    list_filter = ["status"]
    ordering = ["request_id", "number"]
    exclude = ["output_key", "external_url"]
    readonly_fields = ["output"]

    @admin.display
    def output(self, image: Image) -> SafeString | str:
        """The address that it is handed out under."""
        return format_html('<a href="{0}">{0}</a>', image.output_url) if image.output_path else "-"


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    """Deleting a token revokes it. The page after adding one shows its key, and nothing shows it again."""

    list_display = ["hint", "user", "name", "created_at", "last_used_at"]
    list_select_related = ["user"]
    search_fields = ["user__username", "name", "hint"]
    exclude = ["digest", "hint", "created_at", "last_used_at"]
    readonly_fields = ["hint", "created_at", "last_used_at"]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        return self.readonly_fields if obj else []

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("products.add_apitoken")

    def save_model(
        self, request: HttpRequest, obj: ApiToken, form: "ModelForm[ApiToken]", change: bool
    ) -> None:
        obj.set_key()
        super().save_model(request, obj, form, change)

    def response_add(
        self, request: HttpRequest, obj: ApiToken, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the key in this answer: a message would keep it in a cookie or the session."""
        context = {**self.admin_site.each_context(request), "title": "The new token", "token": obj}
        return TemplateResponse(request, "admin/token_issued.html", context)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("products.delete_apitoken")


def _list_url(model: type[Model]) -> str:
    return reverse(f"admin:products_{model._meta.model_name}_changelist")


def _change_url(row: Model) -> str:
    return reverse(f"admin:products_{row._meta.model_name}_change", args=[row.pk])
