"""Hosts that are left alone for a while."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Self

from django.db import models
from django.db.models import Exists, OuterRef
from django.utils import timezone

from processing.hosts import Pause
from products.models import Request

FORGET_AFTER = timedelta(days=1)


class PausedHostQuerySet(models.QuerySet["PausedHost"]):
    def current(self) -> Self:
        return self.filter(until__gt=timezone.now())

    def delaying(self, batch: Request) -> Self:
        """Those that pictures of a Request wait for."""
        return self.current().filter(Exists(batch.images.pending().filter(host=OuterRef("host"))))

    def over(self) -> Self:
        """Those whose pause has ended long ago."""
        return self.filter(until__lt=timezone.now() - FORGET_AFTER)

    def tell(self, pauses: Iterable[Pause]) -> None:
        """Let all workers know of these."""
        rows = [
            PausedHost(
                host=pause.host,
                until=datetime.fromtimestamp(pause.until, UTC),
                number=pause.number,
                code=pause.code,
            )
            for pause in sorted(pauses, key=lambda pause: pause.host)
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
        return self.code in ("http_429", "http_503")

    @property
    def pause(self) -> Pause:
        return Pause(self.host, self.until.timestamp(), self.number, self.code)
