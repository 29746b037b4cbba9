"""The JSON of an upload: the catalogue file and its options."""

import json
from typing import Any, cast

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.fields import empty

from products.api.parsers import check_json
from products.catalogue import (
    MAX_URL,
    ColumnNames,
    check_base_url,
    known_encoding,
)
from products.models import Effort, Fit, Format, Names, Request
from products.models.quality import (
    AUTO,
    DEFAULT_QUALITY,
    MAX_QUALITY,
    MIN_QUALITY,
    QualityError,
    parse_quality,
)
from products.models.recipes import (
    MAX_SIDE,
    MUST_BE_YES_OR_NO,
    choice_errors,
    number_errors,
    parse_background,
    parse_renditions,
)
from products.models.validators import validate_http_url

MAX_COLUMN_NAME = 1000
MAX_SHEET_NAME = 255
WEBHOOK_URL_HELP = "URL that receives a webhook when this request has finished."


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


@extend_schema_field(
    {
        "oneOf": [
            {"type": "integer", "minimum": MIN_QUALITY, "maximum": MAX_QUALITY},
            {"type": "string", "enum": [AUTO]},
        ]
    }
)
class QualityField(serializers.Field["int | str", Any, Any, Any]):
    """A number, or `auto`."""

    def to_internal_value(self, data: Any) -> int | str:
        try:
            return parse_quality(data)
        except QualityError as error:
            raise serializers.ValidationError(str(error), error.code) from error


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
    quality = QualityField(required=False)
    effort = serializers.ChoiceField(Effort.choices, required=False)


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

    quality = QualityField(
        default=DEFAULT_QUALITY,
        help_text="1 (smallest files) to 95, or `auto`: the lowest at which a picture still looks like "
        "its source.",
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
    effort = serializers.ChoiceField(
        Effort.choices,
        default=Effort.BALANCED,
        error_messages=choice_errors(Effort),
        help_text="How much CPU smaller files are worth. It never changes how a JPEG looks.",
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
