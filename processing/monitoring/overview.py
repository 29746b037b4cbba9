"""The figures on the first page of the admin."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import Count, F, QuerySet, Sum
from django.db.models.functions import TruncHour
from django.template.defaultfilters import filesizeformat
from django.utils import timezone

from processing.compress import jpeg_codec
from processing.hosts.models import PausedHost
from processing.monitoring.health import no_worker_since
from processing.webhooks.models import WebhookDelivery, WebhookEndpoint
from processing.workers.models import Worker
from products.models import ImageStatus, Request
from products.models.image import COUNTED_OUTCOMES, Image, Outcomes
from products.results.failures import explain
from products.results.week import BYTES_SAVED

RECENT = timedelta(hours=1)
#: Hours in a chart, and the height of its highest bar in units of the SVG.
CHART_HOURS, CHART_HEIGHT = 24, 60


class Bar(NamedTuple):
    """One hour in a chart. `y` is the top of the bar, measured from the top of the chart."""

    place: int
    y: float
    height: float
    failed_height: float
    label: str


class Chart(NamedTuple):
    """A bar chart of the last CHART_HOURS hours with a bar for each; the current hour is the last."""

    title: str
    total: str
    bars: list[Bar]


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

    def charts(self) -> list[Chart]:
        """Return the charts of the last day: of requests by the hour in which they were uploaded."""
        return charts_of(timezone.now())

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
        #: Error code, its meaning in words, and the number of failures.
        self.causes = [
            (code, explain(code).title, count)
            for status, code, count in outcomes.counts
            if status == "failed"
        ]


def charts_of(now: datetime) -> list[Chart]:
    """Return what was uploaded in each of the last CHART_HOURS hours: requests, pictures, bytes saved."""
    latest = now.replace(minute=0, second=0, microsecond=0)
    hours = [latest - timedelta(hours=ago) for ago in reversed(range(CHART_HOURS))]
    uploaded = Request.objects.present().filter(created_at__gte=hours[0]).order_by()
    sums = uploaded.annotate(hour=TruncHour("created_at")).values_list("hour")
    found = {
        hour: values
        for hour, *values in sums.annotate(
            requests=Count("*"),
            pictures=Sum(F("images_completed") + F("images_failed")),
            failed=Sum("images_failed"),
            saved=Sum(BYTES_SAVED),
        )
    }
    rows = [found.get(hour, [0, 0, 0, 0]) for hour in hours]
    requests, pictures, failed, saved = ([row[place] for row in rows] for place in range(4))
    return [
        _chart("Requests", hours, requests, [0] * CHART_HOURS, intcomma),
        _chart("Pictures", hours, pictures, failed, intcomma),
        _chart("Saved", hours, saved, [0] * CHART_HOURS, filesizeformat),
    ]


def _chart(
    title: str, hours: list[datetime], values: list[int], failed: list[int], shown: Callable[[int], str]
) -> Chart:
    most = max(1, *values)
    bars = []
    for place, (hour, value, failures) in enumerate(zip(hours, values, failed, strict=True)):
        height = round(CHART_HEIGHT * max(0, value) / most, 1)
        label = f"{hour:%H:%M} UTC: {shown(value)}" + (f", {intcomma(failures)} failed" if failures else "")
        failed_height = round(CHART_HEIGHT * failures / most, 1)
        bars.append(Bar(place, CHART_HEIGHT - height, height, failed_height, label))
    total = shown(sum(values)) + (f", {intcomma(sum(failed))} failed" if any(failed) else "")
    return Chart(title, total, bars)
