"""What is delivered, to whom, and how it went."""

import uuid
from datetime import datetime, timedelta
from typing import Any, Self

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import models, transaction
from django.db.models import Count, Exists, Min, OuterRef, Q
from django.urls import reverse
from django.utils import timezone

from processing.webhooks.models.endpoint import Event, WebhookEndpoint
from processing.webhooks.sending import Attempt
from processing.webhooks.signals import deliveries_due
from products.models import Request

#: Seconds for which an endpoint is taken in hand: a slice, its last attempt (WEBHOOK_TIMEOUT), and some more,
#: since a name lookup cannot be interrupted.
SLICE_SECONDS, SLACK_SECONDS = 5, 10
#: A message that has not been taken up for so long is sent again.
CALL_AGAIN_AFTER = timedelta(seconds=30)


class DeliveryStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    DELIVERED = "delivered", "Delivered"
    FAILED = "failed", "Failed"
    MISSED = "missed", "Missed"


class WebhookDeliveryQuerySet(models.QuerySet["WebhookDelivery"]):
    def visible_to(self, user: User | AnonymousUser) -> Self:
        """Staff see every delivery, others those to their own endpoints."""
        return self if user.is_staff else self.filter(endpoint__owner=user)

    def pending(self) -> Self:
        return self.filter(status=DeliveryStatus.PENDING)

    def waiting(self) -> dict[str, Any]:
        """The `count` of those that have yet to get through, and `since` when the first of them waits."""
        return self.pending().aggregate(count=Count("pk"), since=Min("created_at"))

    def due(self) -> Self:
        return self.pending().filter(next_attempt_at__lte=timezone.now())

    def endpoints_due(self) -> models.QuerySet[WebhookEndpoint]:
        """Free endpoints to which one of these is due."""
        return WebhookEndpoint.objects.free().filter(Exists(self.due().filter(endpoint=OuterRef("pk"))))

    def take_endpoint(self, pk: uuid.UUID) -> WebhookEndpoint | None:
        """Take an endpoint in hand if something is due there; None if not, or if somebody else has it."""
        lease = timedelta(seconds=SLICE_SECONDS + settings.WEBHOOK_TIMEOUT + SLACK_SECONDS)
        taken = self.endpoints_due().filter(pk=pk).update(leased_until=timezone.now() + lease)
        return WebhookEndpoint.objects.filter(pk=pk).first() if taken else None

    def endpoints_to_call(self) -> list[uuid.UUID]:
        """Endpoints where something is due and of which no message was sent lately: each for one caller."""
        now = timezone.now()
        silent = self.endpoints_due().filter(Q(called_at=None) | Q(called_at__lte=now - CALL_AGAIN_AFTER))
        found = list(silent.values_list("pk", flat=True))
        return [pk for pk in found if silent.filter(pk=pk).update(called_at=now)]

    def write(self, event: str, payload: str, batch: Request) -> None:
        """Write a delivery of this event of a Request for every endpoint that it is for, once per run.

        Inside the caller's transaction: what makes the event true and its deliveries come or go together.
        """
        endpoints = WebhookEndpoint.objects.told_of(batch, event)
        fields = {"event": event, "payload": payload, "request": batch, "run": batch.run}
        rows = [
            WebhookDelivery(endpoint=endpoint, **fields)
            if endpoint.enabled
            else WebhookDelivery(endpoint=endpoint, **fields, **MISSED)
            for endpoint in endpoints
        ]
        self.bulk_create(rows, ignore_conflicts=True)
        if ready := [endpoint.pk for endpoint in endpoints if endpoint.enabled]:
            deliveries_due.send(WebhookDelivery, endpoint_ids=ready)

    def miss(self) -> int:
        """What waits will not go out: its endpoint is disabled; how many."""
        return self.pending().update(**MISSED)

    def settled(self, status: str, since: datetime | None = None) -> Self:
        """Those in this final status, of events from `since` on."""
        found = self.filter(status=status)
        return found.filter(created_at__gte=since) if since else found

    def tests_before(self, moment: datetime) -> Self:
        """Those that were only to try an endpoint, and are over. The others go with their Requests."""
        return self.filter(event=Event.TEST, created_at__lt=moment).exclude(status=DeliveryStatus.PENDING)

    def redeliver(self) -> int:
        """Let those to enabled endpoints go out now, as if for the first time; how many."""
        with transaction.atomic():
            named = WebhookEndpoint.objects.filter(pk__in=set(self.values_list("endpoint", flat=True)))
            endpoints = list(named.enabled_and_locked())
            again = {"status": DeliveryStatus.PENDING, "next_attempt_at": timezone.now(), "failures": 0}
            count = self.filter(endpoint__in=endpoints).update(**again)
            for endpoint in endpoints:
                endpoint.call_now()
            return count


class WebhookDelivery(models.Model):
    """One event for one endpoint. Its id is the message's `webhook-id`, the same over attempts and replays.

    pending → delivered | failed (ten attempts, or the endpoint is gone) | missed (the endpoint is disabled),
    and from each of these back to pending by a replay.
    """

    Status = DeliveryStatus

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    endpoint = models.ForeignKey(WebhookEndpoint, models.CASCADE, related_name="deliveries", db_index=False)
    event = models.CharField(max_length=30, choices=Event)
    request = models.ForeignKey(
        Request, models.CASCADE, null=True, blank=True, related_name="webhook_deliveries"
    )
    run = models.PositiveIntegerField(default=0)
    payload = models.TextField(help_text="The body, exactly as it is sent.")
    status = models.CharField(max_length=9, choices=Status, default=Status.PENDING)
    next_attempt_at = models.DateTimeField(null=True, blank=True, default=timezone.now)
    failures = models.PositiveSmallIntegerField(default=0, help_text="Since it was last to go out.")
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
            # WebhookEndpoint.objects.due(), and the next one of an endpoint.
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
    def shown_attempts(self) -> list[dict[str, Any]]:
        """The attempts, the latest first, with their times as such."""
        return [{**one, "at": datetime.fromisoformat(one["at"])} for one in reversed(self.attempts)]

    def redeliver(self) -> bool:
        """Let it go out now, as if for the first time. False where its endpoint is disabled."""
        count = WebhookDelivery.objects.filter(pk=self.pk).redeliver()
        self.refresh_from_db()
        return count == 1

    def record(self, attempt: Attempt, delay: float | None) -> None:
        """Note an attempt; after a failure the next one follows in `delay` seconds, if any.

        That a delivery has got through holds whatever happened to it meanwhile.
        """
        self.attempts.append(attempt.as_json())
        row = WebhookDelivery.objects.filter(pk=self.pk)
        if attempt.succeeded:
            settled = {"status": DeliveryStatus.DELIVERED, "next_attempt_at": None}
            row.update(attempts=self.attempts, **settled)
            return
        outcome: dict[str, Any] = {"failures": self.failures + 1, "next_attempt_at": None}
        if delay is None:
            outcome["status"] = DeliveryStatus.FAILED
        else:
            outcome["next_attempt_at"] = timezone.now() + timedelta(seconds=delay)
        if not row.pending().update(attempts=self.attempts, **outcome):
            row.update(attempts=self.attempts)


MISSED = {"status": DeliveryStatus.MISSED, "next_attempt_at": None}
