"""What workers measure, as the process that answers /metrics adds it up."""

import subprocess
import sys
from collections.abc import Iterator
from secrets import token_hex
from typing import Any

import dramatiq
import pytest
import redis
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from pytest import LogCaptureFixture, MonkeyPatch

from processing import measurements, runtime
from processing.measurements import count_bytes_saved, observe_compress, observe_fetch, observe_store, publish

WORKER = """
import django
django.setup()
from processing import measurements
measurements.TOTALS_KEY = {key!r}
for seconds in (0.02, 0.3):
    measurements.observe_fetch(seconds, "fetched")
measurements.count_bytes_saved(1000, 400, "jpeg", "compressed")
measurements.publish()
"""


@pytest.fixture(autouse=True)
def totals(monkeypatch: MonkeyPatch) -> Iterator[str]:
    """A key for totals without what other tests have measured."""
    broker: Any = dramatiq.get_broker()
    monkeypatch.setattr(measurements, "TOTALS_KEY", earlier := f"test:{token_hex(8)}")
    publish()
    monkeypatch.setattr(measurements, "TOTALS_KEY", key := f"test:{token_hex(8)}")
    yield key
    broker.client.delete(earlier, key)


class Measurements(Collector):
    def collect(self) -> Iterator[Any]:
        return measurements.collect()


def shown() -> dict[str, float]:
    """Values by name and labels, as Prometheus's own parser reads them."""
    registry = CollectorRegistry()
    registry.register(Measurements())
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        " ".join(
            [sample.name.removeprefix("imageextractor_"), *map("=".join, sorted(sample.labels.items()))]
        ): (sample.value)
        for family in families
        for sample in family.samples
    }


@pytest.mark.needs("Redis")
def test_nothing_is_shown_before_it_is_published() -> None:
    observe_store(0.2)
    assert shown() == {}
    publish()
    assert shown()["store_seconds_count"] == 1


@pytest.mark.needs("Redis")
def test_after_redis_has_lost_its_data_histograms_are_whole_and_begin_anew(totals: str) -> None:
    observe_store(0.2)
    publish()
    broker: Any = dramatiq.get_broker()
    broker.client.delete(totals)
    observe_store(0.2)
    publish()
    values = shown()
    assert values["store_seconds_count"] == values["store_seconds_bucket le=0.25"] == 1
    assert values["store_seconds_bucket le=0.1"] == 0


@pytest.mark.needs("Redis")
def test_durations_are_counted_in_buckets_by_outcome_and_format() -> None:
    observe_fetch(0.2, "fetched")
    observe_fetch(0.004, "fetched")
    observe_fetch(40, "timeout")
    observe_compress(0.002, "jpeg")
    publish()
    values = shown()
    assert values["fetch_seconds_bucket le=0.005 outcome=fetched"] == 1
    assert values["fetch_seconds_bucket le=0.1 outcome=fetched"] == 1
    assert values["fetch_seconds_bucket le=0.25 outcome=fetched"] == 2
    assert values["fetch_seconds_bucket le=+Inf outcome=fetched"] == 2
    assert values["fetch_seconds_sum outcome=fetched"] == pytest.approx(0.204)
    assert values["fetch_seconds_bucket le=30.0 outcome=timeout"] == 0
    assert values["fetch_seconds_count outcome=timeout"] == 1
    assert values["compress_seconds_bucket format=jpeg le=0.001"] == 0
    assert values["compress_seconds_bucket format=jpeg le=0.0025"] == 1


@pytest.mark.needs("Redis")
def test_statuses_are_counted_by_class() -> None:
    for code in ("http_404", "http_410", "http_503"):
        observe_fetch(0.1, code)
    publish()
    values = shown()
    assert values["fetch_seconds_count outcome=http_4xx"] == 2
    assert values["fetch_seconds_count outcome=http_5xx"] == 1
    assert not any("404" in name for name in values)


@pytest.mark.needs("Redis")
def test_a_larger_output_saves_nothing() -> None:
    count_bytes_saved(1000, 400, "jpeg", "compressed")
    count_bytes_saved(1000, 1200, "jpeg", "compressed")
    count_bytes_saved(1000, 990, "jpeg", "kept")
    publish()
    values = shown()
    assert values["bytes_saved_total format=jpeg outcome=compressed"] == 600
    assert values["bytes_saved_total format=jpeg outcome=kept"] == 10


@pytest.mark.needs("Redis")
def test_only_what_is_new_is_added_to_the_totals() -> None:
    for count in (1, 2, 3):
        observe_store(0.1)
        publish()
        publish()
        assert shown()["store_seconds_count"] == count


@pytest.mark.needs("Redis")
def test_processes_are_added_up_and_outlived_by_what_they_have_measured(totals: str) -> None:
    code = WORKER.format(key=totals)
    workers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    values = shown()
    assert values["fetch_seconds_bucket le=0.025 outcome=fetched"] == 3
    assert values["fetch_seconds_count outcome=fetched"] == 6
    assert values["fetch_seconds_sum outcome=fetched"] == pytest.approx(0.96)
    assert values["bytes_saved_total format=jpeg outcome=compressed"] == 1800


@pytest.mark.needs("Redis")
def test_buckets_are_in_the_order_of_their_bounds() -> None:
    observe_fetch(1, "fetched")
    observe_fetch(1, "timeout")
    publish()
    buckets = [name.split()[1:] for name in shown() if name.startswith("fetch_seconds_bucket")]
    bounds = [bound for bound, outcome in buckets if outcome in {"outcome=fetched", "outcome=timeout"}]
    in_order = [f"le={float(bound)}" for bound in measurements.NETWORK_BUCKETS_SECONDS] + ["le=+Inf"]
    assert bounds == in_order * 2


@pytest.mark.needs("Redis")
def test_while_redis_is_down_measurements_wait(monkeypatch: MonkeyPatch, caplog: LogCaptureFixture) -> None:
    observe_store(0.1)
    with monkeypatch.context() as patch:
        patch.setattr(dramatiq.get_broker(), "client", redis.Redis.from_url("redis://127.0.0.1:1/0"))
        publish()
    assert "could not be published" in caplog.text
    assert shown() == {}
    publish()
    assert shown()["store_seconds_count"] == 1


def test_embedded_the_process_shows_what_it_has_measured_itself(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "current", runtime.Embedded())
    before = shown()["store_seconds_count"]
    observe_store(0.1)
    publish()
    assert shown()["store_seconds_count"] == before + 1
    assert not any("created" in name for name in shown())
