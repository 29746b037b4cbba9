"""The API of requests: upload, progress, products, images and downloads."""

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError as InvalidValue
from django.db.models import Model, QuerySet
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound, PermissionDenied, ValidationError
from rest_framework.generics import get_object_or_404
from rest_framework.pagination import CursorPagination
from rest_framework.parsers import FormParser, MultiPartParser
from rest_framework.permissions import SAFE_METHODS
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request as ApiRequest
from rest_framework.response import Response
from rest_framework.views import APIView

from products import lifecycle
from products.api.downloads import ResultQuerySerializer, WorkbookResultQuerySerializer
from products.api.filters import FilterBackend, ImageFilters, ProductFilters, RequestFilters
from products.api.options import OptionsSerializer, SubmissionSerializer
from products.api.parsers import JSONParser
from products.api.repair import DetailsSerializer, RepairMixin
from products.api.schema import ErrorsSerializer
from products.api.serializers import ImageSerializer, PreviewSerializer, ProductSerializer, RequestSerializer
from products.api.sharing import ShareMixin
from products.catalogue import Problem, Reading
from products.lifecycle import preview_catalogue
from products.lifecycle.quotas import check_open_work, count_upload
from products.models import Product, Request
from products.models.owned import OwnedQuerySet
from products.models.product import leading_rows, load_images
from products.results import download, download_name
from products.results.changes import State, changes_csv
from products.results.result_csv import result_csv
from products.results.result_xlsx import result_xlsx
from products.results.zip_archive import images_zip

MAX_IDEMPOTENCY_KEY = 255
FILE_ACTIONS = ("results_csv", "results_xlsx", "images_zip")
XLSX_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
UPLOAD_ERRORS = dict.fromkeys((409, 429, 503, 507), ErrorsSerializer)

Row = TypeVar("Row", bound=Model)


class Pagination(CursorPagination):
    """Pages that start after a key, so that the last page of a long list is as fast as the first."""

    page_size = 100
    max_page_size = 1000
    page_size_query_param = "page_size"

    def paginate_queryset(
        self, queryset: Any, request: ApiRequest, view: APIView | None = None
    ) -> list[Any] | None:
        """Return the page that the parameter `cursor` names. Raises NotFound for an invalid cursor."""
        try:
            return super().paginate_queryset(queryset, request, view)
        except (ValueError, InvalidValue) as error:
            raise NotFound(self.invalid_cursor_message) from error


class RequestPagination(Pagination):
    ordering = ("-created_at", "-id")


class RowPagination(Pagination):
    """Pages of rows, which end early where their images would be too many."""

    ordering = "row_number"

    def paginate_queryset(
        self, queryset: Any, request: ApiRequest, view: APIView | None = None
    ) -> list[Any] | None:
        """Return the page that the parameter `cursor` names, with its images."""
        page: list[Product] = super().paginate_queryset(queryset, request, view) or []
        # The rows next to the cursor stay: the first ones, or the last ones on the way back.
        is_reverse = bool(self.cursor and self.cursor.reverse)
        kept = leading_rows(page[::-1] if is_reverse else page)
        if kept < len(page) and is_reverse:
            self.has_previous, self.previous_position = True, str(page[-kept - 1].row_number)
            page = page[-kept:]
        elif kept < len(page):
            self.has_next, self.next_position = True, str(page[kept].row_number)
            page = page[:kept]
        self.page = page
        load_images(page)
        return page


class ImagePagination(Pagination):
    ordering = "number"


class FilteredViewSet(viewsets.GenericViewSet[Row]):
    """Lists with the filters of `filterset_class`; single objects without."""

    filter_backends = [FilterBackend]

    def get_object(self) -> Row:
        """Return the object that the URL names. DRF's own method would apply the list's filters to it.

        Raises Http404 if the user may not see it, PermissionDenied if the user may see it but not change it.
        """
        found = get_object_or_404(self.get_queryset(), pk=self.kwargs["pk"])
        if self.request.method not in SAFE_METHODS and not self.permitted_rows().contains(found):
            raise PermissionDenied
        return found

    def permitted_rows(self) -> QuerySet[Row]:
        """Return the rows on which the user may call this action, which is not one that only shows them."""
        rows = cast(OwnedQuerySet[Row], self.get_queryset())
        user = self.request.user
        return rows.deletable_by(user) if self.action == "destroy" else rows.changeable_by(user)

    def list_response(self, rows: QuerySet[Any]) -> Response:
        """Return a page of `rows`, filtered and paginated as the action says."""
        page = self.paginate_queryset(self.filter_queryset(rows))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)


def submit(
    request: ApiRequest,
    serializer: type[SubmissionSerializer] = SubmissionSerializer,
    *,
    file_only: bool = False,
) -> tuple[Request, bool]:
    """Submit an upload, checked by `serializer`; with `file_only`, without any options.

    Return the Request and whether it is new: an upload that repeats an `Idempotency-Key` returns the first
    Request. Raises ValidationError, LimitReached, CatalogueError and IdempotencyConflict.
    """
    count_upload(request.user)
    check_open_work(request.user)
    upload = serializer(data=request.FILES if file_only else request.data)
    upload.is_valid(raise_exception=True)
    given = dict(upload.validated_data)
    file, wanted = given.pop("file"), given.pop("profile", "" if file_only else None)
    key = request.headers.get("Idempotency-Key") or None
    if key and len(key) > MAX_IDEMPOTENCY_KEY:
        detail = f"The key is longer than {MAX_IDEMPOTENCY_KEY} characters."
        raise ValidationError({"Idempotency-Key": detail}, "max_length")
    owner = cast(User, request.user)
    profile, options = lifecycle.choose_options(owner, file, given, wanted)
    said = {**given, "profile": wanted}
    return lifecycle.submit(owner, file, idempotency_key=key, profile=profile, said=said, **options)


class RequestViewSet(
    RepairMixin,
    ShareMixin,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.DestroyModelMixin,
    FilteredViewSet[Request],
):
    """Uploaded catalogues, their progress and results."""

    queryset = Request.objects.all()
    serializer_class = RequestSerializer
    submission_serializer_class = SubmissionSerializer
    options_serializer_class = OptionsSerializer
    filterset_class = RequestFilters
    pagination_class = RequestPagination
    parser_classes = [MultiPartParser, FormParser, JSONParser]

    def get_queryset(self) -> QuerySet[Request]:
        requests = Request.objects.visible_to(self.request.user).select_related("profile")
        return requests.prefetch_related("runs") if self.action == "list" else requests

    def perform_content_negotiation(
        self, request: ApiRequest, force: bool = False
    ) -> tuple[BaseRenderer, str]:
        """Ignore `Accept` for downloads: the file has one type, and its errors are JSON."""
        return super().perform_content_negotiation(request, force or self.action in FILE_ACTIONS)

    @extend_schema(
        request={"multipart/form-data": SubmissionSerializer},
        responses={201: RequestSerializer, 200: RequestSerializer, **UPLOAD_ERRORS},
        parameters=[
            OpenApiParameter(
                "Idempotency-Key",
                str,
                OpenApiParameter.HEADER,
                description="Any text that identifies this upload. Sending the same upload with the same key "
                "again returns the first request with status 200.",
            )
        ],
    )
    def create(self, request: ApiRequest) -> Response:
        """Upload a catalogue. Returns as soon as the file is checked; pictures are processed afterwards."""
        batch, is_new = submit(request, self.submission_serializer_class)
        code = status.HTTP_201_CREATED if is_new else status.HTTP_200_OK
        return Response(self.get_serializer(batch).data, code)

    @extend_schema(
        request={"multipart/form-data": SubmissionSerializer},
        responses={200: PreviewSerializer, 429: ErrorsSerializer},
    )
    @action(detail=False, methods=["post"])
    def preview(self, request: ApiRequest) -> Response:
        """Show how an upload would be read. Nothing is stored or fetched."""
        count_upload(request.user)  # a preview reads as much as an upload
        upload = self.submission_serializer_class(data=request.data)
        upload.is_valid(raise_exception=True)
        given = dict(upload.validated_data)
        file, wanted = given.pop("file"), given.pop("profile", None)
        profile, options = lifecycle.choose_options(request.user, file, given, wanted)
        reading = {name: options[name] for name in Reading.__annotations__ if name in options}
        preview = preview_catalogue(file, **reading)
        preview.warnings.extend(self.host_warnings(preview.fetched_hosts))
        return Response(PreviewSerializer(preview, context={"profile": profile}).data)

    def host_warnings(self, hosts: Mapping[str, int]) -> list[Problem]:
        """Return warnings about the hosts of a preview, given with the number of their pictures."""
        return []

    def perform_destroy(self, instance: Request) -> None:
        lifecycle.delete(instance)

    @extend_schema(request=DetailsSerializer, responses=RequestSerializer)
    def partial_update(self, request: ApiRequest, pk: str) -> Response:
        """Change the name or the note that pages show."""
        batch = self.get_object()
        details = DetailsSerializer(batch, data=request.data, partial=True)
        details.is_valid(raise_exception=True)
        changed = details.validated_data
        if changed:
            Request.objects.filter(pk=batch.pk).update(**changed)
        return self.current(batch)

    @extend_schema(request=None, responses=RequestSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: ApiRequest, pk: str) -> Response:
        """Cancel pending images and keep finished ones."""
        batch = self.get_object()
        lifecycle.cancel(batch)
        return self.current(batch)

    def current(self, batch: Request) -> Response:
        """Return the Request as it is now."""
        batch.refresh_from_db()
        return Response(self.get_serializer(batch).data)

    @extend_schema(responses=ProductSerializer(many=True))
    @action(
        detail=True,
        filterset_class=ProductFilters,
        pagination_class=RowPagination,
        serializer_class=ProductSerializer,
    )
    def products(self, request: ApiRequest, pk: str) -> Response:
        """List the rows of the catalogue in order, each with its images."""
        return self.list_response(self.get_object().products.with_last_positions())

    @extend_schema(responses=ImageSerializer(many=True))
    @action(
        detail=True,
        filterset_class=ImageFilters,
        pagination_class=ImagePagination,
        serializer_class=ImageSerializer,
    )
    def images(self, request: ApiRequest, pk: str) -> Response:
        """List the distinct images in order of first appearance."""
        return self.list_response(self.get_object().images.prefetch_related("renditions"))

    @extend_schema(responses={(200, "text/csv"): OpenApiTypes.BINARY}, parameters=[ResultQuerySerializer])
    def results_csv(self, request: ApiRequest, pk: str) -> StreamingHttpResponse:
        """Download the catalogue with the output URLs."""
        batch = self.get_object()
        query = ResultQuerySerializer(data=request.query_params, context={"batch": batch})
        query.is_valid(raise_exception=True)
        form = query.validated_data
        style, only, for_excel = form.get("style"), form.get("only"), form.get("excel", False)
        if style == "changes":
            rows = changes_csv(*self._compared(batch, form), for_excel=for_excel)
        else:
            rows = result_csv(
                batch, replace=style == "replace", only_failed=only == "failed", for_excel=for_excel
            )
        named = {"replaced": style == "replace", "changes": style == "changes"}
        named |= {"failed": only == "failed", "excel": for_excel}
        kinds = [kind for kind, is_so in named.items() if is_so] or ["result"]
        return download(rows, download_name(batch, *kinds), "text/csv")

    def _compared(self, batch: Request, form: dict[str, Any]) -> tuple[State, State | None]:
        """Return the states that a validated ResultQuerySerializer compares. Raises Http404."""
        now = State.after_run(batch, form.get("run", batch.run))
        if against_run := form.get("against_run"):
            return now, State.after_run(batch, against_run)
        against = form.get("against")
        earlier = get_object_or_404(self.get_queryset(), pk=against) if against else batch.earlier
        return now, State(earlier) if earlier else None

    @extend_schema(
        responses={(200, XLSX_TYPE): OpenApiTypes.BINARY}, parameters=[WorkbookResultQuerySerializer]
    )
    def results_xlsx(self, request: ApiRequest, pk: str) -> StreamingHttpResponse:
        """Download an XLSX workbook again with the output URLs, its cells and styles as they were."""
        batch = self.get_object()
        query = WorkbookResultQuerySerializer(data=request.query_params)
        query.is_valid(raise_exception=True)
        replace = query.validated_data.get("style") == "replace"
        workbook = result_xlsx(batch, replace=replace)
        if workbook is None:
            raise NotFound("The catalogue is not an XLSX workbook. Download its results as CSV.")
        # Excel opens a workbook with macros under no other name.
        suffix = ".xlsm" if batch.filename.lower().endswith(".xlsm") else ".xlsx"
        name = download_name(batch, "replaced" if replace else "result", suffix=suffix)
        return download(workbook, name, XLSX_TYPE)

    @extend_schema(responses={(200, "application/zip"): OpenApiTypes.BINARY})
    def images_zip(self, request: ApiRequest, pk: str) -> StreamingHttpResponse:
        """Download all output pictures as a ZIP."""
        batch = self.get_object()
        if not batch.images_completed:
            raise NotFound("No picture has been completed yet.")
        return download(images_zip(batch), download_name(batch, "pictures", suffix=".zip"), "application/zip")
