"""API tokens. The key is shown once; only its hash is stored."""

import hashlib
import secrets
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.utils import timezone

KEY_PREFIX = "ie_"


def _digest(key: str) -> str:
    # A fast hash suffices: a random key of 256 bits cannot be guessed.
    return hashlib.sha256(key.encode()).hexdigest()


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def issue(self, user: User, name: str = "") -> str:
        """Create a token for `user` and return its key, which cannot be read again later."""
        token = self.model(user=user, name=name)
        token.set_key()
        token.save()
        return token.key

    def lookup(self, key: str) -> "ApiToken | None":
        """Return the token with this key if its user is active.

        Updates `last_used_at` at most once a minute.
        """
        token = self.filter(digest=_digest(key), user__is_active=True).select_related("user").first()
        now = timezone.now()
        if token and (token.last_used_at is None or now - token.last_used_at > timedelta(minutes=1)):
            self.filter(pk=token.pk).update(last_used_at=now)
        return token


class ApiToken(models.Model):
    """Lets a program act as its user: `Authorization: Token ie_…`."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_tokens")
    name = models.CharField(
        max_length=100,
        blank=True,
        default="",
        db_default="",
        help_text="What the token is for, such as a nightly import.",
    )
    digest = models.CharField(max_length=64, unique=True)
    hint = models.CharField(max_length=8, help_text="The first characters of the key.")
    created_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(null=True, blank=True)
    key = ""  # set by set_key(), never stored

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API token"

    def __str__(self) -> str:
        return f"{self.hint}…"

    def set_key(self) -> None:
        """Generate the key of an unsaved token. Only its hash is stored."""
        self.key = KEY_PREFIX + secrets.token_urlsafe(32)
        self.digest, self.hint = _digest(self.key), self.key[: len(KEY_PREFIX) + 4]


class MailChoices(models.Model):
    """The occasions on which a user wants an e-mail. A user without a row wants none."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="mail_choices"
    )
    finished = models.BooleanField("a request has finished", default=False)
    finished_with_errors = models.BooleanField("a request has finished with errors", default=False)
    feed_failed = models.BooleanField("a feed has failed, is held or is late", default=False)

    def __str__(self) -> str:
        return f"Mail choices of {self.user}"
