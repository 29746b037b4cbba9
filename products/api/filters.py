"""The filters of lists: query parameters that narrow what a list shows."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError as InvalidValue
from django.db.models import Exists, OuterRef, Q, QuerySet, TextChoices
from django_filters.filters import CharFilter, ChoiceFilter, IsoDateTimeFilter, UUIDFilter
from django_filters.filterset import FilterSet
from django_filters.rest_framework.backends import DjangoFilterBackend
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request as ApiRequest

from products.models import Image, ImageStatus, ProductQuerySet, Request, RequestStatus
from products.models.ids import parse_uuid
from products.models.product import ProductImage


class FilterBackend(DjangoFilterBackend):
    """Apply a view's `filterset_class`. Raises ValidationError for a parameter that is no filter of it."""

    def filter_queryset(self, request: ApiRequest, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        paging = {view.paginator.cursor_query_param, view.paginator.page_size_query_param}
        filters = self.get_filterset_class(view).base_filters
        if unknown := request.query_params.keys() - filters.keys() - paging:
            detail = f"There is no such filter. Choose from {', '.join(sorted(filters)) or 'none'}."
            raise ValidationError(dict.fromkeys(sorted(unknown), detail), "unknown_option")
        filtered: QuerySet[Any] = super().filter_queryset(request, queryset, view)
        return filtered


def status_filter(statuses: type[TextChoices], **options: Any) -> ChoiceFilter:
    """Return a filter by the field `status`; any other value than one of `statuses` is `invalid_choice`."""
    return ChoiceFilter(
        choices=statuses.choices,
        help_text="Only those with this status.",
        error_messages={"invalid_choice": f"Choose one of {', '.join(statuses.values)}."},
        **options,
    )


def check_moment(moment: datetime) -> None:
    """Refuse a time that is outside the years 1 to 9999 in UTC, which no database holds."""
    try:
        moment.astimezone(UTC)
    except OverflowError as error:
        raise InvalidValue("Enter a valid date/time.", "invalid") from error


class MomentFilter(IsoDateTimeFilter):
    """A point in time, compared in UTC: PostgreSQL takes fewer offsets than ISO 8601 has."""

    def filter(self, qs: QuerySet[Any], value: datetime | None) -> QuerySet[Any]:
        filtered: QuerySet[Any] = super().filter(qs, value and value.astimezone(UTC))
        return filtered


class RequestFilters(FilterSet):
    """Filters of the list of Requests."""

    status = status_filter(RequestStatus)
    q = CharFilter("filename", "icontains", help_text="Part of the file name, in upper or lower case.")
    filename = CharFilter("filename", strip=False, help_text="The whole file name.")
    feed = UUIDFilter("feed_run__feed", help_text="Only those that came from the feed with this id.")
    created_after = MomentFilter(
        "created_at", "gte", validators=[check_moment], help_text="Uploaded at this time or later (ISO 8601)."
    )
    created_before = MomentFilter(
        "created_at", "lt", validators=[check_moment], help_text="Uploaded before this time (ISO 8601)."
    )

    profile = CharFilter(method="with_profile", help_text="Name or id of the profile.")

    def with_profile(self, requests: QuerySet[Request], _name: str, text: str) -> QuerySet[Request]:
        pk = parse_uuid(text)
        return requests.filter(Q(profile=pk) if pk else Q(profile__name=text))


class ProductFilters(FilterSet):
    """Filters of a Request's Products. `code` and `host` together apply to the same Image."""

    status = status_filter(RequestStatus, method="with_status")
    q = CharFilter(
        method="with_text",
        help_text="Part of the serial number or product name, in upper or lower case; or the whole URL of an "
        "image of the product.",
    )
    code = CharFilter(
        method="with_code", help_text="Only products with an image that failed with this error code."
    )
    host = CharFilter(
        method="with_host", help_text="Only products with an image at this host, as host or host:port."
    )

    def with_status(self, products: ProductQuerySet, _name: str, status: str) -> ProductQuerySet:
        return products.in_status(status)

    def with_text(self, products: ProductQuerySet, _name: str, text: str) -> ProductQuerySet:
        batch = Request(pk=UUID(self.request.parser_context["kwargs"]["pk"]))
        return products.found_by(batch, text)

    def with_code(self, products: ProductQuerySet, _name: str, code: str) -> ProductQuerySet:
        return products.with_failure(code, self.form.cleaned_data["host"].lower())

    def with_host(self, products: ProductQuerySet, _name: str, host: str) -> ProductQuerySet:
        if self.form.cleaned_data["code"]:
            return products  # with_code() has filtered by the host, too
        shown = ProductImage.objects.filter(product=OuterRef("pk"), image__request=OuterRef("request"))
        return products.filter(Exists(shown.filter(image__host=host.lower())))


class ImageFilters(FilterSet):
    """Filters of a Request's Images."""

    status = status_filter(ImageStatus)
    q = CharFilter("url", "icontains", help_text="Part of the URL, in upper or lower case.")
    code = CharFilter(method="with_code", help_text="Only images that failed with this error code.")
    host = CharFilter(method="with_host", help_text="Only images at this host, as host or host:port.")

    def with_code(self, images: QuerySet[Image], _name: str, code: str) -> QuerySet[Image]:
        # Pending images have the code of their latest attempt. The index has failed ones only.
        return images.filter(status=ImageStatus.FAILED, error_code=code)

    def with_host(self, images: QuerySet[Image], _name: str, host: str) -> QuerySet[Image]:
        return images.filter(host=host.lower())
