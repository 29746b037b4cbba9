"""The metrics of /metrics, in Prometheus's text format.

Most are counted in the database and the broker at each request, so that all web processes return the same.
They are gauges, because rows of deleted Requests no longer count. Measurements of workers are added.
"""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import redis
from django.db.models import Count, Min, OuterRef, Subquery, Sum
from django.utils import timezone
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.registry import Collector

from processing import measurements, runtime
from processing.feeds.tasks import FEEDS
from processing.webhooks.models import WebhookDelivery
from processing.webhooks.tasks import WEBHOOKS
from processing.work.tasks import QUEUE
from processing.workers.models import Maintenance, Worker
from products.models import Image, Request

__all__ = ["CONTENT_TYPE", "text"]

logger = logging.getLogger(__name__)


class ServiceCollector(Collector):
    """Collects all metrics of the service; those from Redis are missing while it does not answer."""

    def collect(self) -> Iterator[Metric]:
        yield from _requests()
        yield from _work()
        try:
            yield _queues()
            yield from measurements.collect()
        except redis.RedisError as error:
            logger.warning("Metrics from Redis are missing: %s", error)


_registry = CollectorRegistry()
_registry.register(ServiceCollector())


def text() -> bytes:
    """Return all metrics as a response body of CONTENT_TYPE."""
    return generate_latest(_registry)


def _requests() -> Iterator[Metric]:
    requests = Request.objects.present()
    yield _gauge("requests", "Requests by status.", ["status"], _counts(requests, "status"))
    outcomes = ("completed", "failed", "canceled", "ignored")
    sums = requests.aggregate(
        **{name: Sum(f"images_{name}", default=0) for name in ("total", "unchanged", *outcomes)},
        source=Sum("bytes_source", default=0),
        output=Sum("bytes_output", default=0),
    )
    pending = sums["total"] - sum(sums[outcome] for outcome in outcomes)
    images = [("pending", pending), *((outcome, sums[outcome]) for outcome in outcomes)]
    yield _gauge("images", "Pictures by outcome.", ["status"], images)
    yield GaugeMetricFamily(
        "imageextractor_images_unchanged",
        "Completed pictures whose earlier output was reused.",
        value=sums["unchanged"],
    )
    failed = _counts(Image.objects.failed(), "error_code")
    yield _gauge("images_failed", "Failed pictures by cause.", ["code"], failed)
    directions = [("in", sums["source"]), ("out", sums["output"])]
    yield _gauge("bytes", "Bytes of completed pictures: fetched and stored.", ["direction"], directions)


def _work() -> Iterator[Metric]:
    due = Image.objects.due().filter(request=OuterRef("pk")).order_by("due_at").values("due_at")[:1]
    oldest = Request.objects.active().annotate(oldest=Subquery(due)).aggregate(at=Min("oldest"))["at"]
    age = (timezone.now() - oldest).total_seconds() if oldest else 0
    yield GaugeMetricFamily(
        "imageextractor_oldest_waiting_image_seconds", "Age of the oldest picture that is due.", value=age
    )
    yield GaugeMetricFamily(
        "imageextractor_workers", "Live worker processes for pictures.", value=Worker.objects.alive().count()
    )
    yield CounterMetricFamily(
        "imageextractor_recovery_resends",
        "Requests whose messages recovery has sent again.",
        value=Maintenance.requests_resent_so_far(),
    )
    deliveries = _counts(WebhookDelivery.objects.all(), "status")
    yield _gauge("deliveries", "Webhook deliveries by status.", ["status"], deliveries)


def _queues() -> Metric:
    samples = [
        (queue, state, count)
        for queue in (QUEUE, WEBHOOKS, FEEDS)
        for state, count in runtime.current.queue_counts(queue).items()
    ]
    help_text = "Messages that wait, are delayed, or are being processed."
    return _gauge("queue_messages", help_text, ["queue", "state"], samples)


def _gauge(name: str, help_text: str, labels: list[str], samples: Iterable[tuple[Any, ...]]) -> Metric:
    """Return a gauge. A sample has a value for each label, then its number."""
    gauge = GaugeMetricFamily(f"imageextractor_{name}", help_text, labels=labels)
    for *values, number in samples:
        gauge.add_metric(values, number)
    return gauge


def _counts(rows: Any, field: str) -> Iterable[tuple[str, int]]:
    """Return the number of rows for each value of a field."""
    counted: Iterable[tuple[str, int]] = rows.order_by(field).values_list(field).annotate(count=Count("pk"))
    return counted
