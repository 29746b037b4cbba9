"""The JSON of feeds."""

from typing import Any

from django.db import transaction
from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from products.api.options import KnownFieldsMixin
from products.api.serializers import ProfileNameSerializer
from products.catalogue import MAX_URL
from products.feeds.deliveries import set_target
from products.feeds.headers import check_headers
from products.feeds.models import Feed, FeedDelivery, FeedRun, FeedRunStatus, WhenUnchanged
from products.feeds.schedule import MAX_SCHEDULE_CHARACTERS, check_schedule, time_zones
from products.feeds.validators import validate_feed_url, validate_target
from products.models import Profile, RequestStatus
from products.models.owned import save_fields

#: Every status that `last_run` may have.
STATUSES = [*FeedRunStatus.choices, (RequestStatus.PENDING.value, RequestStatus.PENDING.label)]
#: Fields that decide when a feed runs next.
TIMING = ("schedule", "time_zone", "enabled")


class ScheduleField(serializers.CharField):
    """Five cron fields; null for none."""

    def to_internal_value(self, data: Any) -> str:
        try:
            return check_schedule(super().to_internal_value(data))
        except ValueError as error:
            raise serializers.ValidationError(str(error), "invalid") from error

    def to_representation(self, value: str) -> str | None:  # type: ignore[override]  # null for none
        return value or None


@extend_schema_field({"type": "object", "additionalProperties": {"type": "string"}})
class HeadersField(serializers.Field[dict[str, str], Any, Any, Any]):
    """Headers as an object."""

    def to_internal_value(self, data: Any) -> dict[str, str]:
        try:
            return check_headers(data)
        except ValueError as error:
            raise serializers.ValidationError(str(error), "invalid") from error


@extend_schema_field({"type": "string"})
class ProfileField(serializers.Field[Profile, str, Any, Any]):
    """One of the profiles of the feed's owner, by its name or id."""

    def to_internal_value(self, data: Any) -> Profile:
        feed = getattr(self.root, "instance", None)
        usable = Profile.objects.usable_by(feed.owner if feed else self.context["request"].user)
        if isinstance(data, str) and "\0" not in data and (profile := usable.named(data)):
            return profile
        sentence = "There is no such profile. Use the name or the id of one of your profiles."
        raise serializers.ValidationError(sentence, "unknown_profile")


class LastRunSerializer(serializers.ModelSerializer[FeedRun]):
    """The latest run of a feed."""

    request = serializers.UUIDField(source="request_id", allow_null=True)
    status = serializers.ChoiceField(STATUSES, source="shown_status")
    at = serializers.DateTimeField(source="started_at")
    error = serializers.SerializerMethodField()

    class Meta:
        model = FeedRun
        fields = ["request", "status", "at", "error"]

    @extend_schema_field({"type": "string", "nullable": True})
    def get_error(self, run: FeedRun) -> str | None:
        return run.error or None


class DeliveredSerializer(serializers.ModelSerializer[FeedDelivery]):
    """The latest delivery of a feed's result."""

    at = serializers.DateTimeField(
        source="delivered_at", allow_null=True, help_text="Of the latest delivery; null before the first."
    )
    error = serializers.SerializerMethodField()

    class Meta:
        model = FeedDelivery
        fields = ["at", "error"]

    @extend_schema_field({"type": "string", "nullable": True})
    def get_error(self, delivery: FeedDelivery) -> str | None:
        """Return why the latest attempt has failed."""
        return delivery.error or None


class FeedDataSerializer(serializers.ModelSerializer[Feed]):
    """A feed in webhooks: without `latest_url`, which whoever has it may read."""

    profile = ProfileNameSerializer(allow_null=True)
    schedule = ScheduleField(allow_null=True)
    headers = serializers.ListField(
        child=serializers.CharField(), source="header_names", help_text="Names of the headers."
    )
    last_run = LastRunSerializer(allow_null=True)
    deliver_to = serializers.CharField(
        allow_null=True, help_text="With … in place of name, password and query."
    )
    delivered = serializers.SerializerMethodField()

    class Meta:
        model = Feed
        fields = [
            *("id", "name", "url", "profile", "schedule", "time_zone", "enabled", "when_unchanged"),
            *("headers", "next_run_at", "last_run", "deliver_to", "delivered"),
        ]

    @extend_schema_field(DeliveredSerializer(allow_null=True))
    def get_delivered(self, feed: Feed) -> dict[str, Any] | None:
        """Return how deliveries went; null before the first attempt."""
        delivery = FeedDelivery.of(feed)
        return dict(DeliveredSerializer(delivery).data) if delivery and delivery.was_tried else None


class FeedSerializer(FeedDataSerializer):
    """A feed."""

    latest_url = serializers.CharField(help_text="Of the latest result, for whoever has this URL.")

    class Meta(FeedDataSerializer.Meta):
        fields = [*FeedDataSerializer.Meta.fields, "latest_url"]


class FeedSettingsSerializer(KnownFieldsMixin, serializers.ModelSerializer[Feed]):
    """Writable fields of a feed. The answer is the whole feed."""

    url = serializers.CharField(max_length=MAX_URL, validators=[validate_feed_url])
    profile = ProfileField(
        required=False,
        allow_null=True,
        help_text="Name or id of a profile, whose options every run has; null: the one whose header matches.",
    )
    schedule = ScheduleField(
        required=False,
        allow_null=True,
        max_length=MAX_SCHEDULE_CHARACTERS,
        help_text="Five cron fields, such as `30 2 * * *`; null: only by hand.",
    )
    time_zone = serializers.CharField(
        required=False, help_text="Name of an IANA time zone, such as Europe/Paris."
    )
    enabled = serializers.BooleanField(required=False)
    when_unchanged = serializers.ChoiceField(WhenUnchanged.choices, required=False)
    headers = HeadersField(
        required=False,
        help_text="Sent with the fetch, but not to another host by a redirect. Answers have the names only.",
    )

    deliver_to = serializers.CharField(
        required=False,
        allow_null=True,
        max_length=MAX_URL,
        help_text="Where the result of each good run is delivered to: a URL, by PUT; `storage`, under the "
        "key `results/{id}/latest.csv`; null: nowhere.",
    )

    class Meta:
        model = Feed
        fields = [
            *("name", "url", "profile", "schedule", "time_zone", "enabled", "when_unchanged", "headers"),
            "deliver_to",
        ]

    def validate_deliver_to(self, target: str | None) -> str | None:
        if target and (self.instance is None or target != self.instance.deliver_to):
            validate_target(target)
        return target

    def validate_schedule(self, schedule: str | None) -> str:
        return schedule or ""

    def validate_time_zone(self, name: str) -> str:
        if name not in time_zones():
            raise serializers.ValidationError("There is no such time zone.", "invalid")
        return name

    def create(self, validated_data: dict[str, Any]) -> Feed:
        target = validated_data.pop("deliver_to", None)
        return save_new(Feed(**validated_data), target)

    def update(self, instance: Feed, validated_data: dict[str, Any]) -> Feed:
        save_settings(instance, validated_data)
        return instance

    def to_representation(self, instance: Feed) -> dict[str, Any]:
        current = Feed.objects.with_last_run().get(pk=instance.pk)
        return dict(FeedSerializer(current, context=self.context).data)


def save_new(feed: Feed, target: str | None) -> Feed:
    """Save a new feed, whose results go to `target`, and whose first run is the next one of its schedule."""
    feed.next_run_at = feed.next_after(timezone.now())
    with transaction.atomic():
        feed.profile = Profile.objects.kept(feed.profile)
        feed.save(force_insert=True)
        set_target(feed, target)
    return feed


def save_settings(feed: Feed, changed: dict[str, Any]) -> None:
    """Save these fields of a feed alone, since workers change others at the same time.

    `deliver_to` among them is the target of its delivery.
    Raises ObjectDoesNotExist if it has been deleted.
    """
    before = [getattr(feed, name) for name in TIMING]
    fields = {"encrypted_headers" if name == "headers" else name for name in changed} - {"deliver_to"}
    for name in changed.keys() - {"deliver_to"}:
        setattr(feed, name, changed[name])
    if [getattr(feed, name) for name in TIMING] != before:
        feed.next_run_at = feed.next_after(timezone.now())
        fields.add("next_run_at")
    with transaction.atomic():
        feed.profile = Profile.objects.kept(feed.profile)
        save_fields(feed, fields)
        if "deliver_to" in changed:
            set_target(feed, changed["deliver_to"])
