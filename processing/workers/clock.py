"""Clocks that are set while the service runs.

Intervals are measured by the monotonic clock. Heartbeats, leases and pauses of hosts are by the clock of the
database or of Redis, so that no machine misreads another. Prune goes by the earlier of the database's clock
and that of its machine. All other moments in rows are Unix time of the machine that wrote them: after its
clock was set back by an hour, what is due at once would be due in an hour.
"""

import logging
import time
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Greatest
from django.utils import timezone

from processing.hosts.models import PausedHost
from processing.webhooks.models import WebhookDelivery, WebhookEndpoint
from products.feeds.models import FeedDelivery, FeedRun
from products.models import Image, Request

logger = logging.getLogger(__name__)

#: Smaller changes are corrections of a clock that runs too fast or too slowly.
MIN_JUMP_SECONDS = 2.0


def database_time() -> datetime:
    """Return the time by the clock of the database; SQLite has that of this machine."""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment


class ClockWatch:
    """Notices that the clock of this machine has been set."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def moved_by(self) -> float:
        """Return the seconds by which the clock was set, until `acknowledge` is called; 0 if it was not."""
        moved = time.time() - time.monotonic() - self._offset
        if abs(moved) >= MIN_JUMP_SECONDS:
            return moved
        self._offset += moved
        return 0.0

    def acknowledge(self, moved_by: float) -> None:
        """Take the clock as it was after it moved by so many seconds for the right one."""
        self._offset += moved_by


def follow(moved_by: float) -> None:
    """Move all that waits for a moment with a clock that was set back by `-moved_by` seconds.

    No other machine may use the database. After a clock was set forward, or a machine has slept, what waits
    is due. Only the time without progress of a Request does not count, so that its patience lasts as long.
    """
    logger.warning("The clock of this machine was set by %+.0f seconds", moved_by)
    if moved_by > 0:
        # After a retry, the latest progress may be that of an earlier run.
        moved_at = Greatest(Coalesce("last_progress_at", "started_at"), "started_at")
        Request.objects.active().update(last_progress_at=moved_at + timedelta(seconds=moved_by))
        return
    now, delta = timezone.now(), timedelta(seconds=moved_by)
    with transaction.atomic():  # after a failure everything is moved again
        Image.objects.pending().filter(due_at__gt=now).update(due_at=F("due_at") + delta)
        FeedRun.objects.fetching().filter(due_at__gt=now).update(due_at=F("due_at") + delta, enqueued_at=None)
        FeedDelivery.objects.filter(due_at__gt=now).update(due_at=F("due_at") + delta, enqueued_at=None)
        PausedHost.objects.all().delete()  # its worker keeps the pause by the monotonic clock
        WebhookDelivery.objects.pending().filter(next_attempt_at__gt=now).update(
            next_attempt_at=F("next_attempt_at") + delta
        )
        WebhookEndpoint.objects.update(
            resume_at=F("resume_at") + delta, leased_until=F("leased_until") + delta, enqueued_at=None
        )
        # Delayed messages wait for Unix time too. Recovery sends them again, in a new epoch.
        Request.objects.unsettled().update(dispatched_at=None)
