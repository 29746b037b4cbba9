"""Drafts of uploads."""

import uuid
from datetime import timedelta
from typing import Self

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone

from products.models.files import uploads_storage

#: Prune deletes older files.
KEPT = timedelta(days=1)


def draft_path(draft: "Draft", filename: str) -> str:
    """Return the name under which a draft's file is stored."""
    return f"draft-{draft.pk}"


class DraftQuerySet(models.QuerySet["Draft"]):
    """Queries for drafts."""

    def current(self) -> Self:
        """Return those whose files are kept still, the newest first."""
        return self.filter(created_at__gt=timezone.now() - KEPT).order_by("-created_at")


class Draft(models.Model):
    """A catalogue uploaded by the form and not submitted yet.

    `options` are those of the form. The counts are those of the file as it is read with them: None where
    columns have to be chosen first. Prune deletes the file after a day.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="drafts")
    filename = models.CharField(max_length=255)
    file = models.FileField(storage=uploads_storage, upload_to=draft_path, max_length=100)
    options = models.JSONField(default=dict)
    rows = models.PositiveIntegerField(null=True)
    picture_urls = models.PositiveIntegerField(null=True)
    invalid_urls = models.PositiveIntegerField(null=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = DraftQuerySet.as_manager()

    def __str__(self) -> str:
        return self.filename

    def get_absolute_url(self) -> str:
        return reverse("draft", args=[self.pk])
