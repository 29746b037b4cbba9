"""The JSON shapes of webhooks."""

from typing import Any

from rest_framework import serializers

from processing.webhooks.inbound import split_urls
from processing.webhooks.models import (
    EVENT_CHOICES,
    DeliveryStatus,
    WebhookDelivery,
    WebhookEndpoint,
    default_events,
)
from products.api.serializers import RequestSerializer, check_url
from products.catalogue import MAX_URL
from products.models import Request

REPLAYABLE = [(one.value, one.label) for one in (DeliveryStatus.FAILED, DeliveryStatus.MISSED)]
REPORTED = [("Completed", "Completed"), ("Failed", "Failed")]


class EndpointSerializer(serializers.ModelSerializer[WebhookEndpoint]):
    """A registered endpoint."""

    url = serializers.CharField(max_length=MAX_URL, validators=[check_url])
    events = serializers.MultipleChoiceField(choices=EVENT_CHOICES, allow_empty=False, required=False)
    enabled = serializers.BooleanField(required=False)

    class Meta:
        model = WebhookEndpoint
        fields = ["id", "url", "description", "events", "enabled", "disabled_reason", "created_at"]
        read_only_fields = ["disabled_reason", "created_at"]

    def validate_events(self, events: set[str]) -> list[str]:
        return sorted(events)

    def create(self, validated_data: dict[str, Any]) -> WebhookEndpoint:
        return WebhookEndpoint.objects.create(**{"events": default_events(), **validated_data})

    def update(self, instance: WebhookEndpoint, validated_data: dict[str, Any]) -> WebhookEndpoint:
        enabled = validated_data.pop("enabled", instance.enabled)
        for name, value in validated_data.items():
            setattr(instance, name, value)
        instance.save(update_fields=[*validated_data])
        if enabled != instance.enabled:
            instance.enable() if enabled else instance.disable()
        return instance

    def to_representation(self, instance: WebhookEndpoint) -> dict[str, Any]:
        return {**super().to_representation(instance), "events": instance.events}


class NewEndpointSerializer(EndpointSerializer):
    """An endpoint with its secret, which is shown on creation and rotation only."""

    secret = serializers.CharField(read_only=True, help_text="`whsec_…`: verifies what is delivered.")

    class Meta(EndpointSerializer.Meta):
        fields = [*EndpointSerializer.Meta.fields, "secret"]


class AttemptSerializer(serializers.Serializer[dict[str, Any]]):
    """One attempt to deliver."""

    at = serializers.DateTimeField()
    status = serializers.IntegerField(allow_null=True, help_text="The HTTP status, if there was an answer.")
    ms = serializers.IntegerField(help_text="How long it took, in milliseconds.")
    answer = serializers.CharField(help_text="The first 1,000 characters of the answer's body.")
    error = serializers.CharField(help_text="Why it failed, as a code; empty after a success.")


class DeliverySerializer(serializers.ModelSerializer[WebhookDelivery]):
    """An event for an endpoint, and how its delivery went. `id` is the message's `webhook-id`."""

    attempts = AttemptSerializer(many=True, read_only=True)

    class Meta:
        model = WebhookDelivery
        fields = [
            *("id", "endpoint", "event", "request", "run", "status", "created_at", "next_attempt_at"),
            *("attempts", "payload"),
        ]


class ReplaySerializer(serializers.Serializer[WebhookDelivery]):
    """Which deliveries are to go out again."""

    status = serializers.ChoiceField(REPLAYABLE)
    since = serializers.DateTimeField(required=False, help_text="Only events from then on.")


class ReplayedSerializer(serializers.Serializer[WebhookDelivery]):
    """How many deliveries go out again."""

    deliveries = serializers.IntegerField()


class SubmittedSerializer(RequestSerializer):
    """A Request just uploaded; `webhook_secret` is there if the upload had a `webhook_url`."""

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
    """A list of URLs, or the earlier system's text that joins them by commas."""

    child = serializers.CharField(allow_blank=True, max_length=MAX_URL)

    def to_internal_value(self, data: Any) -> list[str]:
        urls: list[str] = super().to_internal_value(split_urls(data) if isinstance(data, str) else data)
        return urls


class ReportSerializer(serializers.Serializer[Request]):
    """What an external worker reports about a Product."""

    request_id = serializers.UUIDField(help_text="The Product's id.")
    status = serializers.ChoiceField(REPORTED)
    output_image_urls = UrlsField(required=False, allow_null=True, default=list)
