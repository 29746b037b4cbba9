"""The JSON of the API: what calls accept and what they answer."""

import json
from functools import partial
from typing import Any, cast
from urllib.parse import urljoin

from django.conf import settings
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.fields import empty

from products.api.parsers import check_json
from products.catalogue import (
    MAX_COLUMNS,
    MAX_URL,
    ColumnNames,
    Preview,
    Problem,
    Row,
    check_base_url,
    known_encoding,
)
from products.models import Fit, Format, Image, Names, Product, Profile, Request, Run
from products.models.image import WaitingHost
from products.models.profile import (
    MAX_PROFILES,
    NAME_TAKEN,
    NO_PUBLISHED_WEBHOOK,
    TOO_MANY_PROFILES,
)
from products.models.recipes import (
    MAX_QUALITY,
    MAX_SIDE,
    MIN_QUALITY,
    MUST_BE_YES_OR_NO,
    choice_errors,
    number_errors,
    parse_background,
    parse_renditions,
    recipe_problems,
)
from products.models.validators import validate_http_url

MAX_COLUMN_NAME = 1000
MAX_SHEET_NAME = 255
WEBHOOK_URL_HELP = "URL that receives a webhook when this request has finished."

PictureFactsSchema = {
    "type": "object",
    "nullable": True,
    "properties": {
        "bytes": {"type": "integer"},
        "width": {"type": "integer"},
        "height": {"type": "integer"},
        "format": {"type": "string"},
    },
}
RenditionFactsSchema = {
    "type": "object",
    "properties": {
        "url": {"type": "string", "format": "uri"},
        **cast(dict[str, Any], PictureFactsSchema["properties"]),
    },
}
CountsSchema = {"type": "object", "additionalProperties": {"type": "integer"}}


# --- Uploads ---


@extend_schema_field(OpenApiTypes.BINARY)
class CatalogueField(serializers.FileField):
    """A catalogue file. The schema declares its content; DRF's own field would declare a URL."""


class EncodingField(serializers.CharField):
    """The name of a text encoding, normalised to Python's; blank means it is detected."""

    def to_internal_value(self, data: Any) -> str:
        try:
            return known_encoding(super().to_internal_value(data))
        except ValueError as error:
            raise serializers.ValidationError(str(error), "unknown_encoding") from error


class BaseUrlField(serializers.CharField):
    """The URL that relative picture paths are resolved against."""

    def to_internal_value(self, data: Any) -> str:
        try:
            return check_base_url(super().to_internal_value(data))
        except ValueError as error:
            raise serializers.ValidationError(str(error), "invalid_url") from error


class ColumnNamesSerializer(serializers.Serializer[ColumnNames]):
    """Columns of a catalogue, by their names in the header."""

    serial = serializers.CharField(required=False, max_length=MAX_COLUMN_NAME)
    name = serializers.CharField(required=False, max_length=MAX_COLUMN_NAME)
    images = serializers.ListField(
        child=serializers.CharField(max_length=MAX_COLUMN_NAME), required=False, allow_empty=False
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if unknown := set(self.initial_data) - set(self.fields):
            detail = "Unknown key. Use serial, name or images."
            raise serializers.ValidationError(dict.fromkeys(sorted(unknown), detail), "unknown_column")
        return attrs


@extend_schema_field(ColumnNamesSerializer)
class ColumnsField(serializers.Field[ColumnNames, str, Any, Any]):
    """Column names as JSON text, for columns that should not be detected."""

    def to_internal_value(self, data: Any) -> ColumnNames:
        try:
            value = data if isinstance(data, dict) else json.loads(data or "{}")
            check_json(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise serializers.ValidationError("This is not valid JSON.", "invalid") from error
        names = ColumnNamesSerializer(data=value)
        names.is_valid(raise_exception=True)
        return cast(ColumnNames, dict(names.validated_data))


class BackgroundField(serializers.CharField):
    """A colour, or "" for none."""

    def run_validation(self, data: Any = empty) -> Any:
        """Return "" for null as well."""
        return super().run_validation(data) or ""

    def to_internal_value(self, data: Any) -> str:
        try:
            return parse_background(super().to_internal_value(data))
        except ValueError as error:
            raise serializers.ValidationError(str(error), "invalid") from error


class RenditionSerializer(serializers.Serializer[Any]):
    """A further output of every picture. For the API's description; `parse_renditions` checks it."""

    name = serializers.RegexField(r"^[a-z0-9_-]{1,20}$")
    width = serializers.IntegerField(min_value=1, max_value=MAX_SIDE, required=False)
    height = serializers.IntegerField(min_value=1, max_value=MAX_SIDE, required=False)
    max_width = serializers.IntegerField(min_value=1, max_value=MAX_SIDE, required=False)
    max_height = serializers.IntegerField(min_value=1, max_value=MAX_SIDE, required=False)
    fit = serializers.ChoiceField(Fit.choices, required=False)
    background = serializers.RegexField("^#[0-9a-fA-F]{6}$", required=False, allow_null=True)
    format = serializers.ChoiceField(Format.choices, required=False)
    quality = serializers.IntegerField(min_value=MIN_QUALITY, max_value=MAX_QUALITY, required=False)


@extend_schema_field(RenditionSerializer(many=True))
class RenditionsField(serializers.Field[list[dict[str, Any]], Any, Any, Any]):
    """Renditions as a list, or as JSON text that has one."""

    def to_internal_value(self, data: Any) -> list[dict[str, Any]]:
        try:
            return parse_renditions(data)
        except ValueError as error:
            raise serializers.ValidationError(str(error), "invalid") from error


def side_field(help_text: str) -> serializers.IntegerField:
    """Return the field of a width or height in pixels, which may be left out."""
    return serializers.IntegerField(
        min_value=1,
        max_value=MAX_SIDE,
        required=False,
        allow_null=True,
        error_messages=number_errors(1, MAX_SIDE),
        help_text=help_text,
    )


def yes_or_no(help_text: str) -> serializers.BooleanField:
    """Return the field of an option that is off unless it is given."""
    messages: dict[str, Any] = {"invalid": MUST_BE_YES_OR_NO}
    return serializers.BooleanField(default=False, error_messages=messages, help_text=help_text)


class KnownFieldsMixin:
    """Refuses fields that the serializer does not have."""

    def validate(self: Any, attrs: dict[str, Any]) -> dict[str, Any]:
        """Raise ValidationError with code `unknown_option`, naming each unknown field."""
        if unknown := set(self.initial_data) - set(self.fields) - {"csrfmiddlewaretoken"}:
            detail = "There is no such option."
            raise serializers.ValidationError(dict.fromkeys(sorted(unknown), detail), "unknown_option")
        return attrs


class OptionsSerializer(KnownFieldsMixin, serializers.Serializer[Request]):
    """The options of an upload."""

    quality = serializers.IntegerField(
        min_value=MIN_QUALITY,
        max_value=MAX_QUALITY,
        default=50,
        error_messages=number_errors(MIN_QUALITY, MAX_QUALITY),
    )
    format = serializers.ChoiceField(
        Format.choices, default=Format.JPEG, error_messages=choice_errors(Format)
    )
    max_width = side_field("Wider pictures are scaled down to it. Pixels.")
    max_height = side_field("Higher pictures are scaled down to it. Pixels.")
    width = side_field("Width of the box that pictures are brought into. Not together with the limits.")
    height = side_field("Height of the box that pictures are brought into. Not together with the limits.")
    fit = serializers.ChoiceField(
        Fit.choices,
        default=Fit.INSIDE,
        error_messages=choice_errors(Fit),
        help_text="`inside`: scaled to fit inside the box. `pad`: that, and filled to exactly the box. "
        "`cover`: scaled to cover the box, and its middle cut out. Pictures are never enlarged.",
    )
    background = BackgroundField(
        required=False,
        allow_blank=True,
        allow_null=True,
        help_text="Colour as `#rrggbb`, around padded pictures and behind transparency in JPEG. "
        "Transparent where the format can be, else white, if left out.",
    )
    trim = yes_or_no("Cut off uniform borders.")
    min_width = side_field("Narrower pictures fail with `too_small`.")
    min_height = side_field("Lower pictures fail with `too_small`.")
    names = serializers.ChoiceField(
        Names.choices,
        default=Names.HASH,
        error_messages=choice_errors(Names),
        help_text="`source`: the URLs of outputs end in the file names of their sources.",
    )
    renditions = RenditionsField(
        required=False,
        help_text="Further outputs of every picture, as JSON. What one does not name is as in the main "
        "output; one that names any of the four sizes inherits none of them, nor `fit`.",
    )
    strict = yes_or_no("Refuse the whole file if any row or cell is invalid.")
    force = yes_or_no("Fetch and compress every picture, even if an earlier request has its output.")
    encoding = EncodingField(
        required=False,
        allow_blank=True,
        help_text="Text encoding of the file, such as cp1251. Detected if left out.",
    )
    columns = ColumnsField(
        required=False,
        help_text="Names of the columns to read, as JSON. Columns that are not named are detected.",
    )
    base_url = BaseUrlField(
        required=False,
        allow_blank=True,
        max_length=2000,
        help_text="URL that relative picture paths in the file start from.",
    )
    sheet = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=MAX_SHEET_NAME,
        help_text="Sheet of a workbook, by name or by number from 1. "
        "The first visible one with known columns if left out.",
    )
    webhook_url = serializers.CharField(
        required=False,
        max_length=MAX_URL,
        validators=[validate_http_url],
        help_text=WEBHOOK_URL_HELP,
    )
    profile = serializers.CharField(
        required=False,
        allow_blank=True,
        help_text="Name or id of a profile, whose options apply where none are given here. For an upload it "
        "is the newest with the header of the file if left out, none if empty.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return the options that are given, without the defaults of others: a profile may have those."""
        checked: dict[str, Any] = super().validate(attrs)
        return {name: value for name, value in checked.items() if self._is_given(name)}

    def _is_given(self, name: str) -> bool:
        data = self.initial_data
        return name in data and self.fields[name].get_value(data) is not empty


class SubmissionSerializer(OptionsSerializer):
    """A catalogue to upload, with its options."""

    file = CatalogueField(help_text="The catalogue: CSV, XLSX, XLS, ODS, XML or JSON.", allow_empty_file=True)


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

    @extend_schema_field(CountsSchema)
    def get_products(self, preview: Preview) -> dict[str, int]:
        return {"total": preview.rows}

    @extend_schema_field(CountsSchema)
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

    @extend_schema_field(CountsSchema)
    def get_bytes(self, run: Run) -> dict[str, int]:
        return {"source": run.bytes_source, "output": run.bytes_output}


class WaitingHostSerializer(serializers.Serializer[WaitingHost]):
    """A host that images wait for."""

    host = serializers.CharField()
    code = serializers.CharField(help_text="Error code of the last try.")
    until = serializers.DateTimeField(help_text="Time of the next try.")
    images = serializers.IntegerField(help_text="Pending images of this host; at most 10,000 are counted.")


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

    @extend_schema_field({"type": "object"})
    def get_options(self, batch: Request) -> dict[str, Any]:
        return batch.options

    @extend_schema_field(ProfileNameSerializer(allow_null=True))
    def get_profile(self, batch: Request) -> dict[str, Any] | None:
        return profile_name(batch.profile)

    @extend_schema_field(CountsSchema)
    def get_products(self, batch: Request) -> dict[str, int]:
        return {"total": batch.products_total}

    @extend_schema_field(CountsSchema)
    def get_images(self, batch: Request) -> dict[str, int]:
        names = ("total", "pending", "completed", "failed", "canceled", "unchanged", "ignored")
        return {name: getattr(batch, f"images_{name}") for name in names}

    @extend_schema_field(CountsSchema)
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

    @extend_schema_field({"type": "object", "nullable": True})
    def get_error(self, image: Image) -> dict[str, str] | None:
        return {"code": image.error_code, "detail": image.error_detail} if image.error_code else None

    @extend_schema_field({"type": "string", "format": "uri", "nullable": True})
    def get_output_url(self, image: Image) -> str | None:
        request = self.context["request"]
        return request.build_absolute_uri(image.output_path) if image.output_path else None

    @extend_schema_field(PictureFactsSchema)
    def get_source(self, image: Image) -> dict[str, Any] | None:
        return picture_facts(image, "source")

    @extend_schema_field(PictureFactsSchema)
    def get_output(self, image: Image) -> dict[str, Any] | None:
        return picture_facts(image, "output")

    @extend_schema_field({"type": "object", "additionalProperties": RenditionFactsSchema})
    def get_renditions(self, image: Image) -> dict[str, dict[str, Any]]:
        request = self.context["request"]
        return {
            one.name: {
                "url": request.build_absolute_uri(one.path),
                **{name: getattr(one, name) for name in ("bytes", "width", "height", "format")},
            }
            for one in image.renditions.all()
        }


def picture_facts(image: Image, side: str) -> dict[str, Any] | None:
    """Return size and format of the `source` or the `output`; None if they are not known."""
    facts = {name: getattr(image, f"{side}_{name}") for name in ("bytes", "width", "height", "format")}
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
