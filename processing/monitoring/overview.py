"""The numbers of the admin's first page. Each costs one cheap query, where the template shows it."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from processing.hosts.models import PausedHost
from processing.monitoring.health import no_worker_since
from processing.webhooks.models import WebhookDelivery, WebhookEndpoint
from processing.workers.models import Worker
from products.models import ImageStatus, Request
from products.models.image import COUNTED_OUTCOMES, Image, Outcomes

RECENT = timedelta(hours=1)


class Overview:
    """The state of the service."""

    def requests_waiting(self) -> dict[str, Any]:
        return Request.objects.present().waiting()

    def requests_under_way(self) -> dict[str, Any]:
        return Request.objects.present().under_way()

    def images_open(self) -> int:
        """Return the number of pending images of active requests."""
        return Request.objects.open_work()[1]

    def deliveries_waiting(self) -> dict[str, Any]:
        return WebhookDelivery.objects.waiting()

    def endpoints_given_up(self) -> int:
        return WebhookEndpoint.objects.disabled_by_system().count()

    def hosts_paused(self) -> int:
        return PausedHost.objects.current().count()

    def workers(self) -> QuerySet[Worker]:
        return Worker.objects.all()

    def no_worker_since(self) -> datetime | None:
        return no_worker_since()

    def recent(self) -> "RecentOutcomes":
        return RecentOutcomes(Image.objects.outcomes_since(timezone.now() - RECENT))


class RecentOutcomes:
    """The images that were settled in the last hour by outcome, and the failed ones by cause.

    Where there are more than `counted`, only the latest are included, and `is_whole_hour` is False.
    """

    counted = COUNTED_OUTCOMES

    def __init__(self, outcomes: Outcomes) -> None:
        self.since = outcomes.since
        self.is_whole_hour = timezone.now() - outcomes.since >= RECENT
        by_status: Counter[str] = Counter()
        for status, _code, count in outcomes.counts:
            by_status[status] += count
        self.outcomes = [
            (status.label, by_status[status]) for status in ImageStatus if status != ImageStatus.PENDING
        ]
        self.causes = [(code, count) for status, code, count in outcomes.counts if status == "failed"]
