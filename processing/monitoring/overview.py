"""The figures on the first page of the admin."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from processing.compress import jpeg_codec
from processing.hosts.models import PausedHost
from processing.monitoring.health import no_worker_since
from processing.webhooks.models import WebhookDelivery, WebhookEndpoint
from processing.workers.models import Worker
from products.models import ImageStatus, Request
from products.models.image import COUNTED_OUTCOMES, Image, Outcomes

RECENT = timedelta(hours=1)


class Overview:
    """The state of the service. Each method is one cheap query, made when the template calls it."""

    def requests_pending(self) -> dict[str, Any]:
        return Request.objects.present().waiting()

    def requests_processing(self) -> dict[str, Any]:
        return Request.objects.present().under_way()

    def images_open(self) -> int:
        """Return the number of pending images of active requests."""
        return Request.objects.open_work()[1]

    def deliveries_pending(self) -> dict[str, Any]:
        return WebhookDelivery.objects.waiting()

    def endpoints_disabled(self) -> int:
        """Return the number of endpoints that were not disabled by their owners."""
        return WebhookEndpoint.objects.disabled_by_system().count()

    def hosts_paused(self) -> int:
        return PausedHost.objects.current().count()

    def workers(self) -> QuerySet[Worker]:
        return Worker.objects.all()

    def jpeg_codec(self) -> str:
        """Return how the process that shows the page recompresses JPEGs."""
        return jpeg_codec()

    def no_worker_since(self) -> datetime | None:
        return no_worker_since()

    def recent(self) -> "RecentOutcomes":
        return RecentOutcomes(Image.objects.outcomes_since(timezone.now() - RECENT))


class RecentOutcomes:
    """Images that have settled since a moment, by status, and the failed ones by error code."""

    max_images = COUNTED_OUTCOMES

    def __init__(self, outcomes: Outcomes) -> None:
        self.since = outcomes.since
        #: False when more than `max_images` have settled, so that `since` is later than RECENT ago.
        self.is_complete = timezone.now() - outcomes.since >= RECENT
        by_status: Counter[str] = Counter()
        for status, _code, count in outcomes.counts:
            by_status[status] += count
        self.by_status = [
            (status.label, by_status[status]) for status in ImageStatus if status != ImageStatus.PENDING
        ]
        self.by_code = [(code, count) for status, code, count in outcomes.counts if status == "failed"]
