"""What Prometheus is told, counted in the database and the broker when it asks: all web processes agree.

What is counted in rows gets less when Requests are deleted, hence mostly gauges.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import dramatiq
import redis
from django.conf import settings
from django.db.models import Count, Min, OuterRef, Subquery, Sum
from django.utils import timezone

from processing.webhooks.models import WebhookDelivery
from processing.webhooks.tasks import WEBHOOKS
from processing.work.tasks import QUEUE
from processing.workers.models import Maintenance, Worker
from products.models import Image, Request

logger = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Values by the labels that they stand under.
Samples = Iterable[tuple[dict[str, str], float]]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric with all its values; Prometheus's text is what str() makes of it."""

    name: str
    help: str
    samples: Samples
    kind: str = "gauge"

    def __str__(self) -> str:
        name = f"imageextractor_{self.name}"
        lines = [f"# HELP {name} {self.help}", f"# TYPE {name} {self.kind}"]
        lines += [f"{name}{_labels(labels)} {value}" for labels, value in self.samples]
        return "\n".join(lines) + "\n"


def _labels(labels: dict[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def text() -> str:
    """All metrics as Prometheus reads them; without the queue's while the broker does not answer."""
    return "".join(map(str, [*_of_requests(), *_of_work(), *_of_queue()]))


def _of_requests() -> Iterable[Metric]:
    requests = Request.objects.present()
    yield Metric("requests", "Requests by status.", _counts(requests, "status"))
    names = ("total", "completed", "failed", "canceled", "unchanged")
    sums = requests.aggregate(
        **{name: Sum(f"images_{name}", default=0) for name in names},
        source=Sum("bytes_source", default=0),
        output=Sum("bytes_output", default=0),
    )
    settled = ("completed", "failed", "canceled")
    outcomes = {"pending": sums["total"] - sum(sums[name] for name in settled)} | {
        n: sums[n] for n in settled
    }
    yield Metric("images", "Pictures by outcome.", [({"status": n}, v) for n, v in outcomes.items()])
    yield Metric("images_unchanged", "Completed pictures that were taken over.", [({}, sums["unchanged"])])
    failed = _counts(Image.objects.failed(), "error_code", label="code")
    yield Metric("images_failed", "Failed pictures by cause.", failed)
    directions = [({"direction": "in"}, sums["source"]), ({"direction": "out"}, sums["output"])]
    yield Metric("bytes", "Bytes of completed pictures: fetched, and stored.", directions)


def _of_work() -> Iterable[Metric]:
    due = Image.objects.due().filter(request=OuterRef("pk")).order_by("due_at").values("due_at")[:1]
    oldest = Request.objects.active().annotate(oldest=Subquery(due)).aggregate(at=Min("oldest"))["at"]
    age = (timezone.now() - oldest).total_seconds() if oldest else 0
    yield Metric("oldest_waiting_image_seconds", "For how long a picture that is due waits.", [({}, age)])
    yield Metric(
        "workers", "Worker processes for pictures seen lately.", [({}, Worker.objects.alive().count())]
    )
    resent = Maintenance.requests_resent_so_far()
    yield Metric("recovery_resends_total", "Requests that recovery sent again.", [({}, resent)], "counter")
    yield Metric(
        "deliveries", "Webhook deliveries by status.", _counts(WebhookDelivery.objects.all(), "status")
    )


def _of_queue() -> Iterable[Metric]:
    try:
        samples = [
            ({"queue": queue, "state": state}, count)
            for queue in (QUEUE, WEBHOOKS)
            for state, count in (_embedded if settings.EMBEDDED else _on_redis)(queue).items()
        ]
    except redis.RedisError as error:
        logger.warning("The broker does not say what is in its queues: %s", error)
        return
    yield Metric("queue_messages", "Messages that wait, are put off, or are being worked on.", samples)


def _on_redis(queue: str) -> dict[str, int]:
    """Dramatiq lists what waits, and keeps each message in a hash until it has been worked on."""
    broker: Any = dramatiq.get_broker()  # Dramatiq's class of brokers knows no client
    waiting, all_due, delayed = (
        broker.client.llen(f"dramatiq:{queue}"),
        broker.client.hlen(f"dramatiq:{queue}.msgs"),
        broker.client.hlen(f"dramatiq:{queue}.DQ.msgs"),
    )
    return {"waiting": waiting, "delayed": delayed, "in_hand": max(all_due - waiting, 0)}


def _embedded(queue: str) -> dict[str, int]:
    broker: Any = dramatiq.get_broker()
    return {"waiting": broker.queues[queue].qsize(), "delayed": broker.queues[f"{queue}.DQ"].qsize()}


def _counts(rows: Any, field: str, label: str | None = None) -> Samples:
    """How many rows there are of each value of a field."""
    counted = rows.order_by(field).values_list(field).annotate(count=Count("pk"))
    return [({label or field: value}, count) for value, count in counted]
