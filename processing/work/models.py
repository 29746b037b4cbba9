"""Versions of pictures, known from earlier Requests."""

from typing import Self

from django.db import models
from django.db.models import Exists, OuterRef

from processing.work.fetch import MAX_VALIDATOR_LENGTH
from products.models import Image

#: Rows deleted in one transaction.
DELETE_ROWS = 5000


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
