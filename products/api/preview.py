"""The JSON shape of a preview."""

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from products.api.fields import ColumnNamesSerializer
from products.api.serializers import CountsSchema
from products.catalogue import Preview, Problem, Row


class PreviewRowSerializer(serializers.Serializer[Row]):
    """A row as it is understood."""

    row_number = serializers.IntegerField(source="number")
    serial_number = serializers.CharField()
    product_name = serializers.CharField()
    image_urls = serializers.ListField(child=serializers.CharField())


class WarningSerializer(serializers.Serializer[Problem]):
    """What may be wrong, and where: line and cell from 1."""

    line = serializers.IntegerField(allow_null=True)
    column = serializers.IntegerField(allow_null=True)
    code = serializers.CharField()
    detail = serializers.CharField()


class PreviewSerializer(serializers.Serializer[Preview]):
    """What a catalogue would be read as."""

    encoding = serializers.CharField()
    delimiter = serializers.CharField(allow_null=True, help_text="null for a workbook")
    columns = ColumnNamesSerializer()
    products = serializers.SerializerMethodField()
    images = serializers.SerializerMethodField()
    hosts = serializers.DictField(
        child=serializers.IntegerField(),
        help_text="Different URLs of each host, of the 100 with most of them.",
    )
    rows = PreviewRowSerializer(source="first_rows", many=True)
    warnings = WarningSerializer(many=True)

    @extend_schema_field(CountsSchema)
    def get_products(self, preview: Preview) -> dict[str, int]:
        return {"total": preview.rows}

    @extend_schema_field(CountsSchema)
    def get_images(self, preview: Preview) -> dict[str, int]:
        return {"total": preview.urls, "distinct": preview.distinct}
