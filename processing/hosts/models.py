"""Hosts that are left alone for a while."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Self

from django.db import models
from django.db.models import Exists, OuterRef
from django.utils import timezone

from processing.hosts.backoff import MOST_PAUSED, Pause
from products.models import Request

FORGET_AFTER = timedelta(days=1)


class PausedHostQuerySet(models.QuerySet["PausedHost"]):
    def current(self) -> Self:
        """Those that are left alone now, at most MOST_PAUSED, the longest first."""
        return self.filter(until__gt=timezone.now()).order_by("-until")[:MOST_PAUSED]

    def delaying(self, batch: Request) -> Self:
        """Those that are left alone now and that pictures of a Request wait for."""
        waiting = batch.images.pending().filter(host=OuterRef("host"))
        return self.filter(Exists(waiting), until__gt=timezone.now())

    def over(self) -> Self:
        """Those whose pause has ended long ago."""
        return self.filter(until__lt=timezone.now() - FORGET_AFTER)

    def tell(self, pauses: Collection[Pause]) -> None:
        """Let all workers know of these, unless they know of longer ones."""
        ends = {pause.host: datetime.fromtimestamp(pause.until, UTC) for pause in pauses}
        known = self.filter(host__in=ends).values_list("host", "until")
        longer = {host for host, until in known if until >= ends[host]}
        rows = [
            PausedHost(
                host=pause.host,
                until=ends[pause.host],
                number=pause.number,
                code=pause.code,
            )
            for pause in sorted(pauses, key=lambda pause: pause.host)
            if pause.host not in longer
        ]
        if rows:
            fields = ["until", "number", "code"]
            self.bulk_create(rows, update_conflicts=True, unique_fields=["host"], update_fields=fields)


class PausedHost(models.Model):
    """A host that no worker asks for anything now: it wants fewer requests, or fails again and again."""

    host = models.CharField("host:port", max_length=300, primary_key=True)
    until = models.DateTimeField()
    number = models.PositiveSmallIntegerField("which pause in a row")
    code = models.CharField("the error that it came from", max_length=30)

    objects = PausedHostQuerySet.as_manager()

    class Meta:
        ordering = ["until"]

    def __str__(self) -> str:
        return f"{self.host} until {self.until:%Y-%m-%d %H:%M:%S}"

    @property
    def wants_rest(self) -> bool:
        """Whether it asked for that, rather than failed."""
        return self.pause.wants_rest

    @property
    def pause(self) -> Pause:
        return Pause(self.host, self.until.timestamp(), self.number, self.code)
