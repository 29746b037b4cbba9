"""Claiming Images for a worker, and releasing them."""

import time
import uuid
from collections.abc import Collection
from contextvars import Context
from dataclasses import dataclass, field
from typing import NamedTuple

from django.db import transaction
from django.db.models import F

from processing.work.known_pictures import KnownOutputs
from products.models import Image, Request, RequestStatus
from products.models.image import ImageQuerySet

#: Rows released by one statement.
RELEASE_ROWS = 5000


@dataclass(frozen=True, slots=True)
class ClaimedImage:
    """An Image that this worker has claimed, with everything that an attempt at it needs to know.

    `batch` is shared by the Images of one claim and is only read. `known` has the outputs made of the
    same picture by earlier Requests, by name. `context` is that of the lane that claimed it: ids of log
    lines, and the current span.
    """

    id: uuid.UUID
    url: str
    host: str
    attempts: int
    crashes: int
    batch: Request
    known: KnownOutputs | None = None
    context: Context | None = field(default=None, compare=False)

    @property
    def request_id(self) -> uuid.UUID:
        return self.batch.pk


def claim(
    batch: Request, worker_id: uuid.UUID, limit: int, excluded_hosts: Collection[str] = ()
) -> list[ClaimedImage]:
    """Claim up to `limit` due Images of a Request for a worker, in the order of `due_at`.

    Returns none once the Request's epoch is over, and none of `excluded_hosts` (host:port).
    """
    with transaction.atomic():
        due = Image.objects.due().filter(
            request=batch, request__status=RequestStatus.PROCESSING, request__epoch=batch.epoch
        )
        if excluded_hosts:
            due = due.exclude(host__in=excluded_hosts)
        due = due.order_by("due_at", "number").only("url", "fetched_from", "host", "attempts", "crashes")
        images = list(due.select_for_update(skip_locked=True, of=("self",))[:limit])
        if images:
            Image.objects.filter(pk__in=[image.pk for image in images]).update(claimed_by=worker_id)
    return [
        ClaimedImage(image.pk, image.source_url, image.host, image.attempts, image.crashes, batch)
        for image in images
    ]


def release(images: ImageQuerySet, *, crashed: bool) -> int:
    """Release the claimed ones among `images`. Return their number.

    With `crashed`, count a crash for each, because its worker died while it held them. Rows that are locked
    by a flush are skipped, since the worker that flushes them is alive.
    """
    with transaction.atomic():
        claimed = images.pending().exclude(claimed_by=None)
        ids = list(claimed.select_for_update(skip_locked=True).values_list("pk", flat=True))
        return sum(
            Image.objects.filter(pk__in=ids[start : start + RELEASE_ROWS]).update(
                claimed_by=None, crashes=F("crashes") + (1 if crashed else 0)
            )
            for start in range(0, len(ids), RELEASE_ROWS)
        )


class EmptyClaim(NamedTuple):
    """A claim that found nothing because the hosts of all due Images were left out.

    It has read all of them, so it is not repeated before a moment on the monotonic clock.
    """

    busy_hosts: frozenset[str]
    again_at: float

    def would_be_repeated(self, busy_hosts: list[str]) -> bool:
        """Return whether a claim that leaves out these hosts would only find nothing again."""
        return self.busy_hosts.issubset(busy_hosts) and time.monotonic() < self.again_at
