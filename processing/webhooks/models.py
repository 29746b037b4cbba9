"""Webhook endpoints, their deliveries (the outbox), and ids of messages received from external workers."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Self

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import models, transaction
from django.db.models import Count, Exists, Min, OuterRef, Q
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import timezone

from processing.timing import DELIVERY_LEASE_MARGIN_SECONDS, DELIVERY_SLICE_SECONDS
from processing.webhooks.signing import new_secret
from products.encryption import Encryption
from products.models import Request
from products.models.owned import OwnedQuerySet, is_granted, save_fields

#: Secrets of endpoints. They sign every delivery, so they cannot be stored as hashes.
SECRETS = Encryption("processing.webhooks.secrets")
#: After a rotation the previous secret signs for this long, beside the new one.
ROTATION_OVERLAP = timedelta(hours=24)
#: Registered endpoints of one user.
MAX_ENDPOINTS_PER_USER = 50
TOO_MANY_ENDPOINTS = f"You have reached the limit of {MAX_ENDPOINTS_PER_USER} endpoints. Delete one first."
#: Longer than the signature of an inbound message is valid, so that no message can be replayed.
INBOUND_RETENTION = timedelta(hours=1)


class Event(models.TextChoices):
    """Event types."""

    COMPLETED = "request.completed", "Request finished"
    CANCELED = "request.canceled", "Request canceled"
    FEED_FAILED = "feed.failed", "Feed failed"
    FEED_HELD = "feed.held", "Run of a feed held"
    FEED_MISSED = "feed.missed", "Run of a feed missed"
    TEST = "test", "Test"


class Kind(models.TextChoices):
    """Services that an endpoint may belong to. Only standard messages are signed."""

    STANDARD = "standard", "Standard Webhooks"
    SLACK = "slack", "Slack"
    TEAMS = "teams", "Microsoft Teams"
    DISCORD = "discord", "Discord"


#: Events that an endpoint can subscribe to. A test event goes to one endpoint, whatever it subscribes to.
EVENT_CHOICES = [(event.value, event.label) for event in Event if event != "test"]


def default_events() -> list[str]:
    return [Event.COMPLETED.value]


def new_encrypted_secret() -> str:
    """Return a new secret, encrypted for the database."""
    return SECRETS.encrypt(new_secret())


def lease_time() -> timedelta:
    """Return how long a lease of an endpoint lasts: longer than a slice and its last attempt."""
    return timedelta(
        seconds=DELIVERY_SLICE_SECONDS + settings.WEBHOOK_TIMEOUT + DELIVERY_LEASE_MARGIN_SECONDS
    )


def is_leased() -> Q:
    """Return the condition that an endpoint is leased, by the clock of the database.

    A lease that ends later than one that is taken now is none: the clock has been set back since.
    """
    return Q(leased_until__isnull=False, leased_until__gt=Now(), leased_until__lte=Now() + lease_time())


class WebhookEndpointQuerySet(OwnedQuerySet["WebhookEndpoint"]):
    def replayable_by(self, user: User | AnonymousUser) -> Self:
        """Endpoints whose events `user` may redeliver: it takes the permission to change deliveries."""
        return self.all() if is_granted(user, WebhookDelivery, "change") else self.owned_by(user)

    def has_reached_limit(self, user: User | AnonymousUser) -> bool:
        """Return whether `user` may register no more endpoints."""
        return self.registered().owned_by(user).count() >= MAX_ENDPOINTS_PER_USER

    def registered(self) -> Self:
        """Exclude endpoints that were named by an upload and serve that one Request."""
        return self.filter(request=None)

    def disabled_by_system(self) -> Self:
        """Registered endpoints that were disabled by the service or by staff, not by their owner."""
        return self.registered().filter(enabled=False).exclude(disabled_reason="")

    def subscribed_to(self, batch: Request, event: str) -> list["WebhookEndpoint"]:
        """Return the endpoints to notify of an event of a Request, disabled ones included.

        Their rows are locked, so that none is deleted, enabled or disabled before the transaction ends.
        """
        return self._locked(Q(request=None, owner=batch.owner_id) | Q(request=batch), event)

    def subscribed_to_feeds(self, owner_id: int, event: str) -> list["WebhookEndpoint"]:
        """Return the endpoints to notify of an event of a user's feed, as `subscribed_to` does."""
        return self._locked(Q(request=None, owner=owner_id), event)

    def _locked(self, condition: Q, event: str) -> list["WebhookEndpoint"]:
        locked = self.filter(condition).order_by("pk").select_for_update(no_key=True)
        return [endpoint for endpoint in locked if event in endpoint.events]

    def lock_enabled(self) -> Self:
        """Enabled endpoints, locked so that none is deleted or disabled before the transaction ends."""
        return self.filter(enabled=True).order_by("pk").select_for_update(no_key=True)

    def due(self) -> Self:
        """Endpoints with a due delivery that are enabled, not paused and not leased."""
        return self.filter(
            ~is_leased(),
            Q(resume_at=None) | Q(resume_at__lte=timezone.now()),
            Exists(WebhookDelivery.objects.due().filter(endpoint=OuterRef("pk"))),
            enabled=True,
        )

    def leased(self) -> Self:
        """Endpoints to which a worker is delivering."""
        return self.filter(is_leased())

    def lease(self) -> bool:
        """Lease the endpoint of this query, with a new token. Return False if there is none."""
        return self.update(lease=uuid.uuid4(), leased_until=Now() + lease_time()) == 1

    def release(self, token: uuid.UUID | None) -> None:
        """End the lease with this token. Another one, taken after it had expired, stays."""
        self.filter(lease=token).update(lease=None, leased_until=None)

    def release_leases(self) -> None:
        """Drop every lease, and treat every message as lost. No other worker may be alive."""
        self.update(lease=None, leased_until=None, enqueued_at=None)


class WebhookEndpoint(models.Model):
    """A URL that receives the events of its owner's Requests, or of the one Request whose upload named it.

    A worker leases the endpoint and sends its deliveries one after another; `lease` is the token of that
    lease, which ends at `leased_until`. While the receiver is overloaded, it is paused until `resume_at`.
    `enqueued_at` is when recovery last enqueued it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="webhook_endpoints")
    request = models.OneToOneField(
        Request, models.CASCADE, null=True, blank=True, related_name="webhook_endpoint"
    )
    url = models.CharField("URL", max_length=2048)
    description = models.CharField(max_length=200, blank=True)
    kind = models.CharField(max_length=8, choices=Kind, default=Kind.STANDARD, db_default=Kind.STANDARD)
    events = models.JSONField(default=default_events)
    encrypted_secret = models.TextField(default=new_encrypted_secret, editable=False)
    previous_secrets = models.JSONField(
        default=list, editable=False, help_text="Pairs of an encrypted secret and the time when it expires."
    )

    enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=200, blank=True)
    failing_since = models.DateTimeField(null=True, blank=True)
    resume_at = models.DateTimeField(null=True, blank=True)
    lease = models.UUIDField(null=True, blank=True, editable=False)
    leased_until = models.DateTimeField(null=True, blank=True)
    enqueued_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = WebhookEndpointQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return self.url

    def get_absolute_url(self) -> str:
        return reverse("webhook", args=[self.pk])

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the endpoint with its deliveries."""
        with transaction.atomic():
            # FOR UPDATE: a transaction that publishes an event to this endpoint waits, then skips it.
            WebhookEndpoint.objects.select_for_update().filter(pk=self.pk).first()
            return super().delete(*args, **kwargs)

    @property
    def event_labels(self) -> list[str]:
        """The events that are sent, as pages name them."""
        return [label for event, label in EVENT_CHOICES if event in self.events]

    @property
    def secret(self) -> str:
        """The current secret. Raises UnreadableSecret."""
        return SECRETS.decrypt(self.encrypted_secret)

    @property
    def signing_secrets(self) -> list[str]:
        """The secrets that sign deliveries now, newest first; none for chats. Raises UnreadableSecret."""
        if self.kind != Kind.STANDARD:
            return []
        return [
            self.secret,
            *(SECRETS.decrypt(encrypted) for encrypted, _expires_at in self._unexpired_secrets()),
        ]

    def rotate_secret(self) -> None:
        """Replace the secret. The previous one keeps signing for another 24 hours."""
        with transaction.atomic():
            locked = WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=self.pk)
            expires_at = timezone.now() + ROTATION_OVERLAP
            previous = [locked.encrypted_secret, expires_at.isoformat()]
            self.previous_secrets = [previous, *locked._unexpired_secrets()]
            self.encrypted_secret = new_encrypted_secret()
            save_fields(self, ["encrypted_secret", "previous_secrets"])

    def _unexpired_secrets(self) -> list[Sequence[str]]:
        now = timezone.now()
        return [pair for pair in self.previous_secrets if datetime.fromisoformat(pair[1]) > now]

    def disable(self, reason: str = "") -> bool:
        """Stop delivering and mark pending deliveries as missed. False if it is disabled already.

        `reason` is shown to the owner; it stays empty if the owner disables the endpoint.
        """
        with transaction.atomic():
            enabled = WebhookEndpoint.objects.filter(pk=self.pk, enabled=True)
            if not enabled.update(enabled=False, disabled_reason=reason):
                return False
            self.enabled, self.disabled_reason = False, reason
            self.deliveries.all().mark_missed()
            return True

    def enable(self) -> None:
        """Deliver events again, beginning with the next one."""
        disabled = WebhookEndpoint.objects.filter(pk=self.pk, enabled=False)
        disabled.update(enabled=True, disabled_reason="", failing_since=None, resume_at=None)
        self.refresh_from_db()


class DeliveryStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    DELIVERED = "delivered", "Delivered"
    FAILED = "failed", "Failed"
    MISSED = "missed", "Missed"


class WebhookDeliveryQuerySet(OwnedQuerySet["WebhookDelivery"]):
    """Deliveries belong to the owner of their endpoint."""

    owner_lookup = "endpoint__owner"

    def pending(self) -> Self:
        return self.filter(status=DeliveryStatus.PENDING)

    def due(self) -> Self:
        """Pending deliveries whose next attempt is due."""
        return self.pending().filter(next_attempt_at__lte=timezone.now())

    def waiting(self) -> dict[str, Any]:
        """Return the `count` of pending deliveries, and `since` when the oldest one waits."""
        return self.pending().aggregate(count=Count("pk"), since=Min("created_at"))

    def with_status(self, status: str, since: datetime | None = None) -> Self:
        """Deliveries with this status, optionally only of events from `since` on."""
        found = self.filter(status=status)
        return found.filter(created_at__gte=since) if since else found

    def of_no_request_before(self, moment: datetime) -> Self:
        """Tests and events of feeds before `moment` that are not pending. Requests delete their own."""
        return self.filter(request=None, created_at__lt=moment).exclude(status=DeliveryStatus.PENDING)

    def mark_missed(self) -> int:
        """Mark pending deliveries as missed, because their endpoint is disabled. Return their number."""
        return self.pending().update(status=DeliveryStatus.MISSED, next_attempt_at=None)


class WebhookDelivery(models.Model):
    """An event to be delivered to an endpoint. Its id is the `webhook-id`, the same in all attempts.

    pending → delivered | failed (ten attempts, or 410 Gone) | missed (the endpoint is disabled), and from
    each of these back to pending when it is redelivered.
    """

    Status = DeliveryStatus

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    endpoint = models.ForeignKey(WebhookEndpoint, models.CASCADE, related_name="deliveries", db_index=False)
    event = models.CharField(max_length=30, choices=Event)
    request = models.ForeignKey(
        Request, models.CASCADE, null=True, blank=True, related_name="webhook_deliveries"
    )
    run = models.PositiveIntegerField(default=0)
    payload = models.TextField(help_text="The request body, exactly as it is sent.")
    status = models.CharField(max_length=9, choices=Status, default=Status.PENDING)
    next_attempt_at = models.DateTimeField(null=True, blank=True, default=timezone.now)
    failures = models.PositiveSmallIntegerField(
        default=0, help_text="Failed attempts since the event or the last redelivery."
    )
    attempts = models.JSONField(default=list)
    created_at = models.DateTimeField(default=timezone.now)

    objects = WebhookDeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "webhook deliveries"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["endpoint", "event", "request", "run"], name="delivery_once_per_run"
            ),
            models.CheckConstraint(
                condition=Q(status="pending", next_attempt_at__isnull=False)
                | (~Q(status="pending") & Q(next_attempt_at=None)),
                name="delivery_pending_has_next_attempt",
            ),
        ]
        indexes = [
            # WebhookEndpoint.objects.due(), and the next delivery of an endpoint.
            models.Index(
                fields=["endpoint", "next_attempt_at"], name="delivery_due", condition=Q(status="pending")
            ),
            models.Index(fields=["endpoint", "-created_at", "-id"], name="delivery_of_endpoint"),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.pk}"

    def get_absolute_url(self) -> str:
        return reverse("delivery", args=[self.pk])

    @property
    def body(self) -> bytes:
        return self.payload.encode()

    @property
    def latest_attempts(self) -> list[dict[str, Any]]:
        """The attempts, newest first, with `at` as a datetime."""
        return [{**attempt, "at": datetime.fromisoformat(attempt["at"])} for attempt in self.attempts[::-1]]


class InboundMessage(models.Model):
    """The `webhook-id` of a message from an external worker that was processed."""

    id = models.CharField(primary_key=True, max_length=255)
    received_at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return self.id

    @classmethod
    def is_new(cls, message_id: str) -> bool:
        """Store an id in the transaction that processes its message. False if it is stored already."""
        cls.objects.filter(received_at__lt=timezone.now() - INBOUND_RETENTION).delete()
        _, is_new = cls.objects.get_or_create(id=message_id)
        return is_new
