"""Serializers of endpoints, deliveries and reports."""

from typing import Any

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from processing.webhooks.inbound import split_urls
from processing.webhooks.models import (
    EVENT_CHOICES,
    DeliveryStatus,
    Kind,
    WebhookDelivery,
    WebhookEndpoint,
    default_events,
)
from processing.webhooks.validators import validate_webhook_url
from processing.work.trial import DEFAULT_PICTURES, MAX_PICTURES, TrialResult, Tried
from products.api.options import WEBHOOK_URL_HELP, OptionsSerializer, SubmissionSerializer
from products.api.serializers import (
    SOURCE_FACTS,
    ErrorSchema,
    OutputFactsSchema,
    PictureFactsSchema,
    ProfileSerializer,
    RequestSerializer,
)
from products.catalogue import MAX_URL
from products.models import Request
from products.models.owned import save_fields
from products.models.recipes import number_errors

REPLAYABLE = [(one.value, one.label) for one in (DeliveryStatus.FAILED, DeliveryStatus.MISSED)]
REPORTED = [("Completed", "Completed"), ("Failed", "Failed")]


class EndpointSerializer(serializers.ModelSerializer[WebhookEndpoint]):
    """A webhook endpoint."""

    url = serializers.CharField(max_length=MAX_URL, validators=[validate_webhook_url])
    events = serializers.MultipleChoiceField(choices=EVENT_CHOICES, allow_empty=False, required=False)
    kind = serializers.ChoiceField(
        Kind.choices,
        required=False,
        help_text="`slack`, `teams` and `discord` take messages of these services, which are not signed.",
    )
    enabled = serializers.BooleanField(required=False)

    class Meta:
        model = WebhookEndpoint
        fields = ["id", "url", "description", "kind", "events", "enabled", "disabled_reason", "created_at"]
        read_only_fields = ["disabled_reason", "created_at"]

    def validate_events(self, events: set[str]) -> list[str]:
        return sorted(events)

    def create(self, validated_data: dict[str, Any]) -> WebhookEndpoint:
        return WebhookEndpoint.objects.create(**{"events": default_events(), **validated_data})

    def update(self, instance: WebhookEndpoint, validated_data: dict[str, Any]) -> WebhookEndpoint:
        enabled = validated_data.pop("enabled", instance.enabled)
        for name, value in validated_data.items():
            setattr(instance, name, value)
        save_fields(instance, validated_data)
        if enabled != instance.enabled:
            instance.enable() if enabled else instance.disable()
        return instance

    def to_representation(self, instance: WebhookEndpoint) -> dict[str, Any]:
        return {**super().to_representation(instance), "events": instance.events}


class NewEndpointSerializer(EndpointSerializer):
    """An endpoint with its secret, which is only shown when it is created or rotated."""

    secret = serializers.CharField(
        required=False, read_only=True, help_text="Verifies the signatures of messages; `whsec_` and base64."
    )

    class Meta(EndpointSerializer.Meta):
        fields = [*EndpointSerializer.Meta.fields, "secret"]

    def to_representation(self, instance: WebhookEndpoint) -> dict[str, Any]:
        """Leave the secret out for services whose messages are not signed."""
        shown = super().to_representation(instance)
        if instance.kind != Kind.STANDARD:
            del shown["secret"]
        return shown


class AttemptSerializer(serializers.Serializer[dict[str, Any]]):
    """One attempt to deliver an event."""

    at = serializers.DateTimeField()
    status = serializers.IntegerField(
        allow_null=True, help_text="HTTP status of the response, if there was one."
    )
    ms = serializers.IntegerField(help_text="Duration in milliseconds.")
    answer = serializers.CharField(help_text="First 1,000 characters of the response body.")
    error = serializers.CharField(help_text="Error code; empty after a success.")


class DeliverySerializer(serializers.ModelSerializer[WebhookDelivery]):
    """The delivery of an event to an endpoint. `id` is the `webhook-id` of its messages."""

    attempts = AttemptSerializer(many=True, read_only=True)

    class Meta:
        model = WebhookDelivery
        fields = [
            *("id", "endpoint", "event", "request", "run", "status", "created_at", "next_attempt_at"),
            *("attempts", "payload"),
        ]


class ReplaySerializer(serializers.Serializer[WebhookDelivery]):
    """The deliveries to send again."""

    status = serializers.ChoiceField(REPLAYABLE)
    since = serializers.DateTimeField(required=False, help_text="Only events from this time on.")


class ReplayedSerializer(serializers.Serializer[WebhookDelivery]):
    """The number of deliveries that are sent again."""

    deliveries = serializers.IntegerField()


def _webhook_url() -> serializers.CharField:
    return serializers.CharField(
        required=False,
        max_length=MAX_URL,
        validators=[validate_webhook_url],
        help_text=WEBHOOK_URL_HELP,
    )


@extend_schema_serializer(component_name="Options")
class WebhookOptionsSerializer(OptionsSerializer):
    """The options of an upload. A `webhook_url` that no webhook is sent to is refused."""

    webhook_url = _webhook_url()


@extend_schema_serializer(component_name="Submission")
class WebhookSubmissionSerializer(SubmissionSerializer):
    """A catalogue to upload, with its options."""

    webhook_url = _webhook_url()


@extend_schema_serializer(component_name="Profile")
class WebhookProfileSerializer(ProfileSerializer):
    """A named set of upload options."""

    webhook_url = serializers.CharField(
        default="",
        allow_blank=True,
        max_length=MAX_URL,
        validators=[validate_webhook_url],
        help_text="URL that receives a webhook when a request with this profile has finished.",
    )


@extend_schema_serializer(component_name="TrialSubmission")
class TrialSubmissionSerializer(WebhookSubmissionSerializer):
    """A catalogue whose options are tried, with the number of pictures."""

    sample = serializers.IntegerField(
        min_value=1,
        max_value=MAX_PICTURES,
        default=DEFAULT_PICTURES,
        error_messages=number_errors(1, MAX_PICTURES),
        help_text="Number of pictures.",
    )


class TriedSerializer(serializers.Serializer[Tried]):
    """A picture of a trial."""

    url = serializers.CharField()
    source = serializers.SerializerMethodField()  # type: ignore[assignment]  # the contract's name, also DRF's
    output = serializers.SerializerMethodField()
    error = serializers.SerializerMethodField()
    source_url = serializers.SerializerMethodField()
    output_url = serializers.SerializerMethodField()

    @extend_schema_field(PictureFactsSchema)
    def get_source(self, picture: Tried) -> dict[str, Any] | None:
        made = picture.made
        return {name: getattr(made.source, name) for name in SOURCE_FACTS} if made else None

    @extend_schema_field(OutputFactsSchema)
    def get_output(self, picture: Tried) -> dict[str, Any] | None:
        return picture.made.output._asdict() if picture.made else None

    @extend_schema_field(ErrorSchema)
    def get_error(self, picture: Tried) -> dict[str, str] | None:
        return dict(zip(("code", "detail"), picture.error, strict=True)) if picture.error else None

    @extend_schema_field({"type": "string", "format": "uri", "nullable": True})
    def get_source_url(self, picture: Tried) -> str | None:
        path = picture.source_path
        return self.context["request"].build_absolute_uri(path) if path else None

    @extend_schema_field({"type": "string", "format": "uri", "nullable": True})
    def get_output_url(self, picture: Tried) -> str | None:
        path = picture.output_path
        return self.context["request"].build_absolute_uri(path) if path else None


class EstimateSerializer(serializers.Serializer[TrialResult]):
    """Estimated output size and duration of the whole catalogue, from the pictures of the trial."""

    bytes = serializers.IntegerField(help_text="Size of all outputs.")
    seconds = serializers.IntegerField(help_text="Duration of the run.")


class TrialSerializer(serializers.Serializer[TrialResult]):
    """Pictures made as the options say. Their addresses work for an hour."""

    pictures = TriedSerializer(many=True)
    estimate = EstimateSerializer(source="*")


class SubmittedSerializer(RequestSerializer):
    """A new request; `webhook_secret` is present if the upload had a `webhook_url`."""

    webhook_secret = serializers.CharField(source="webhook_endpoint.secret", required=False)

    class Meta(RequestSerializer.Meta):
        model = Request
        fields = [*RequestSerializer.Meta.fields, "webhook_secret"]

    def to_representation(self, instance: Request) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)
        if not instance.webhook_url:
            del shown["webhook_secret"]
        return shown


class UrlsField(serializers.ListField):
    """A list of URLs, or the same as text separated by commas, as the earlier system sent it."""

    child = serializers.CharField(allow_blank=True, max_length=MAX_URL)

    def to_internal_value(self, data: Any) -> list[str]:
        urls: list[str] = super().to_internal_value(split_urls(data) if isinstance(data, str) else data)
        return urls


class ReportSerializer(serializers.Serializer[Request]):
    """The outcome of a product's pictures."""

    request_id = serializers.UUIDField(help_text="Id of the product.")
    status = serializers.ChoiceField(REPORTED)
    output_image_urls = UrlsField(required=False, allow_null=True, default=list)


class ReportTakenSerializer(serializers.Serializer[Request]):
    """The answer to a report, as the earlier system gave it."""

    message = serializers.CharField()
