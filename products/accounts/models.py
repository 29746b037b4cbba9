"""API tokens: shown once, kept as a hash."""

import hashlib
import secrets
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.utils import timezone

PREFIX = "ie_"


def _digest(key: str) -> str:
    # A random key of 256 bits cannot be guessed, so that a slow password hash would only cost time.
    return hashlib.sha256(key.encode()).hexdigest()


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def issue(self, user: User, name: str = "") -> str:
        """Make a token for `user`; the key itself, which cannot be had a second time."""
        token = self.model(user=user, name=name)
        token.set_key()
        token.save()
        return token.key

    def lookup(self, key: str) -> "ApiToken | None":
        """The token of an active user with this key; notes its use, to the minute."""
        token = self.filter(digest=_digest(key), user__is_active=True).select_related("user").first()
        now = timezone.now()
        if token and (token.last_used_at is None or now - token.last_used_at > timedelta(minutes=1)):
            self.filter(pk=token.pk).update(last_used_at=now)
        return token


class ApiToken(models.Model):
    """Lets a program act as its user: `Authorization: Token ie_…`."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_tokens")
    name = models.CharField(
        max_length=100, blank=True, default="", db_default="", help_text="What it is for."
    )
    digest = models.CharField(max_length=64, unique=True)
    hint = models.CharField(max_length=8, help_text="The key's first characters, to tell tokens apart.")
    created_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(null=True, blank=True)
    key = ""  # in memory alone, where the token was made

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API token"

    def __str__(self) -> str:
        return f"{self.hint}…"

    def set_key(self) -> None:
        """Give an unsaved token its `key`, of which only the hash is kept."""
        self.key = PREFIX + secrets.token_urlsafe(32)
        self.digest, self.hint = _digest(self.key), self.key[: len(PREFIX) + 4]
