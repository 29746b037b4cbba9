"""What a worker knows of the pictures that it has in hand."""

import uuid
from collections.abc import Iterable

from processing.storage.outputs import is_stored
from processing.work.fetch import Version
from processing.work.models import Known, Memory, Noted
from products.models import Image, ImageStatus


class Memories:
    """By Image in hand: what its picture was the last time, and from when it is completed what it is now.

    Read in bulk when Images are claimed, written in bulk when they are recorded. Safe for any number of
    threads, of which one at a time is at an Image.
    """

    def __init__(self) -> None:
        self._known: dict[uuid.UUID, Known] = {}
        self._noted: dict[uuid.UUID, Noted] = {}

    def recall(self, images: Iterable[Image]) -> None:
        """Read what is known of these Images."""
        self._known.update(Memory.objects.recall(images))

    def known(self, image: Image) -> Known | None:
        """What an Image's picture was, unless its output has vanished. Raises StorageError."""
        known = self._known.get(image.pk)
        return known if known and is_stored(known.output.output_key) else None

    def note(self, image: Image, version: Version) -> None:
        """What an Image's picture is now."""
        self._noted[image.pk] = Noted(
            id=Memory.id_for(image),
            image_id=image.pk.hex,
            source_hash=version.sha256,
            url=version.url,
            etag=version.etag,
            last_modified=version.last_modified,
        )

    def write(self, images: Iterable[Image]) -> None:
        """Remember what has been noted of those of these Images that are completed and recorded."""
        completed = {image.pk for image in images if image.status == ImageStatus.COMPLETED}
        if noted := [self._noted[pk] for pk in completed if pk in self._noted]:
            Memory.objects.remember(noted)

    def let_go(self, images: Iterable[Image]) -> None:
        """Forget Images that are out of hand."""
        for image in images:
            self._known.pop(image.pk, None)
            self._noted.pop(image.pk, None)
