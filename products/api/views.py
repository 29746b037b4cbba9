"""The JSON API."""

from pathlib import Path
from typing import Any, cast
from uuid import UUID

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError as InvalidValue
from django.db.models import QuerySet, TextChoices
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import mixins, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.generics import get_object_or_404
from rest_framework.pagination import CursorPagination
from rest_framework.parsers import FormParser, JSONParser, MultiPartParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request as ApiRequest
from rest_framework.response import Response
from rest_framework.views import APIView

from products import lifecycle
from products.api.preview import PreviewSerializer
from products.api.schema import ErrorsSerializer
from products.api.serializers import (
    ImageSerializer,
    ProductSerializer,
    RequestSerializer,
    ResultQuerySerializer,
    RetrySerializer,
    SubmissionSerializer,
)
from products.catalogue import Reading
from products.lifecycle import preview_catalogue
from products.lifecycle.limits import check_open_work, count_upload
from products.models import ImageStatus, Request, RequestStatus
from products.results.archive import images_zip
from products.results.changes import changes_csv
from products.results.downloads import download
from products.results.table import result_csv, result_name

MAX_KEY = 255
FILES = ("results_csv", "images_zip")
REFUSED_UPLOAD = {409: ErrorsSerializer, 429: ErrorsSerializer}


def status_filter(statuses: type[TextChoices]) -> OpenApiParameter:
    """Names the query's `status` in the OpenAPI schema."""
    return OpenApiParameter("status", str, enum=statuses.values, description="Only those in this status.")


def wanted_status(request: ApiRequest, statuses: type[TextChoices]) -> str | None:
    """The query's `status`, None where it has none."""
    wanted = request.query_params.get("status")
    if wanted and wanted not in statuses.values:
        raise ValidationError({"status": f"One of {', '.join(statuses.values)}."}, "invalid_choice")
    return wanted or None


class Pagination(CursorPagination):
    """By key, not by offset: the last page costs as much as the first."""

    page_size = 100
    max_page_size = 1000
    page_size_query_param = "page_size"

    def paginate_queryset(
        self, queryset: Any, request: ApiRequest, view: APIView | None = None
    ) -> list[Any] | None:
        """The page that the query's `cursor` names; 404 for one that is made up."""
        try:
            return super().paginate_queryset(queryset, request, view)
        except (ValueError, InvalidValue) as error:
            raise NotFound(self.invalid_cursor_message) from error


class RequestPagination(Pagination):
    ordering = ("-created_at", "-id")


class RowPagination(Pagination):
    ordering = "row_number"


class ImagePagination(Pagination):
    ordering = "number"


def submit(request: ApiRequest, *, file_only: bool = False) -> tuple[Request, bool]:
    """Submit the upload in an API call: the Request, and whether it is new.

    Raises LimitReached, before the upload is read, and what `submit` raises.
    """
    count_upload(request.user)
    check_open_work(request.user)
    upload = SubmissionSerializer(data=request.FILES if file_only else request.data)
    upload.is_valid(raise_exception=True)
    key = _idempotency_key(request)
    return lifecycle.submit(cast(User, request.user), idempotency_key=key, **upload.validated_data)


def _idempotency_key(request: ApiRequest) -> str | None:
    """The header; None where it is missing or says nothing."""
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > MAX_KEY:
        raise ValidationError({"Idempotency-Key": f"At most {MAX_KEY} characters."}, "max_length")
    return key or None


@extend_schema_view(list=extend_schema(parameters=[status_filter(RequestStatus)]))
class RequestViewSet(
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.DestroyModelMixin,
    viewsets.GenericViewSet[Request],
):
    """Uploaded catalogues and what becomes of them."""

    queryset = Request.objects.all()
    serializer_class = RequestSerializer
    pagination_class = RequestPagination
    parser_classes = [MultiPartParser, FormParser, JSONParser]

    def get_queryset(self) -> QuerySet[Request]:
        visible = Request.objects.visible_to(self.request.user)
        wanted = wanted_status(self.request, RequestStatus) if self.action == "list" else None
        return visible.filter(status=wanted) if wanted else visible

    def perform_content_negotiation(
        self, request: ApiRequest, force: bool = False
    ) -> tuple[BaseRenderer, str]:
        """A file is what it is, whatever `Accept` asks for; its errors are JSON."""
        return super().perform_content_negotiation(request, force or self.action in FILES)

    @extend_schema(
        request={"multipart/form-data": SubmissionSerializer},
        responses={201: RequestSerializer, 200: RequestSerializer, **REFUSED_UPLOAD},
        parameters=[OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER)],
    )
    def create(self, request: ApiRequest) -> Response:
        """Upload a catalogue. The answer does not wait for the work."""
        batch, is_new = submit(request)
        code = status.HTTP_201_CREATED if is_new else status.HTTP_200_OK
        return Response(self.get_serializer(batch).data, code)

    @extend_schema(
        request={"multipart/form-data": SubmissionSerializer},
        responses={200: PreviewSerializer, 429: ErrorsSerializer},
    )
    @action(detail=False, methods=["post"])
    def preview(self, request: ApiRequest) -> Response:
        """What an upload would be read as. Nothing is stored or fetched."""
        count_upload(request.user)  # which costs as much reading
        upload = SubmissionSerializer(data=request.data)
        upload.is_valid(raise_exception=True)
        options = upload.validated_data
        reading = {name: options[name] for name in Reading.__annotations__ if name in options}
        return Response(PreviewSerializer(preview_catalogue(options["file"], **reading)).data)

    def perform_destroy(self, instance: Request) -> None:
        lifecycle.delete(instance)

    @extend_schema(request=RetrySerializer, responses={200: RequestSerializer, 429: ErrorsSerializer})
    @action(detail=True, methods=["post"])
    def retry(self, request: ApiRequest, pk: str) -> Response:
        """Try failed and canceled pictures again."""
        batch = self.get_object()
        wanted = RetrySerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        check_open_work(request.user)
        lifecycle.retry(batch, wanted.validated_data.get("code"))
        return self._answer(batch)

    @extend_schema(request=None, responses=RequestSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: ApiRequest, pk: str) -> Response:
        """Stop the work and keep what is done."""
        batch = self.get_object()
        lifecycle.cancel(batch)
        return self._answer(batch)

    def _answer(self, batch: Request) -> Response:
        batch.refresh_from_db()
        return Response(self.get_serializer(batch).data)

    @extend_schema(responses=ProductSerializer(many=True), parameters=[status_filter(RequestStatus)])
    @action(detail=True, pagination_class=RowPagination, serializer_class=ProductSerializer)
    def products(self, request: ApiRequest, pk: str) -> Response:
        """The rows of the catalogue, in order, each with its pictures."""
        products, wanted = self.get_object().products.with_images(), wanted_status(request, RequestStatus)
        return self._page(products.in_status(wanted) if wanted else products)

    @extend_schema(responses=ImageSerializer(many=True), parameters=[status_filter(ImageStatus)])
    @action(detail=True, pagination_class=ImagePagination, serializer_class=ImageSerializer)
    def images(self, request: ApiRequest, pk: str) -> Response:
        """The distinct pictures, in order of first appearance."""
        images, wanted = self.get_object().images.all(), wanted_status(request, ImageStatus)
        return self._page(images.filter(status=wanted) if wanted else images)

    def _page(self, rows: QuerySet[Any]) -> Response:
        return self.get_paginated_response(self.get_serializer(self.paginate_queryset(rows), many=True).data)

    @extend_schema(responses={(200, "text/csv"): OpenApiTypes.BINARY}, parameters=[ResultQuerySerializer])
    def results_csv(self, request: ApiRequest, pk: str) -> StreamingHttpResponse:
        """The catalogue with the new URLs."""
        batch = self.get_object()
        query = ResultQuerySerializer(data=request.query_params)
        query.is_valid(raise_exception=True)
        form = query.validated_data
        if form.get("style") == "changes":
            return self._changes(batch, form.get("against"), for_excel=form.get("excel", False))
        rows = result_csv(
            batch,
            replace=form.get("style") == "replace",
            only_failed=form.get("only") == "failed",
            for_excel=form.get("excel", False),
        )
        return download(rows, f"{form.get('only', 'result')}-{result_name(batch)}", "text/csv")

    def _changes(self, batch: Request, against: UUID | None, *, for_excel: bool) -> StreamingHttpResponse:
        earlier = get_object_or_404(self.get_queryset(), pk=against) if against else batch.earlier
        rows = changes_csv(batch, earlier, for_excel=for_excel)
        return download(rows, f"changes-{result_name(batch)}", "text/csv")

    @extend_schema(responses={(200, "application/zip"): OpenApiTypes.BINARY})
    def images_zip(self, request: ApiRequest, pk: str) -> StreamingHttpResponse:
        """All new pictures in one file."""
        batch = self.get_object()
        return download(images_zip(batch), f"{Path(batch.filename).stem}-images.zip", "application/zip")
