"""Messages from external workers that have had their effect."""

from datetime import timedelta

from django.db import models
from django.utils import timezone

#: Longer than a message's signature counts, so that none is forgotten while it could be repeated.
KEPT = timedelta(hours=1)


class InboundMessage(models.Model):
    """A `webhook-id` that has been seen."""

    id = models.CharField(primary_key=True, max_length=255)
    received_at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return self.id

    @classmethod
    def is_new(cls, message_id: str) -> bool:
        """Note an id, in the transaction of its message's effect. False for one that was seen before."""
        cls.objects.filter(received_at__lt=timezone.now() - KEPT).delete()
        _, is_new = cls.objects.get_or_create(id=message_id)
        return is_new
