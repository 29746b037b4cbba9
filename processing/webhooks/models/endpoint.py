"""Registered URLs, and how each is doing."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Self

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import models, transaction
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from processing.webhooks.secrets import seal, unseal
from processing.webhooks.signals import deliveries_due
from processing.webhooks.signing import new_secret
from products.models import Request

#: For how long the secret before a rotation goes on signing, beside the new one.
OVERLAP = timedelta(hours=24)
#: An endpoint to which nothing has got through for so long is disabled.
GIVEN_UP_AFTER = timedelta(days=5)


class Event(models.TextChoices):
    """What receivers are told."""

    COMPLETED = "request.completed", "A request has finished"
    CANCELED = "request.canceled", "A request was canceled"
    TEST = "test", "Test"


#: What an endpoint may ask for; a test reaches each.
EVENT_CHOICES = [(event.value, event.label) for event in (Event.COMPLETED, Event.CANCELED)]


def default_events() -> list[str]:
    return [Event.COMPLETED.value]


def new_sealed_secret() -> str:
    """A secret for a new endpoint, as it is kept."""
    return seal(new_secret())


class WebhookEndpointQuerySet(models.QuerySet["WebhookEndpoint"]):
    def visible_to(self, user: User | AnonymousUser) -> Self:
        """Staff see every endpoint, others their own."""
        return self if user.is_staff else self.filter(owner=user)

    def registered(self) -> Self:
        """Without those that were named by one upload, for its Request alone."""
        return self.filter(request=None)

    def given_up(self) -> Self:
        """Registered ones that were disabled without their owner's doing."""
        return self.registered().filter(enabled=False).exclude(disabled_reason="")

    def told_of(self, batch: Request, event: str) -> list["WebhookEndpoint"]:
        """Those that an event of a Request is for, locked so that none is deleted or disabled meanwhile."""
        own = Q(request=None, owner=batch.owner_id) | Q(request=batch)
        locked = self.filter(own).order_by("pk").select_for_update(no_key=True)
        return [endpoint for endpoint in locked if event in endpoint.events]

    def enabled_and_locked(self) -> Self:
        """Those that deliver, locked so that none is deleted or disabled meanwhile."""
        return self.filter(enabled=True).order_by("pk").select_for_update(no_key=True)

    def free(self) -> Self:
        """Those that deliver, and that nobody has in hand or leaves alone."""
        now = timezone.now()
        return self.filter(
            Q(resume_at=None) | Q(resume_at__lte=now),
            Q(leased_until=None) | Q(leased_until__lte=now),
            enabled=True,
        )

    def let_go(self) -> None:
        """Nobody has any of them in hand, and no message for them is on its way."""
        self.update(leased_until=None, called_at=None)


class WebhookEndpoint(models.Model):
    """A URL that is told of its owner's Requests, or of the one Request whose upload named it.

    Deliveries go out one after another, by the one who has the endpoint in hand (`leased_until`). In trouble
    it is left alone until `resume_at`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="webhook_endpoints")
    request = models.OneToOneField(
        Request, models.CASCADE, null=True, blank=True, related_name="webhook_endpoint"
    )
    url = models.CharField("URL", max_length=2048)
    description = models.CharField(max_length=200, blank=True)
    events = models.JSONField(default=default_events)
    sealed_secret = models.TextField(default=new_sealed_secret, editable=False)
    retired_secrets = models.JSONField(default=list, editable=False, help_text="Sealed, and until when.")

    enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=200, blank=True)
    failing_since = models.DateTimeField(null=True, blank=True)
    resume_at = models.DateTimeField(null=True, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    called_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = WebhookEndpointQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return self.url

    def get_absolute_url(self) -> str:
        return reverse("webhook", args=[self.pk])

    # --- Its secret ---

    @property
    def secret(self) -> str:
        """The secret itself. Raises SealBroken."""
        return unseal(self.sealed_secret)

    @property
    def secrets(self) -> list[str]:
        """The secrets that sign now, the newest first. Raises SealBroken."""
        return [self.secret, *(unseal(sealed) for sealed, _until in self._still_signing())]

    def rotate(self) -> None:
        """Make a new secret; the one before signs, too, for another 24 hours."""
        with transaction.atomic():
            locked = WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=self.pk)
            until = timezone.now() + OVERLAP
            self.retired_secrets = [[locked.sealed_secret, until.isoformat()], *locked._still_signing()]
            self.sealed_secret = new_sealed_secret()
            self.save(update_fields=["sealed_secret", "retired_secrets"])

    def _still_signing(self) -> list[Sequence[str]]:
        now = timezone.now()
        return [pair for pair in self.retired_secrets if datetime.fromisoformat(pair[1]) > now]

    # --- Its state ---

    def disable(self, reason: str = "") -> bool:
        """Deliver nothing more; what waits counts as missed. A `reason` is given where its owner did not ask.

        False when it is disabled already.
        """
        with transaction.atomic():
            enabled = WebhookEndpoint.objects.filter(pk=self.pk, enabled=True)
            if not enabled.update(enabled=False, disabled_reason=reason):
                return False
            self.enabled, self.disabled_reason = False, reason
            self.deliveries.all().miss()
            return True

    def enable(self) -> None:
        """Deliver again, from the next event on."""
        fresh: dict[str, Any] = {
            "enabled": True,
            "disabled_reason": "",
            "failing_since": None,
            "resume_at": None,
        }
        WebhookEndpoint.objects.filter(pk=self.pk, enabled=False).update(**fresh)
        self.refresh_from_db()

    def remove(self) -> None:
        """Delete it with its deliveries."""
        with transaction.atomic():
            # The whole lock: an event that is being written for it waits for this, and then passes it by.
            WebhookEndpoint.objects.select_for_update().filter(pk=self.pk).first()
            self.delete()

    def release(self) -> None:
        """Let others take it in hand."""
        mine = WebhookEndpoint.objects.filter(pk=self.pk, leased_until=self.leased_until)
        mine.update(leased_until=None)

    def note_success(self) -> None:
        """Something has got through."""
        if self.failing_since:
            WebhookEndpoint.objects.filter(pk=self.pk).update(failing_since=None)

    def note_failure(self, pause: float) -> bool:
        """Nothing has; leave it alone for `pause` seconds. True when that has been so for five days."""
        now = timezone.now()
        row = WebhookEndpoint.objects.filter(pk=self.pk)
        if self.failing_since is None:
            row.filter(failing_since=None).update(failing_since=now)
        if pause:
            row.update(resume_at=now + timedelta(seconds=pause))
        return self.failing_since is not None and now - self.failing_since >= GIVEN_UP_AFTER

    def call_now(self) -> None:
        """Let due deliveries go out now, pause or not."""
        WebhookEndpoint.objects.filter(pk=self.pk).update(resume_at=None)
        deliveries_due.send(WebhookEndpoint, endpoint_ids=[self.pk])
