"""Durations and savings of pictures, measured in worker processes and reported by /metrics.

Each process measures for itself. In a cluster /metrics is answered by a web process, so workers add their
measurements to totals in Redis, where they outlive the worker. In embedded mode the process that measures
also answers.
"""

import json
import logging
from collections import defaultdict
from collections.abc import Iterator

import redis
from prometheus_client import CollectorRegistry, Counter, Histogram, Metric
from prometheus_client.samples import Sample

from processing import runtime

logger = logging.getLogger(__name__)

#: A hash in Redis with the total of each sample. Change the number at the end when buckets change.
TOTALS_KEY = "imageextractor:measurements:1"

NETWORK_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
CODEC_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)

_registry = CollectorRegistry()
_fetch = Histogram(
    "imageextractor_fetch_seconds",
    "Seconds of an attempt to fetch a picture, redirects included.",
    ["outcome"],
    buckets=NETWORK_BUCKETS_SECONDS,
    registry=_registry,
)
_compress = Histogram(
    "imageextractor_compress_seconds",
    "Seconds to decode a picture and encode its output, without waiting for a free CPU.",
    ["format"],
    buckets=CODEC_BUCKETS_SECONDS,
    registry=_registry,
)
_wait = Histogram(
    "imageextractor_wait_seconds",
    "Seconds that a fetched picture waits for a free CPU.",
    buckets=NETWORK_BUCKETS_SECONDS,
    registry=_registry,
)
_store = Histogram(
    "imageextractor_store_seconds",
    "Seconds to write an output to storage.",
    buckets=NETWORK_BUCKETS_SECONDS,
    registry=_registry,
)
_bytes_saved = Counter(
    "imageextractor_bytes_saved",
    "Bytes by which outputs are smaller than their sources.",
    ["format", "outcome"],
    registry=_registry,
)
_published: dict[str, float] = {}


def observe_fetch(seconds: float, outcome: str) -> None:
    """Count an attempt to fetch a picture.

    `outcome` is `fetched`, `unchanged` (the origin answered 304) or an error code; HTTP statuses are counted
    by class, such as `http_4xx`, because origins choose them.
    """
    if outcome.startswith("http_"):
        outcome = f"{outcome[:6]}xx"
    _fetch.labels(outcome).observe(seconds)


def observe_compress(seconds: float, format: str) -> None:
    """Count a picture that was compressed; `format` is that of its output."""
    _compress.labels(format).observe(seconds)


def observe_wait(seconds: float) -> None:
    """Count a fetched picture that has waited for the codec."""
    _wait.observe(seconds)


def observe_store(seconds: float) -> None:
    """Count an output that was stored."""
    _store.observe(seconds)


def count_bytes_saved(source_bytes: int, output_bytes: int, format: str, outcome: str) -> None:
    """Count the bytes that an output is smaller than its source; a larger output counts as none.

    `outcome` is `compressed`, or `kept` where the output has the picture data of its source.
    """
    _bytes_saved.labels(format, outcome).inc(max(0, source_bytes - output_bytes))


def publish() -> None:
    """Add what this process has measured since the last call to the totals of a cluster.

    Only one thread may call it. While Redis does not answer, measurements wait for the next call. If only the
    response was lost, they count twice.
    """
    client = runtime.current.redis_client()
    if client is None:
        return
    values = {
        json.dumps([sample.name, sample.labels], sort_keys=True): sample.value
        for family in _registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
    pipeline = client.pipeline()
    for field, value in values.items():  # unchanged ones too: a histogram needs all of its buckets
        pipeline.hincrbyfloat(TOTALS_KEY, field, value - _published.get(field, 0))
    try:
        pipeline.execute()
    except redis.RedisError as error:
        logger.warning("Measurements could not be published: %s", error)
        return
    _published.update(values)


def collect() -> Iterator[Metric]:
    """Return the measurements of all worker processes. Raises RedisError if Redis does not answer."""
    client = runtime.current.redis_client()
    families = list(_registry.collect())
    if client is None:
        samples = [sample for family in families for sample in family.samples]
    else:
        fields = [(*json.loads(field), float(value)) for field, value in client.hgetall(TOTALS_KEY).items()]
        samples = [Sample(name, labels, value) for name, labels, value in fields]
    by_family: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=_order):
        by_family[sample.name.rpartition("_")[0]].append(sample)
    for family in families:
        family.samples = [s for s in by_family[family.name] if not s.name.endswith("_created")]
        yield family


def _order(sample: Sample) -> tuple[list[tuple[str, str]], str, float]:
    """Return a sort key that keeps the samples of a histogram together, buckets by their upper bound."""
    labels = [label for label in sorted(sample.labels.items()) if label[0] != "le"]
    return labels, sample.name, float(sample.labels.get("le", 0))
