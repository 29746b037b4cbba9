"""The JSON API."""

from itertools import islice
from typing import Any, cast
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import FileResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import mixins, status, viewsets
from rest_framework.decorators import action, api_view, parser_classes
from rest_framework.pagination import CursorPagination
from rest_framework.parsers import FormParser, JSONParser, MultiPartParser
from rest_framework.request import Request as ApiRequest
from rest_framework.response import Response

from products.catalogue import Catalogue
from products.models import Image, Product, Request
from products.results import images_zip, result_csv
from products.serializers import (
    ImageSerializer,
    ProductSerializer,
    RequestSerializer,
    RetrySerializer,
    SubmissionSerializer,
)

LEGACY_PRODUCTS = 100
STATUS_FILTER = OpenApiParameter("status", str, description="Only those in this status.")


class Pagination(CursorPagination):
    """By key, not by offset: the last page costs as much as the first."""

    page_size = 100
    max_page_size = 1000
    page_size_query_param = "page_size"


class RequestPagination(Pagination):
    ordering = ("-created_at", "-id")


class RowPagination(Pagination):
    ordering = "row_number"


class ImagePagination(Pagination):
    ordering = "number"


def submit(request: ApiRequest, *, file_only: bool = False) -> tuple[Request, bool]:
    """Submit the upload in an API call: the Request, and whether it is new. Raises what `submit` raises."""
    upload = SubmissionSerializer(data=request.FILES if file_only else request.data)
    upload.is_valid(raise_exception=True)
    key = request.headers.get("Idempotency-Key")
    return Request.objects.submit(cast(User, request.user), idempotency_key=key, **upload.validated_data)


@extend_schema_view(list=extend_schema(parameters=[STATUS_FILTER]))
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
        return self._by_status(visible) if self.action == "list" else visible

    def _by_status(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        wanted = self.request.query_params.get("status")
        return rows.filter(status=wanted) if wanted else rows

    @extend_schema(
        request={"multipart/form-data": SubmissionSerializer},
        responses={201: RequestSerializer, 200: RequestSerializer},
        parameters=[OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER)],
    )
    def create(self, request: ApiRequest) -> Response:
        """Upload a catalogue. The answer does not wait for the work."""
        batch, is_new = submit(request)
        code = status.HTTP_201_CREATED if is_new else status.HTTP_200_OK
        return Response(self.get_serializer(batch).data, code)

    def perform_destroy(self, instance: Request) -> None:
        instance.remove()

    @extend_schema(request=RetrySerializer, responses=RequestSerializer)
    @action(detail=True, methods=["post"])
    def retry(self, request: ApiRequest, pk: str) -> Response:
        """Try failed and canceled pictures again."""
        batch = self.get_object()
        wanted = RetrySerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        batch.retry(wanted.validated_data.get("code"))
        return self._answer(batch)

    @extend_schema(request=None, responses=RequestSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: ApiRequest, pk: str) -> Response:
        """Stop the work and keep what is done."""
        batch = self.get_object()
        batch.cancel()
        return self._answer(batch)

    def _answer(self, batch: Request) -> Response:
        batch.refresh_from_db()
        return Response(self.get_serializer(batch).data)

    @extend_schema(responses=ProductSerializer(many=True))
    @action(detail=True, pagination_class=RowPagination, serializer_class=ProductSerializer)
    def products(self, request: ApiRequest, pk: str) -> Response:
        """The rows of the catalogue, in order, each with its pictures."""
        return self._page(self.get_object().products.with_images())

    @extend_schema(responses=ImageSerializer(many=True), parameters=[STATUS_FILTER])
    @action(detail=True, pagination_class=ImagePagination, serializer_class=ImageSerializer)
    def images(self, request: ApiRequest, pk: str) -> Response:
        """The distinct pictures, in order of first appearance."""
        return self._page(self._by_status(self.get_object().images.all()))

    def _page(self, rows: QuerySet[Any]) -> Response:
        return self.get_paginated_response(self.get_serializer(self.paginate_queryset(rows), many=True).data)

    @extend_schema(
        responses={(200, "text/csv"): OpenApiTypes.BINARY},
        parameters=[OpenApiParameter("only", str, enum=["failed"])],
    )
    @action(detail=True, url_path=r"results\.csv", url_name="results-csv")
    def results_csv(self, request: ApiRequest, pk: str) -> StreamingHttpResponse:
        """The catalogue with the new URLs."""
        batch = self.get_object()
        rows = result_csv(batch, only_failed=request.query_params.get("only") == "failed")
        return FileResponse(
            rows, as_attachment=True, filename=f"result-{batch.filename}", content_type="text/csv"
        )

    @extend_schema(responses={(200, "application/zip"): OpenApiTypes.BINARY})
    @action(detail=True, url_path=r"images\.zip", url_name="images-zip")
    def images_zip(self, request: ApiRequest, pk: str) -> StreamingHttpResponse:
        """All new pictures in one file."""
        batch = self.get_object()
        name = f"{batch.filename.removesuffix('.csv')}-images.zip"
        return FileResponse(
            images_zip(batch), as_attachment=True, filename=name, content_type="application/zip"
        )


# --- The earlier system's two calls ---


@extend_schema(exclude=True)
@api_view(["POST"])
@parser_classes([MultiPartParser])
def legacy_upload(request: ApiRequest) -> Response:
    """Upload as the earlier system took it: the field `file` alone."""
    batch, _is_new = submit(request, file_only=True)
    return Response(_legacy(batch, request), status.HTTP_201_CREATED)


@extend_schema(exclude=True)
@api_view(["GET"])
def legacy_status(request: ApiRequest, request_id: UUID) -> Response:
    """The status of a Request in the shape that legacy_upload() answers."""
    batch = get_object_or_404(Request.objects.visible_to(request.user), pk=request_id)
    return Response(_legacy(batch, request))


def _legacy(batch: Request, request: ApiRequest) -> dict[str, Any]:
    """The Request, its id a second time, and the first products; those are known before they are ingested."""
    with batch.source.open("rb") as file:
        rows = list(islice(Catalogue(file), LEGACY_PRODUCTS))
    ids = {Image.id_for(batch.pk, url) for row in rows for url in row.image_urls}
    images = batch.images.in_bulk(list(ids))
    products = []
    for row in rows:
        shown = [images.get(Image.id_for(batch.pk, url)) for url in row.image_urls]
        outputs = [request.build_absolute_uri(i.output_path) if i and i.output_key else "" for i in shown]
        products.append(
            {
                "id": str(Product.id_for(batch.pk, row.number)),
                "serial_number": row.serial_number,
                "product_name": row.product_name,
                "input_image_urls": ",".join(row.image_urls),
                "status": Product.status_of([i.status if i else Image.Status.PENDING for i in shown]),
                "output_image_urls": ",".join(outputs) if any(outputs) else "",
            }
        )
    return {
        **RequestSerializer(batch, context={"request": request}).data,
        "request_id": str(batch.pk),
        "products": products,
    }
