"""Worker processes, and the state that they share."""

import os
import socket
import uuid
from datetime import datetime, timedelta
from typing import Self

from django.db import models, transaction
from django.db.models.functions import Now
from django.utils import timezone

from processing.timing import DEAD_AFTER

PRUNE_EVERY = timedelta(days=1)


def this_host() -> str:
    return socket.gethostname()


def this_process() -> int:
    return os.getpid()


class WorkerQuerySet(models.QuerySet["Worker"]):
    """All heartbeats are by the clock of the database, since those of machines differ."""

    def alive(self) -> Self:
        return self.filter(seen_at__gt=Now() - DEAD_AFTER)

    def dead(self) -> Self:
        return self.exclude(seen_at__gt=Now() - DEAD_AFTER)


class Worker(models.Model):
    """One worker process. It writes `seen_at` every HEARTBEAT; unseen for DEAD_AFTER, it counts as dead."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    host = models.CharField(max_length=255, default=this_host)
    pid = models.PositiveIntegerField(default=this_process)
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)
    # Messages sent before this time have been received by a worker or are lost.
    served_until = models.DateTimeField(null=True, blank=True)

    objects = WorkerQuerySet.as_manager()

    class Meta:
        ordering = ["-seen_at"]

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"

    def beat(self, served_until: datetime | None = None) -> None:
        """Write a heartbeat. Inserts the row again if this worker was taken for dead meanwhile."""
        self.seen_at, self.served_until = timezone.now(), served_until
        with transaction.atomic():
            self.save()
            Worker.objects.filter(pk=self.pk).update(seen_at=Now())


class Maintenance(models.Model):
    """The one row of state that all workers share: when to prune next, and a counter of recovery."""

    prune_due_at = models.DateTimeField(default=timezone.now)
    requests_resent = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"prune due at {self.prune_due_at:%Y-%m-%d %H:%M}"

    @classmethod
    def claim_prune(cls) -> bool:
        """Return True to one caller per PRUNE_EVERY, which then has to prune."""
        row, now = cls._row(), timezone.now()  # in this order: a new row is due at once
        return row.filter(prune_due_at__lte=now).update(prune_due_at=now + PRUNE_EVERY) == 1

    @classmethod
    def count_resent(cls, requests: int) -> None:
        """Count Requests whose messages recovery has sent again."""
        cls._row().update(requests_resent=models.F("requests_resent") + requests)

    @classmethod
    def requests_resent_so_far(cls) -> int:
        """Return the number counted by `count_resent`."""
        return cls.objects.values_list("requests_resent", flat=True).first() or 0

    @classmethod
    def _row(cls) -> "models.QuerySet[Maintenance]":
        row, _ = cls.objects.get_or_create(pk=1)
        return cls.objects.filter(pk=row.pk)
