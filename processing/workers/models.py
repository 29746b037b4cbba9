"""Who works, and when who next prunes."""

import os
import socket
import uuid
from datetime import datetime, timedelta
from typing import Self

from django.db import models
from django.utils import timezone

HEARTBEAT = timedelta(seconds=10)
DEAD_AFTER = timedelta(seconds=30)
PRUNE_EVERY = timedelta(days=1)


def this_host() -> str:
    return socket.gethostname()


def this_process() -> int:
    return os.getpid()


class WorkerQuerySet(models.QuerySet["Worker"]):
    def alive(self) -> Self:
        return self.filter(seen_at__gt=timezone.now() - DEAD_AFTER)

    def dead(self) -> Self:
        return self.exclude(seen_at__gt=timezone.now() - DEAD_AFTER)


class Worker(models.Model):
    """One worker process. It writes `seen_at` every 10 s; unseen for 30 s, it counts as dead."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    host = models.CharField(max_length=255, default=this_host)
    pid = models.PositiveIntegerField(default=this_process)
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)
    # All messages sent until then that are not lost have reached this worker or another.
    served_until = models.DateTimeField(null=True, blank=True)

    objects = WorkerQuerySet.as_manager()

    class Meta:
        ordering = ["-seen_at"]

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"

    def beat(self, served_until: datetime | None = None) -> None:
        """Say that this process lives; inserts the row again if it was taken for dead meanwhile."""
        self.seen_at, self.served_until = timezone.now(), served_until
        self.save()


class Resends(models.Model):
    """The one row that counts how often recovery has sent Requests again."""

    count = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.count)

    @classmethod
    def add(cls, count: int) -> None:
        row, _ = cls.objects.get_or_create(pk=1)
        cls.objects.filter(pk=row.pk).update(count=models.F("count") + count)

    @classmethod
    def so_far(cls) -> int:
        count: int = cls.objects.aggregate(count=models.Sum("count", default=0))["count"]
        return count


class Pruning(models.Model):
    """The one row by which workers agree on who prunes next: whoever moves `due_at` on."""

    due_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"due at {self.due_at:%Y-%m-%d %H:%M}"

    @classmethod
    def take_turn(cls) -> bool:
        """True for one worker a day."""
        row, _ = cls.objects.get_or_create(pk=1)
        now = timezone.now()
        return cls.objects.filter(pk=row.pk, due_at__lte=now).update(due_at=now + PRUNE_EVERY) == 1
