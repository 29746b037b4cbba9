"""The API calls that repair the failures of a request, change its name, and run it again."""

from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request as ApiRequest
from rest_framework.response import Response

from products import lifecycle
from products.api.errors import Conflict
from products.api.options import CatalogueField, KnownFieldsMixin, OptionsSerializer
from products.api.schema import ErrorsSerializer
from products.api.serializers import ImageSerializer, RequestSerializer
from products.catalogue import MAX_URL
from products.lifecycle.quotas import check_open_work, count_upload
from products.models import Image, Request
from products.models.ids import parse_uuid
from products.models.image import Causes
from products.models.validators import validate_http_url
from products.results.failures import failure_groups, is_error_code

#: Images that one call retries by their ids.
MAX_IDS = 10_000
REPAIR_ERRORS = {400: ErrorsSerializer, 409: ErrorsSerializer, 429: ErrorsSerializer}


class CauseSerializer(KnownFieldsMixin, serializers.Serializer[Request]):
    """The failures that a call concerns; all of them if nothing is given."""

    code = serializers.CharField(
        default="",
        help_text="Only images that failed with this error code.",
    )
    host = serializers.CharField(
        default="",
        max_length=300,
        help_text="Only images at this host, as host or host:port.",
    )

    def validate_code(self, code: str) -> str:
        if code and not is_error_code(code):
            raise ValidationError("There is no such error code.", "invalid")
        return code

    def validate_host(self, host: str) -> str:
        return host.lower()


class RetrySerializer(CauseSerializer):
    """The failed and canceled images to retry; all of them if nothing is given."""

    images = serializers.ListField(
        child=serializers.UUIDField(), required=False, max_length=MAX_IDS, help_text="Ids of images."
    )


class ReplaceSerializer(CauseSerializer):
    """A text to replace in the URLs of failed images, and what takes its place."""

    find = serializers.CharField(max_length=MAX_URL, trim_whitespace=False)
    replace = serializers.CharField(max_length=MAX_URL, trim_whitespace=False, allow_blank=True)
    dry_run = serializers.BooleanField(default=False, help_text="Only show what would be changed.")


class CorrectionsSerializer(KnownFieldsMixin, serializers.Serializer[Request]):
    """A failed or whole result, corrected by hand."""

    file = CatalogueField(help_text="The corrected file, CSV or XLSX.", allow_empty_file=True)
    dry_run = serializers.BooleanField(default=False, help_text="Only show what would be changed.")


class ImageChangeSerializer(KnownFieldsMixin, serializers.Serializer[Image]):
    """A change of a failed image: either a URL to fetch it from, or whether it is left out."""

    url = serializers.CharField(required=False, max_length=MAX_URL, validators=[validate_http_url])
    ignored = serializers.BooleanField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        checked = super().validate(attrs)
        if len(checked) != 1:
            raise ValidationError("Give either url or ignored.", "invalid")
        return checked


class DetailsSerializer(KnownFieldsMixin, serializers.ModelSerializer[Request]):
    """The name and the note that pages show."""

    class Meta:
        model = Request
        fields = ["name", "note"]


class ExampleSerializer(serializers.Serializer[Any]):
    """A URL in the catalogue, and the one that is fetched instead."""

    url = serializers.CharField()
    becomes = serializers.CharField()


class ReplacementSerializer(serializers.Serializer[lifecycle.Replacement]):
    """The number of images that are fetched from other URLs, the first ten of them, and invalid URLs."""

    count = serializers.IntegerField()
    examples = serializers.SerializerMethodField()
    invalid = serializers.IntegerField()

    @extend_schema_field(ExampleSerializer(many=True))
    def get_examples(self, found: lifecycle.Replacement) -> list[dict[str, str]]:
        return [{"url": url, "becomes": becomes} for url, becomes in found.examples]


class FoundCorrectionsSerializer(ReplacementSerializer):
    """As a replacement, with the number of rows that fit no row of the request."""

    unmatched = serializers.IntegerField()


class FailureGroupSerializer(serializers.Serializer[Any]):
    """The failed images with one error code on one host."""

    code = serializers.CharField()
    title = serializers.CharField(source="explanation.title")
    advice = serializers.CharField(source="explanation.advice")
    host = serializers.CharField(help_text="host or host:port; empty for URLs without a host")
    count = serializers.IntegerField()
    rows = serializers.IntegerField(help_text="Number of rows that show these images.")


class FailuresSerializer(serializers.Serializer[Any]):
    """Failures by cause and host, the largest group first."""

    results = FailureGroupSerializer(many=True)


class RepairMixin:
    """Actions of RequestViewSet on the failures of a finished Request."""

    @extend_schema(responses=FailuresSerializer)
    @action(detail=True, filterset_class=None, pagination_class=None)
    def failures(self: Any, request: ApiRequest, pk: str) -> Response:
        """List failed images by cause and host, the largest group first."""
        groups = failure_groups(self.get_object())
        return Response(FailuresSerializer({"results": groups}).data)

    @extend_schema(request=RetrySerializer, responses={200: RequestSerializer, **REPAIR_ERRORS})
    @action(detail=True, methods=["post"])
    def retry(self: Any, request: ApiRequest, pk: str) -> Response:
        """Retry failed and canceled images in a new run. Starts no run if nothing matches."""
        batch, wanted = self.repairable(RetrySerializer)
        ids = wanted.get("images")
        if ids is not None:
            settled = batch.images.filter(status__in=[Image.Status.FAILED, Image.Status.CANCELED])
            known = settled.filter(pk__in=ids).count()
            if known != len(set(ids)):
                detail = "Not all of these are failed or canceled images of this request."
                raise ValidationError({"images": detail}, "invalid")
        lifecycle.retry(batch, causes_of(wanted), ids)
        current: Response = self.current(batch)
        return current

    @extend_schema(request=ReplaceSerializer, responses={200: ReplacementSerializer, **REPAIR_ERRORS})
    @action(detail=True, methods=["post"])
    def replace(self: Any, request: ApiRequest, pk: str) -> Response:
        """Replace a text in the URLs of failed images, and fetch them from there in a new run."""
        batch, wanted = self.repairable(ReplaceSerializer)
        found = lifecycle.replace(
            batch,
            wanted["find"],
            wanted["replace"],
            causes=causes_of(wanted),
            dry_run=wanted["dry_run"],
        )
        return Response(ReplacementSerializer(found).data)

    @extend_schema(
        request={"multipart/form-data": CorrectionsSerializer},
        responses={200: FoundCorrectionsSerializer, **REPAIR_ERRORS},
    )
    @action(detail=True, methods=["post"])
    def corrections(self: Any, request: ApiRequest, pk: str) -> Response:
        """Fetch failed images from the URLs in a corrected result, in a new run."""
        count_upload(request.user)
        batch, wanted = self.repairable(CorrectionsSerializer)
        found = lifecycle.correct(batch, wanted["file"], dry_run=wanted["dry_run"])
        return Response(FoundCorrectionsSerializer(found).data)

    @extend_schema(request=ImageChangeSerializer, responses={200: ImageSerializer, **REPAIR_ERRORS})
    @action(detail=True, methods=["patch"], url_path="images/(?P<image_id>[^/]+)")
    def image(self: Any, request: ApiRequest, pk: str, image_id: str) -> Response:
        """Fetch a failed image from another URL in a new run, or leave it out of the results."""
        batch, wanted = self.repairable(ImageChangeSerializer)
        image = get_object_or_404(batch.images.select_related("request"), pk=parse_uuid(image_id))
        if "url" in wanted:
            changed = lifecycle.fetch_from(batch, {image.pk: wanted["url"]}) > 0
        else:
            this = batch.images.filter(pk=image.pk)
            changed = lifecycle.set_ignored(batch, this, ignored=wanted["ignored"]) > 0
        if not changed:
            state = "failed" if wanted.get("ignored", True) else "ignored"
            raise Conflict(f"The image is {image.status}, not {state}.", "not_failed")
        image.refresh_from_db()
        return Response(ImageSerializer(image, context=self.get_serializer_context()).data)

    @extend_schema(
        request=OptionsSerializer,
        responses={201: RequestSerializer, 400: ErrorsSerializer, 429: ErrorsSerializer},
    )
    @action(detail=True, methods=["post"])
    def repeat(self: Any, request: ApiRequest, pk: str) -> Response:
        """Process the same file again as a new request. Options that are not given stay as they were."""
        count_upload(request.user)
        check_open_work(request.user)
        batch = self.get_object()
        options = self.options_serializer_class(batch, data=request.data, partial=True)
        options.is_valid(raise_exception=True)
        given = dict(options.validated_data)
        if (wanted := given.pop("profile", None)) is not None:
            profile = lifecycle.choose_profile(request.user, None, wanted)
            given = {**(profile.upload_options if profile else {}), **given, "profile": profile}
        again = lifecycle.repeat(batch, **given)
        return Response(self.get_serializer(again).data, status.HTTP_201_CREATED)

    def repairable(
        self: Any, serializer: type[serializers.Serializer[Any]]
    ) -> tuple[Request, dict[str, Any]]:
        """Return the Request that the URL names, and the validated body. Raises StillActive."""
        batch: Request = self.get_object()
        wanted = serializer(data=self.request.data)
        wanted.is_valid(raise_exception=True)
        check_open_work(self.request.user)
        if batch.is_active:
            raise lifecycle.StillActive
        return batch, wanted.validated_data


def causes_of(wanted: dict[str, Any]) -> Causes:
    """Return the causes that a validated CauseSerializer names."""
    return [(wanted["code"], wanted["host"])] if wanted["code"] or wanted["host"] else []
