"""Catalogues that were uploaded by the form and are being looked at."""

import uuid
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.files import File
from django.db import models
from django.urls import reverse
from django.utils import timezone

from products.models.request import Request, uploads_storage

#: Of one user. There is one for each upload form that is open.
KEPT_DRAFTS = 5


def draft_path(draft: "Draft", filename: str) -> str:
    """The stored name of a draft's file."""
    return f"draft-{draft.pk}"


class DraftQuerySet(models.QuerySet["Draft"]):
    def keep(self, owner: User, file: "File[bytes]", **options: Any) -> "Draft":
        """Keep a file for its owner to look at, in place of the oldest if there are many."""
        draft = self.model(owner=owner, filename=Request.shown_name(file), options=options)
        draft.file.save(draft.filename, file, save=False)
        draft.save(force_insert=True)
        for old in self.filter(owner=draft.owner_id).order_by("-created_at")[KEPT_DRAFTS:]:
            old.discard()
        return draft


class Draft(models.Model):
    """A catalogue between its upload by the form and the moment its owner starts the work, or does not.

    `options` are those of the form, for the Request to come. Prune deletes the file after a day.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="drafts")
    filename = models.CharField(max_length=255)
    file = models.FileField(storage=uploads_storage, upload_to=draft_path, max_length=100)
    options = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now)

    objects = DraftQuerySet.as_manager()

    def __str__(self) -> str:
        return self.filename

    def get_absolute_url(self) -> str:
        return reverse("draft", args=[self.pk])

    def discard(self) -> None:
        """Delete it with its file."""
        self.delete()
        self.file.delete(save=False)
