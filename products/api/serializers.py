"""The JSON shapes of the API."""

from functools import partial
from typing import Any
from urllib.parse import urljoin

from django.conf import settings
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from products.api.fields import BaseUrlField, ColumnsField, EncodingField
from products.catalogue import MAX_URL
from products.models import Format, Image, Product, Request
from products.models.validators import validate_http_url

FactsSchema = {
    "type": "object",
    "nullable": True,
    "properties": {
        "bytes": {"type": "integer"},
        "width": {"type": "integer"},
        "height": {"type": "integer"},
        "format": {"type": "string"},
    },
}
CountsSchema = {"type": "object", "additionalProperties": {"type": "integer"}}


@extend_schema_field(OpenApiTypes.BINARY)
class CatalogueField(serializers.FileField):
    """The file of a catalogue; its schema says that it is one, not where one is."""


class SubmissionSerializer(serializers.Serializer[Request]):
    """What an upload consists of."""

    file = CatalogueField(help_text="The catalogue, CSV or XLSX.", allow_empty_file=True)
    quality = serializers.IntegerField(min_value=1, max_value=95, default=50)
    format = serializers.ChoiceField(Format.choices, default=Format.JPEG)
    max_width = serializers.IntegerField(min_value=1, max_value=65_535, required=False, allow_null=True)
    max_height = serializers.IntegerField(min_value=1, max_value=65_535, required=False, allow_null=True)
    strict = serializers.BooleanField(default=False, help_text="Refuse the file for any bad row or cell.")
    force = serializers.BooleanField(
        default=False, help_text="Fetch and compress in full what an earlier request has done, too."
    )
    encoding = EncodingField(
        required=False, allow_blank=True, help_text="Of the file, such as cp1251; otherwise found out."
    )
    columns = ColumnsField(required=False, help_text="JSON: names of columns that are not to be guessed.")
    base_url = BaseUrlField(
        required=False, allow_blank=True, max_length=2000, help_text="What relative picture paths are below."
    )
    webhook_url = serializers.CharField(
        required=False,
        max_length=MAX_URL,
        validators=[validate_http_url],
        help_text="Is told when the work has ended.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        unknown = set(self.initial_data) - set(self.fields) - {"csrfmiddlewaretoken"}
        if unknown:
            raise serializers.ValidationError(
                dict.fromkeys(sorted(unknown), "There is no such option."), "unknown_option"
            )
        return attrs


class ResultQuerySerializer(serializers.Serializer[Request]):
    """In which form a result is wanted."""

    only = serializers.ChoiceField(["failed"], required=False, help_text="Only rows with failed pictures.")
    style = serializers.ChoiceField(  # type: ignore[assignment]  # the contract's name, also DRF's
        ["replace", "changes"],
        required=False,
        help_text="`replace`: the new URLs in place of the old ones, no further columns. `changes`: what has "
        "become of each picture since an earlier request.",
    )
    against = serializers.UUIDField(
        required=False,
        help_text="With `changes`: that request; else the latest earlier one of this owner and file name.",
    )
    excel = serializers.BooleanField(
        required=False, help_text="UTF-8 with a byte order mark, without formulas."
    )


class RetrySerializer(serializers.Serializer[Request]):
    """What to try again."""

    code = serializers.CharField(
        required=False, max_length=30, help_text="Only Images that failed with this code."
    )


class RequestSerializer(serializers.ModelSerializer[Request]):
    """A Request as everybody sees it: in the API, and in webhooks."""

    options = serializers.SerializerMethodField()
    products = serializers.SerializerMethodField()
    images = serializers.SerializerMethodField()
    bytes = serializers.SerializerMethodField()
    urls = serializers.SerializerMethodField()

    class Meta:
        model = Request
        fields = [
            *("id", "status", "filename", "options", "products", "ingested", "run", "images", "bytes"),
            *("created_at", "started_at", "finished_at", "last_progress_at", "eta_seconds", "urls"),
        ]

    @extend_schema_field({"type": "object"})
    def get_options(self, batch: Request) -> dict[str, Any]:
        return {name: getattr(batch, name) for name in ("quality", "format", "max_width", "max_height")}

    @extend_schema_field(CountsSchema)
    def get_products(self, batch: Request) -> dict[str, int]:
        return {"total": batch.products_total}

    @extend_schema_field(CountsSchema)
    def get_images(self, batch: Request) -> dict[str, int]:
        names = ("total", "pending", "completed", "failed", "canceled", "unchanged")
        return {name: getattr(batch, f"images_{name}") for name in names}

    @extend_schema_field(CountsSchema)
    def get_bytes(self, batch: Request) -> dict[str, int]:
        return {"source": batch.bytes_source, "output": batch.bytes_output}

    @extend_schema_field({"type": "object", "additionalProperties": {"type": "string", "format": "uri"}})
    def get_urls(self, batch: Request) -> dict[str, str]:
        request = self.context.get("request")
        names = {
            "page": "request",
            "products": "api:request-products",
            "images": "api:request-images",
            "results_csv": "api:request-results-csv",
            "images_zip": "api:request-images-zip",
        }
        paths = {name: reverse(view, args=[batch.pk]) for name, view in names.items()}
        # Where no HTTP request says under which host it came: in webhooks.
        absolute = request.build_absolute_uri if request else partial(urljoin, settings.PUBLIC_URL)
        return {name: absolute(path) for name, path in paths.items()}


class ImageSerializer(serializers.ModelSerializer[Image]):
    """An Image with its outcome."""

    error = serializers.SerializerMethodField()
    output_url = serializers.SerializerMethodField()
    source = serializers.SerializerMethodField()  # type: ignore[assignment]  # the contract's name, also DRF's
    output = serializers.SerializerMethodField()

    class Meta:
        model = Image
        fields = [
            *("id", "url", "status", "error", "attempts", "output_url", "unchanged", "source", "output"),
        ]

    @extend_schema_field({"type": "object", "nullable": True})
    def get_error(self, image: Image) -> dict[str, str] | None:
        return {"code": image.error_code, "detail": image.error_detail} if image.error_code else None

    @extend_schema_field({"type": "string", "format": "uri", "nullable": True})
    def get_output_url(self, image: Image) -> str | None:
        request = self.context["request"]
        return request.build_absolute_uri(image.output_path) if image.output_path else None

    @extend_schema_field(FactsSchema)
    def get_source(self, image: Image) -> dict[str, Any] | None:
        return _facts(image, "source")

    @extend_schema_field(FactsSchema)
    def get_output(self, image: Image) -> dict[str, Any] | None:
        return _facts(image, "output")


def _facts(image: Image, side: str) -> dict[str, Any] | None:
    facts = {name: getattr(image, f"{side}_{name}") for name in ("bytes", "width", "height", "format")}
    return facts if facts["bytes"] is not None else None


class ProductSerializer(serializers.ModelSerializer[Product]):
    """A row of the catalogue with its Images in order."""

    status = serializers.CharField(read_only=True)
    images = serializers.SerializerMethodField()

    class Meta:
        model = Product
        fields = ["id", "row_number", "serial_number", "product_name", "status", "images"]

    @extend_schema_field(ImageSerializer(many=True))
    def get_images(self, product: Product) -> list[dict[str, Any]]:
        return list(ImageSerializer(product.images_in_order, many=True, context=self.context).data)
