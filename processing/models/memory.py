"""What pictures were when they were last completed."""

import uuid
from collections.abc import Collection, Iterable
from operator import attrgetter
from typing import NamedTuple, Self

from django.db import models
from django.db.models import Exists, OuterRef

from processing.fetch import LONGEST_VALIDATOR, Version
from products.models import Image, ImageStatus, Output, bulk
from products.models.ids import uuid5

#: Rows that are deleted in one transaction.
FORGET_ROWS = 5000
_OUTPUT = [f"image__{name}" for name in Output._fields]


class Known(NamedTuple):
    """What a picture was, and what was made of it."""

    version: Version
    output: Output


class MemoryQuerySet(models.QuerySet["Memory"]):
    def recall(self, images: Iterable[Image]) -> dict[uuid.UUID, Known]:
        """By Image, what is remembered of its picture, as long as the output that was made of it is kept.

        Nothing for Images of a Request that is to fetch everything.
        """
        by_key = {Memory.id_for(image): image.pk for image in images if not image.request.force}
        kept = self.filter(pk__in=by_key, image__status=ImageStatus.COMPLETED).exclude(image__output_key="")
        # Values, since instances of both take half as long again.
        names = ("pk", "url", "source_hash", "etag", "last_modified", *_OUTPUT)
        return {
            by_key[pk]: Known(Version(url, bytes(source_hash), etag, last_modified), Output(*output))
            for pk, url, source_hash, etag, last_modified, *output in kept.values_list(*names)
        }

    def remember(self, memories: Collection["Memory"]) -> None:
        """Write down what pictures are by now."""
        names = ("id", "image_id", "source_hash", "url", "etag", "last_modified")
        # In order: two workers that write the same ones can never wait for each other.
        in_order = sorted(memories, key=lambda memory: memory.pk)
        bulk.upsert(Memory, names, map(attrgetter(*names), in_order))

    def orphaned(self) -> Self:
        """Those whose Image is gone."""
        return self.filter(~Exists(Image.objects.filter(pk=OuterRef("image_id"))))

    def forget(self) -> None:
        """Delete the orphaned ones, some at a time."""
        while orphans := list(self.orphaned().values_list("pk", flat=True)[:FORGET_ROWS]):
            self.filter(pk__in=orphans)._raw_delete(self.db)


class Memory(models.Model):
    """A picture of an owner's catalogues as it was when an Image of it was last completed.

    Its id follows from owner, options and URL, so that other options know nothing of it. It holds nothing: an
    Image that takes over the output of another makes sure of that itself.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    # Without a constraint, since Images are deleted by who knows nothing of memories: prune cleans up.
    image = models.ForeignKey(Image, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False)
    source_hash = models.BinaryField("SHA-256 of what was fetched", max_length=32)
    url = models.TextField(help_text="Which answered, after redirects.")
    etag = models.CharField(max_length=LONGEST_VALIDATOR, blank=True)
    last_modified = models.CharField(max_length=LONGEST_VALIDATOR, blank=True)

    objects = MemoryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "memories"

    def __str__(self) -> str:
        return self.url

    @staticmethod
    def id_for(image: Image) -> uuid.UUID:
        """The id of what is remembered of an Image's picture."""
        batch = image.request
        options = f"{batch.quality} {batch.format} {batch.max_width} {batch.max_height}"
        return uuid5(uuid.NAMESPACE_URL, f"{batch.owner_id} {options} {image.url}")

    @classmethod
    def of(cls, image: Image, version: Version) -> "Memory":
        """An unsaved one: `image` is completed, and its source is this version."""
        return cls(
            id=cls.id_for(image),
            image=image,
            source_hash=version.sha256,
            url=version.url,
            etag=version.etag,
            last_modified=version.last_modified,
        )
