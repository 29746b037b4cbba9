"""What pictures were when they were last completed."""

import uuid
from collections.abc import Iterable
from typing import NamedTuple, Self

from django.db import models
from django.db.models import Exists, OuterRef

from processing.work.fetch import LONGEST_VALIDATOR, Version
from products.models import Image, ImageStatus, Output, bulk
from products.models.ids import uuid5_digits

#: Rows that are deleted in one transaction.
FORGET_ROWS = 5000


class Known(NamedTuple):
    """What a picture was, and what was made of it."""

    version: Version
    output: Output


class Noted(NamedTuple):
    """A Memory as `bulk` reads and writes it: ids in 32 hex digits."""

    id: str
    image_id: str
    source_hash: bytes
    url: str
    etag: str
    last_modified: str


class MemoryQuerySet(models.QuerySet["Memory"]):
    def recall(self, images: Iterable[Image]) -> dict[uuid.UUID, Known]:
        """By Image, what is remembered of its picture, as long as the output that was made of it is kept.

        Nothing for Images of a Request that is to fetch everything. Of all memories, filtered or not.
        """
        by_key = {Memory.id_for(image): image.pk for image in images if not image.request.force}
        noted = [Noted._make(row) for row in bulk.read(Memory, Noted._fields, list(by_key))]
        # In two steps: a join of tables that PostgreSQL has not counted yet reads all completed Images.
        outputs = self._outputs([memory.image_id for memory in noted]) if noted else {}
        return {
            by_key[memory.id]: Known(
                Version(memory.url, memory.source_hash, memory.etag, memory.last_modified),
                outputs[memory.image_id],
            )
            for memory in noted
            if memory.image_id in outputs
        }

    def _outputs(self, ids: list[str]) -> dict[str, Output]:
        """The outputs of those of these Images that are completed and have one."""
        names = ("id", "status", *Output._fields[1:])
        return {
            pk: Output(uuid.UUID(pk), key, *facts)
            for pk, status, key, *facts in bulk.read(Image, names, ids)
            if status == ImageStatus.COMPLETED and key
        }

    def remember(self, noted: Iterable[Noted]) -> None:
        """Write down what pictures are by now."""
        # In order of ids: two workers that write the same ones can never wait for each other.
        bulk.upsert(Memory, Noted._fields, sorted(noted))

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
    def id_for(image: Image) -> str:
        """The id of what is remembered of an Image's picture, in 32 hex digits."""
        batch = image.request
        options = f"{batch.quality} {batch.format} {batch.max_width} {batch.max_height}"
        return uuid5_digits(uuid.NAMESPACE_URL, f"{batch.owner_id} {options} {image.url}")
