"""Profiles: named sets of upload options."""

import uuid
from typing import Any, Self

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import IntegrityError, models, transaction
from django.db.models import Case, Q, Value, When
from django.urls import reverse
from django.utils import timezone

from products.catalogue import hash_of_header
from products.models.ids import parse_uuid
from products.models.owned import OwnedQuerySet

#: Profiles that one user may have.
MAX_PROFILES = 200
TOO_MANY_PROFILES = f"You have {MAX_PROFILES} profiles already. Delete one first."
NAME_TAKEN = "You already have a profile with this name."
NO_PUBLISHED_WEBHOOK = "A profile with a webhook URL cannot be published to all users."


class NameTaken(Exception):
    """The owner has another profile with this name."""


class ProfileQuerySet(OwnedQuerySet["Profile"]):
    def visible_to(self, user: User | AnonymousUser) -> Self:
        """Rows that `user` may see: staff all, other users their own and those published."""
        return super().visible_to(user) | self.filter(is_published=True)

    def usable_by(self, user: User | AnonymousUser) -> Self:
        """The user's own profiles, newest first, then those published by staff."""
        is_own = Q(owner=user.pk)
        order = Case(When(is_own, then=Value(0)), default=Value(1))
        return self.filter(is_own | Q(is_published=True)).order_by(order, "-created_at", "-id")

    def kept(self, profile: "Profile | None") -> "Profile | None":
        """Return the profile, locked against deletion until the transaction ends; None if it is deleted."""
        locked = self.select_for_update(no_key=True).filter(pk=profile.pk) if profile else self.none()
        return profile if locked.only("pk").first() else None

    def named(self, text: str) -> "Profile | None":
        """Return the first profile with this id or name."""
        if "\0" in text:  # which PostgreSQL does not accept
            return None
        pk = parse_uuid(text)
        return (self.filter(pk=pk).first() if pk else None) or self.filter(name=text).first()


class Profile(models.Model):
    """A named set of upload options of one user. Staff can publish one to all users.

    `options` has those that were chosen, by their names in the API. With a `header` it is chosen for
    catalogues that have the same columns.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="profiles")
    name = models.CharField(max_length=100)
    options = models.JSONField(default=dict, blank=True)
    webhook_url = models.CharField(max_length=2048, blank=True, default="")
    header = models.JSONField(null=True, blank=True, help_text="Column names, as in a catalogue.")
    # That of Request for catalogues with this header; blank without one.
    header_hash = models.CharField(max_length=64, blank=True, default="", editable=False)
    is_published = models.BooleanField("published", default=False, help_text="All users can choose it.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = ProfileQuerySet.as_manager()

    class Meta:
        ordering = ["name", "created_at"]
        constraints = [models.UniqueConstraint(fields=["owner", "name"], name="profile_name")]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the profile. Raises NameTaken, also where the other one was saved at the same time.

        Raises Profile.DoesNotExist if it has been deleted since it was read.
        """
        self.header_hash = hash_of_header(self.header) if self.header else ""
        try:
            with transaction.atomic():
                if not self._state.adding:
                    Profile.objects.select_for_update().only("pk").get(pk=self.pk)
                super().save(*args, **kwargs)
        except IntegrityError as error:
            if not Profile.objects.filter(owner=self.owner_id, name=self.name).exclude(pk=self.pk).exists():
                raise
            raise NameTaken from error

    def get_absolute_url(self) -> str:
        return reverse("profile", args=[self.pk])

    @property
    def upload_options(self) -> dict[str, Any]:
        """The options that an upload gets from it, as fields of a Request."""
        options: dict[str, Any] = self.options
        return options | ({"webhook_url": self.webhook_url} if self.webhook_url else {})
