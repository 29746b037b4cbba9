"""Two calls for programs written for the earlier system: `POST /upload`, `GET /status/{request_id}`."""

from collections.abc import Iterator
from itertools import islice
from typing import Any
from uuid import UUID

from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import api_view, parser_classes
from rest_framework.generics import get_object_or_404
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request as ApiRequest
from rest_framework.response import Response

from products.api.options import CatalogueField
from products.api.serializers import RequestSerializer
from products.api.views import UPLOAD_ERRORS, submit
from products.catalogue import Catalogue
from products.models import Image, Product, Request, RequestStatus
from products.models.files import storage_checked
from products.models.product import MAX_PAGE_PLACES, leading_rows, load_images

LEGACY_PRODUCTS = 100


class LegacyProductSerializer(serializers.Serializer[Product]):
    """A product in the earlier system's format: only strings, URLs joined by commas."""

    id = serializers.UUIDField()
    serial_number = serializers.CharField()
    product_name = serializers.CharField()
    input_image_urls = serializers.CharField()
    status = serializers.ChoiceField(RequestStatus.choices)
    output_image_urls = serializers.CharField()


# For the OpenAPI schema only: legacy_json() builds the answer.
class LegacySerializer(RequestSerializer):
    """A request in the earlier system's format."""

    request_id = serializers.UUIDField()
    products = LegacyProductSerializer(many=True)  # type: ignore[assignment]  # not the total here

    class Meta(RequestSerializer.Meta):
        fields = [*RequestSerializer.Meta.fields, "request_id"]


class LegacyUploadSerializer(serializers.Serializer[Request]):
    """An upload in the earlier system's format."""

    file = CatalogueField(help_text="The catalogue: CSV, XLSX, XLS, ODS, XML or JSON.")


@extend_schema(
    request={"multipart/form-data": LegacyUploadSerializer},
    responses={201: LegacySerializer, **UPLOAD_ERRORS},
)
@api_view(["POST"])
@parser_classes([MultiPartParser])
def legacy_upload(request: ApiRequest) -> Response:
    """Upload a catalogue in the earlier system's format: the field `file`, no options."""
    batch, _is_new = submit(request, file_only=True)
    return Response(legacy_json(batch, request), status.HTTP_201_CREATED)


@extend_schema(responses=LegacySerializer)
@api_view(["GET"])
def legacy_status(request: ApiRequest, request_id: str) -> Response:
    """Return a request in the earlier system's format, as the upload does."""
    batch = get_object_or_404(Request.objects.visible_to(request.user), pk=request_id)
    return Response(legacy_json(batch, request))


def legacy_json(batch: Request, request: ApiRequest) -> dict[str, Any]:
    """Return the Request with its id as `request_id` and its first products, ingested or not."""
    products = []
    for pk, serial_number, product_name, urls, images in first_rows(batch):
        outputs = [request.build_absolute_uri(i.output_path) if i and i.output_path else "" for i in images]
        products.append(
            {
                "id": str(pk),
                "serial_number": serial_number,
                "product_name": product_name,
                "input_image_urls": ",".join(urls),
                "status": Product.status_of([i.status if i else batch.status_of_missing for i in images]),
                "output_image_urls": ",".join(outputs) if any(outputs) else "",
            }
        )
    return {
        **RequestSerializer(batch, context={"request": request}).data,
        "request_id": str(batch.pk),
        "products": products,
    }


def first_rows(batch: Request) -> Iterator[tuple[UUID, str, str, list[str], list[Image | None]]]:
    """Yield id, serial number, name, URLs and Images of the first products, up to MAX_PAGE_PLACES URLs.

    They are read from the stored file, with None for each Image, until they are ingested.
    """
    if batch.ingested_rows >= min(LEGACY_PRODUCTS, batch.products_total):
        products = list(batch.products.with_last_positions()[:LEGACY_PRODUCTS])
        products = products[: leading_rows(products)]
        load_images(products)
        for product in products:
            images = product.images_in_order
            urls = [image.url for image in images]
            yield product.pk, product.serial_number, product.product_name, urls, [*images]
    else:
        count = 0
        with storage_checked(), batch.source.open("rb") as file:
            for row in islice(Catalogue(file, **batch.reading), LEGACY_PRODUCTS):
                pk, urls = Product.id_for(batch.pk, row.number), row.image_urls
                count += len(urls)
                if count > MAX_PAGE_PLACES and row.number > 1:
                    return
                yield pk, row.serial_number, row.product_name, urls, [None] * len(urls)


#: The earlier system's paths, which have no prefix `/api/`.
urlpatterns = [
    path("upload", legacy_upload),
    path("status/<str:request_id>", legacy_status),
]
named_urls = [
    path("upload", legacy_upload, name="upload"),
    path("status/<str:request_id>", legacy_status, name="status"),
]
