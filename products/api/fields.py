"""The options of an upload that say how its catalogue is to be read."""

import json
from typing import Any, cast

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from products.catalogue import ColumnNames, check_base_url, known_encoding

MAX_NAME = 1000


class EncodingField(serializers.CharField):
    """The name of an encoding, which becomes Python's; blank where it is to be found out."""

    def to_internal_value(self, data: Any) -> str:
        try:
            return known_encoding(super().to_internal_value(data))
        except ValueError as error:
            raise serializers.ValidationError(str(error), "unknown_encoding") from error


class BaseUrlField(serializers.CharField):
    """The URL of the folder that relative paths are below."""

    def to_internal_value(self, data: Any) -> str:
        try:
            return check_base_url(super().to_internal_value(data))
        except ValueError as error:
            raise serializers.ValidationError(str(error), "invalid_url") from error


class ColumnNamesSerializer(serializers.Serializer[ColumnNames]):
    """Columns by their names in the header."""

    serial = serializers.CharField(required=False, max_length=MAX_NAME)
    name = serializers.CharField(required=False, max_length=MAX_NAME)
    images = serializers.ListField(
        child=serializers.CharField(max_length=MAX_NAME), required=False, allow_empty=False
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if unknown := set(self.initial_data) - set(self.fields):
            detail = "Only serial, name and images can be named."
            raise serializers.ValidationError(dict.fromkeys(sorted(unknown), detail), "unknown_column")
        return attrs


@extend_schema_field(ColumnNamesSerializer)
class ColumnsField(serializers.Field[ColumnNames, str, Any, Any]):
    """The names of columns that are not to be guessed, as JSON text."""

    def to_internal_value(self, data: Any) -> ColumnNames:
        try:
            value = json.loads(data or "{}")
        except (TypeError, ValueError, RecursionError) as error:
            raise serializers.ValidationError("It has to be JSON.", "invalid") from error
        names = ColumnNamesSerializer(data=value)
        names.is_valid(raise_exception=True)
        return cast(ColumnNames, dict(names.validated_data))
