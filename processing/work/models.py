"""Versions of pictures, known from earlier Requests, and trials of options."""

import uuid
from datetime import timedelta
from typing import Self

from django.db import models
from django.db.models import Exists, OuterRef
from django.utils import timezone

from processing.work.fetch import MAX_VALIDATOR_LENGTH
from products.models import Image
from products.models.files import storage_checked, uploads_storage

#: Rows deleted in one transaction.
DELETE_ROWS = 5000
#: The addresses of a trial's pictures work so long, then its files are deleted.
TRIAL_KEPT = timedelta(hours=1)


class KnownPictureQuerySet(models.QuerySet["KnownPicture"]):
    def orphaned(self) -> Self:
        """Rows whose Image has been deleted."""
        return self.filter(~Exists(Image.objects.filter(pk=OuterRef("image_id"))))

    def delete_orphaned(self) -> None:
        """Delete the orphaned rows, DELETE_ROWS at a time."""
        while orphans := list(self.orphaned().values_list("pk", flat=True)[:DELETE_ROWS]):
            self.filter(pk__in=orphans)._raw_delete(self.db)


class KnownPicture(models.Model):
    """The version of a picture from which an Image was last completed, so that its output can be reused.

    There is one for each output of a picture. The id is derived from owner, options and URL
    (`known_pictures.known_picture_ids`). Image and output may have been deleted since: check for both before
    the output is reused.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    # Without a constraint, since products deletes Images and does not know this table; prune removes orphans.
    image = models.ForeignKey(Image, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False)
    rendition = models.CharField(
        max_length=20,
        blank=True,
        default="",
        db_default="",
        help_text="Name of the rendition; blank: the main output.",
    )
    source_hash = models.BinaryField("SHA-256 of the source", max_length=32)
    url = models.TextField(help_text="The URL that answered, after redirects.")
    etag = models.CharField(max_length=MAX_VALIDATOR_LENGTH, blank=True)
    last_modified = models.CharField(max_length=MAX_VALIDATOR_LENGTH, blank=True)

    objects = KnownPictureQuerySet.as_manager()

    def __str__(self) -> str:
        return self.url


class TrialQuerySet(models.QuerySet["Trial"]):
    def current(self) -> Self:
        """Trials whose pictures are still shown."""
        return self.filter(created_at__gt=timezone.now() - TRIAL_KEPT)

    def delete_expired(self) -> None:
        """Delete the others with their files. Raises StorageUnavailable; the next call goes on."""
        for trial in self.filter(created_at__lte=timezone.now() - TRIAL_KEPT):
            with storage_checked():
                for number in range(trial.pictures):
                    for side in ("source", "output"):
                        uploads_storage().delete(trial.file_name(number, side))
            trial.delete()


class Trial(models.Model):
    """Some pictures that were made to show what options do. Its files are named by it; there may be fewer."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    pictures = models.PositiveSmallIntegerField()
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects = TrialQuerySet.as_manager()

    def __str__(self) -> str:
        return str(self.pk)

    def file_name(self, number: int, side: str) -> str:
        """Return the name of a file, where side is `source` or `output`."""
        return f"trial-{self.pk}-{number}-{side}"
