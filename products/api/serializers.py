"""The JSON of the API: profiles, previews, requests, images and products."""

from functools import partial
from typing import Any
from urllib.parse import urljoin

from django.conf import settings
from django.urls import reverse
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from products.api.options import MAX_COLUMN_NAME, ColumnNamesSerializer, KnownFieldsMixin, OptionsSerializer
from products.catalogue import (
    MAX_COLUMNS,
    MAX_URL,
    Preview,
    Problem,
    Row,
)
from products.models import Image, Product, Profile, Request, Run
from products.models.image import WaitingHost
from products.models.profile import (
    MAX_PROFILES,
    NAME_TAKEN,
    NO_PUBLISHED_WEBHOOK,
    TOO_MANY_PROFILES,
)
from products.models.recipes import (
    recipe_problems,
)


def object_schema(properties: dict[str, Any], **others: Any) -> dict[str, Any]:
    """Return the schema of an object that always has all of these properties."""
    return {"type": "object", "properties": properties, "required": [*properties], **others}


def counts_schema(*names: str) -> dict[str, Any]:
    """Return the schema of an object of whole numbers."""
    return object_schema({name: {"type": "integer"} for name in names})


_WHOLE = {"type": "integer"}
_FACTS = {"bytes": _WHOLE, "width": _WHOLE, "height": _WHOLE, "format": {"type": "string"}}
_OUTPUT_FACTS = {**_FACTS, "quality": {"type": "integer", "nullable": True}}
_URL = {"type": "string", "format": "uri"}
SOURCE_FACTS, OUTPUT_FACTS = tuple(_FACTS), tuple(_OUTPUT_FACTS)
PictureFactsSchema = object_schema(_FACTS, nullable=True)
OutputFactsSchema = object_schema(_OUTPUT_FACTS, nullable=True)
RenditionFactsSchema = object_schema({"url": _URL, **_OUTPUT_FACTS})
ErrorSchema = object_schema({"code": {"type": "string"}, "detail": {"type": "string"}}, nullable=True)
TotalSchema = counts_schema("total")
IMAGE_COUNTS = ("total", "pending", "completed", "failed", "canceled", "unchanged", "ignored")
#: The views of a Request's `urls`.
URLS = {
    "page": "request",
    "products": "api:request-products",
    "images": "api:request-images",
    "results_csv": "api:request-results-csv",
    "images_zip": "api:request-images-zip",
}


# --- Profiles ---


class ProfileOptionsSerializer(OptionsSerializer):
    """The options of a profile."""

    webhook_url = None  # type: ignore[assignment]  # beside the options
    profile = None  # type: ignore[assignment]  # has no profile of its own

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Check the options together."""
        checked = super().validate(attrs)
        if problems := recipe_problems(checked):
            raise serializers.ValidationError(problems, "invalid")
        return checked


@extend_schema_field(ProfileOptionsSerializer)
class ProfileOptionsField(serializers.Field[dict[str, Any], Any, Any, Any]):
    """The options of a profile, as an object; those that are not in it are not chosen."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise serializers.ValidationError('Use a JSON object, such as {"quality": 60}.', "invalid")
        options = ProfileOptionsSerializer(data=data)
        options.is_valid(raise_exception=True)
        return dict(options.validated_data)

    def to_representation(self, value: dict[str, Any]) -> dict[str, Any]:
        return value


class ProfileSerializer(KnownFieldsMixin, serializers.ModelSerializer[Profile]):
    """A named set of upload options."""

    name = serializers.CharField(max_length=100)
    options = ProfileOptionsField(default=dict)
    # processing.webhooks has a subclass that checks the URL.
    webhook_url = serializers.CharField(default="", allow_blank=True, max_length=MAX_URL)
    header = serializers.ListField(
        child=serializers.CharField(allow_blank=True, max_length=MAX_COLUMN_NAME),
        default=None,
        allow_null=True,
        allow_empty=False,
        max_length=MAX_COLUMNS,
        help_text="Column names of catalogues for which the profile is chosen by itself.",
    )

    class Meta:
        model = Profile
        fields = ["id", "name", "options", "webhook_url", "header", "created_at"]
        validators: list[Any] = []  # the owner is no field

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        checked: dict[str, Any] = super().validate(attrs)
        owner = self.instance.owner_id if self.instance else self.context["request"].user.pk
        others = Profile.objects.filter(owner=owner)
        if self.instance:
            others = others.exclude(pk=self.instance.pk)
        if "name" in checked and others.filter(name=checked["name"]).exists():
            raise serializers.ValidationError({"name": NAME_TAKEN}, "unique")
        if self.instance is None and others.count() >= MAX_PROFILES:
            raise serializers.ValidationError(TOO_MANY_PROFILES, "too_many_profiles")
        if checked.get("webhook_url") and self.instance and self.instance.is_published:
            raise serializers.ValidationError({"webhook_url": NO_PUBLISHED_WEBHOOK}, "published")
        return checked


class ProfileNameSerializer(serializers.Serializer[Profile]):
    """A profile, by its id and name."""

    id = serializers.UUIDField()
    name = serializers.CharField()


# --- Previews ---


class PreviewRowSerializer(serializers.Serializer[Row]):
    """A row of the catalogue as it was read."""

    row_number = serializers.IntegerField(source="number")
    serial_number = serializers.CharField()
    product_name = serializers.CharField()
    image_urls = serializers.ListField(child=serializers.CharField())


class WarningSerializer(serializers.Serializer[Problem]):
    """A possible mistake in the catalogue. `line` and `column` (the cell in the row) start at 1."""

    line = serializers.IntegerField(allow_null=True)
    column = serializers.IntegerField(allow_null=True)
    code = serializers.CharField()
    detail = serializers.CharField()


class PreviewSerializer(serializers.Serializer[Preview]):
    """The content of a catalogue as an upload would read it."""

    encoding = serializers.CharField()
    delimiter = serializers.CharField(allow_null=True, help_text="null for a workbook")
    columns = ColumnNamesSerializer()
    products = serializers.SerializerMethodField()
    images = serializers.SerializerMethodField()
    hosts = serializers.DictField(
        child=serializers.IntegerField(),
        help_text="Number of distinct picture URLs by host, for the 100 largest hosts.",
    )
    rows = PreviewRowSerializer(source="first_rows", many=True)
    warnings = WarningSerializer(many=True)
    sheet = serializers.CharField(allow_null=True, help_text="The sheet of a workbook that is read")
    sheets = serializers.ListField(
        child=serializers.CharField(), help_text="All visible sheets of a workbook"
    )
    profile = serializers.SerializerMethodField(help_text="The profile whose options an upload would have")

    @extend_schema_field(ProfileNameSerializer(allow_null=True))
    def get_profile(self, preview: Preview) -> dict[str, Any] | None:
        return profile_name(self.context["profile"])

    @extend_schema_field(TotalSchema)
    def get_products(self, preview: Preview) -> dict[str, int]:
        return {"total": preview.rows}

    @extend_schema_field(counts_schema("total", "distinct"))
    def get_images(self, preview: Preview) -> dict[str, int]:
        return {"total": preview.urls, "distinct": preview.distinct}


# --- Requests, their images and products ---


def profile_name(profile: Profile | None) -> dict[str, Any] | None:
    """Return a profile as requests and previews name it."""
    return dict(ProfileNameSerializer(profile).data) if profile else None


class RunSerializer(serializers.ModelSerializer[Run]):
    """A run with its counts at its end."""

    run = serializers.IntegerField(source="number")
    bytes = serializers.SerializerMethodField()

    class Meta:
        model = Run
        fields = [*("run", "by", "started_at", "finished_at", "completed", "failed", "bytes", "canceled")]

    @extend_schema_field(counts_schema("source", "output"))
    def get_bytes(self, run: Run) -> dict[str, int]:
        return {"source": run.bytes_source, "output": run.bytes_output}


class WaitingHostSerializer(serializers.Serializer[WaitingHost]):
    """A host that images wait for."""

    host = serializers.CharField()
    code = serializers.CharField(help_text="Error code of the last try.")
    until = serializers.DateTimeField(help_text="Time of the next try.")
    images = serializers.IntegerField(help_text="Pending images of this host; at most 10,000 are counted.")


class RequestOptionsSerializer(OptionsSerializer):
    """All options of a request as they were chosen. For the API's description alone."""

    webhook_url = None  # type: ignore[assignment]  # is not shown
    profile = None  # type: ignore[assignment]  # stands beside the options


class RequestSerializer(serializers.ModelSerializer[Request]):
    """A request with its progress, in the API and in webhooks."""

    options = serializers.SerializerMethodField()
    profile = serializers.SerializerMethodField(help_text="The profile that it was uploaded with")
    products = serializers.SerializerMethodField()
    images = serializers.SerializerMethodField()
    bytes = serializers.SerializerMethodField()
    per_second = serializers.FloatField(help_text="Images finished per second in the last 30 seconds.")
    waiting_for = serializers.SerializerMethodField()
    runs = RunSerializer(source="all_runs", many=True)
    urls = serializers.SerializerMethodField()

    class Meta:
        model = Request
        fields = [
            *("id", "status", "filename", "name", "note", "options", "profile", "products", "ingested"),
            *("run", "images", "bytes", "created_at", "started_at", "finished_at", "last_progress_at"),
            *("eta_seconds", "per_second", "waiting_for", "runs", "urls"),
        ]

    @extend_schema_field(RequestOptionsSerializer)
    def get_options(self, batch: Request) -> dict[str, Any]:
        return batch.options

    @extend_schema_field(ProfileNameSerializer(allow_null=True))
    def get_profile(self, batch: Request) -> dict[str, Any] | None:
        return profile_name(batch.profile)

    @extend_schema_field(TotalSchema)
    def get_products(self, batch: Request) -> dict[str, int]:
        return {"total": batch.products_total}

    @extend_schema_field(counts_schema(*IMAGE_COUNTS))
    def get_images(self, batch: Request) -> dict[str, int]:
        return {name: getattr(batch, f"images_{name}") for name in IMAGE_COUNTS}

    @extend_schema_field(counts_schema("source", "output", "unchanged"))
    def get_bytes(self, batch: Request) -> dict[str, int]:
        return {
            "source": batch.bytes_source,
            "output": batch.bytes_output,
            "unchanged": batch.bytes_unchanged,
        }

    @extend_schema_field(WaitingHostSerializer(many=True))
    def get_waiting_for(self, batch: Request) -> list[dict[str, Any]]:
        hosts = batch.images.waiting_by_host() if batch.is_active else []
        return [dict(WaitingHostSerializer(host).data) for host in hosts]

    @extend_schema_field(object_schema(dict.fromkeys(URLS, _URL)))
    def get_urls(self, batch: Request) -> dict[str, str]:
        request = self.context.get("request")
        paths = {name: reverse(view, args=[batch.pk]) for name, view in URLS.items()}
        # Webhooks are sent outside any HTTP request, which would give the host.
        absolute = request.build_absolute_uri if request else partial(urljoin, settings.PUBLIC_URL)
        return {name: absolute(path) for name, path in paths.items()}


class ImageSerializer(serializers.ModelSerializer[Image]):
    """An image with its outcome."""

    fetched_from = serializers.SerializerMethodField()
    error = serializers.SerializerMethodField()
    output_url = serializers.SerializerMethodField()
    source = serializers.SerializerMethodField()  # type: ignore[assignment]  # the contract's name, also DRF's
    output = serializers.SerializerMethodField()
    renditions = serializers.SerializerMethodField()

    class Meta:
        model = Image
        fields = [
            *(
                "id",
                "url",
                "fetched_from",
                "status",
                "error",
                "attempts",
                "output_url",
                "unchanged",
                "animated",
            ),
            *("source", "output", "renditions"),
        ]

    @extend_schema_field({"type": "string", "format": "uri", "nullable": True})
    def get_fetched_from(self, image: Image) -> str | None:
        return image.fetched_from or None

    @extend_schema_field(ErrorSchema)
    def get_error(self, image: Image) -> dict[str, str] | None:
        return {"code": image.error_code, "detail": image.error_detail} if image.error_code else None

    @extend_schema_field({"type": "string", "format": "uri", "nullable": True})
    def get_output_url(self, image: Image) -> str | None:
        request = self.context["request"]
        return request.build_absolute_uri(image.output_path) if image.output_path else None

    @extend_schema_field(PictureFactsSchema)
    def get_source(self, image: Image) -> dict[str, Any] | None:
        return picture_facts(image, "source")

    @extend_schema_field(OutputFactsSchema)
    def get_output(self, image: Image) -> dict[str, Any] | None:
        return picture_facts(image, "output")

    @extend_schema_field({"type": "object", "additionalProperties": RenditionFactsSchema})
    def get_renditions(self, image: Image) -> dict[str, dict[str, Any]]:
        request = self.context["request"]
        return {
            one.name: {
                "url": request.build_absolute_uri(one.path),
                **{name: getattr(one, name) for name in OUTPUT_FACTS},
            }
            for one in image.renditions.all()
        }


def picture_facts(image: Image, side: str) -> dict[str, Any] | None:
    """Return size and format of the `source` or the `output`; None if they are not known."""
    names = OUTPUT_FACTS if side == "output" else SOURCE_FACTS
    facts = {name: getattr(image, f"{side}_{name}") for name in names}
    return facts if facts["bytes"] is not None else None


class ProductSerializer(serializers.ModelSerializer[Product]):
    """A row of the catalogue with its images in order."""

    status = serializers.CharField(read_only=True)
    images = serializers.SerializerMethodField()

    class Meta:
        model = Product
        fields = ["id", "row_number", "serial_number", "product_name", "status", "images"]

    @extend_schema_field(ImageSerializer(many=True))
    def get_images(self, product: Product) -> list[dict[str, Any]]:
        return list(ImageSerializer(product.images_in_order, many=True, context=self.context).data)
