"""Paused hosts, shared by all workers and shown on pages. Their times are by the clock of the database."""

import time
from collections.abc import Collection
from datetime import timedelta
from typing import Self

from django.db import models
from django.db.models import Exists, ExpressionWrapper, F, OuterRef
from django.db.models.functions import Now
from django.utils import timezone

from processing.hosts.rate_limit import MAX_PAUSED_HOSTS, Pause
from products.models import Request

FORGET_AFTER = timedelta(days=1)


class PausedHostQuerySet(models.QuerySet["PausedHost"]):
    def current(self) -> Self:
        """Hosts that are paused now, the longest pauses first, at most MAX_PAUSED_HOSTS."""
        return self.filter(until__gt=Now()).order_by("-until")[:MAX_PAUSED_HOSTS]

    def pauses(self) -> list[Pause]:
        """Return the pauses of the current hosts in Unix time of this machine."""
        left = ExpressionWrapper(F("until") - Now(), output_field=models.DurationField())
        rows = self.current().annotate(left=left).values_list("host", "left", "number", "code")
        now = time.time()  # before the query, which takes some time as well
        return [Pause(host, now + left.total_seconds(), number, code) for host, left, number, code in rows]

    def delaying(self, batch: Request) -> Self:
        """Hosts that are paused now and have pending Images of a Request."""
        waiting = batch.images.pending().filter(host=OuterRef("host"))
        return self.filter(Exists(waiting), until__gt=Now())

    def over(self) -> Self:
        """Hosts whose pause ended longer than FORGET_AFTER ago."""
        return self.filter(until__lt=timezone.now() - FORGET_AFTER)

    def tell(self, pauses: Collection[Pause]) -> None:
        """Store pauses for all workers, except where a longer one of the host is stored."""
        told = self.filter(host__in=[pause.host for pause in pauses])
        now, known = time.time(), {pause.host: pause.until for pause in told.pauses()}
        rows = [
            PausedHost(
                host=pause.host,
                until=Now() + timedelta(seconds=pause.until - now),
                number=pause.number,
                code=pause.code,
            )
            for pause in sorted(pauses, key=lambda pause: pause.host)
            if pause.until > known.get(pause.host, 0)
        ]
        if rows:
            fields = ["until", "number", "code"]
            self.bulk_create(rows, update_conflicts=True, unique_fields=["host"], update_fields=fields)


class PausedHost(models.Model):
    """A host that no worker sends requests to now: it asked for fewer, or failed many times in a row."""

    host = models.CharField("host:port", max_length=300, primary_key=True)
    until = models.DateTimeField()
    number = models.PositiveSmallIntegerField("pauses in a row")
    code = models.CharField("error code", max_length=30)

    objects = PausedHostQuerySet.as_manager()

    class Meta:
        ordering = ["until"]

    def __str__(self) -> str:
        return f"{self.host} until {self.until:%Y-%m-%d %H:%M:%S}"
