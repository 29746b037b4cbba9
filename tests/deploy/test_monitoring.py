"""Alert rules and dashboard: every metric that they name exists, and Prometheus understands them."""

import json
import re
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from processing import measurements
from processing.monitoring.metrics import ServiceCollector
from processing.webhooks.models import DeliveryStatus
from products.models import ImageStatus, Request
from tests.support.servers import find_program
from tests.support.stack import ROOT

RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
ADAPTER = ROOT / "deploy" / "kubernetes" / "prometheus-adapter.yaml"
#: The values of labels, as far as they come from a list of ours.
VALUES = {
    "imageextractor_images": {"status": set(ImageStatus.values)},
    "imageextractor_requests": {"status": set(Request.Status.values)},
    "imageextractor_deliveries": {"status": set(DeliveryStatus.values)},
    "imageextractor_queue_messages": {
        "queue": {"images", "webhooks"},
        "state": {"waiting", "delayed", "in_hand"},
    },
    "imageextractor_bytes": {"direction": {"in", "out"}},
}


def known_metrics() -> dict[str, set[str]]:
    """Return the labels of every series of /metrics by its name."""
    found: dict[str, set[str]] = {}
    for family in ServiceCollector().collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = set(getattr(family, "_labelnames", ()))
    for name, collector in measurements._registry._names_to_collectors.items():
        found[name] = {*collector._labelnames, *(["le"] if name.endswith("_bucket") else [])}  # type: ignore[attr-defined]
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return found


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """Yield where an expression stands, and the expression."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for rule in yaml.safe_load(ADAPTER.read_text(encoding="utf-8"))["rules"]["external"]:
        yield "seriesQuery", rule["seriesQuery"]
        yield "metricsQuery", rule["metricsQuery"]


@pytest.mark.django_db
def test_every_metric_and_label_that_an_expression_names_exists() -> None:
    known, named = known_metrics(), set()
    for place, text in expressions():
        case = f"{place}: {text}"
        selectors = re.findall(r"(imageextractor_\w+)(?:\{([^}]*)\})?", text)
        assert selectors or "up{job=" in text, case
        labels = set()
        for name, matchers in selectors:
            assert name in known, case
            named.add(name)
            labels |= known[name]
            for label, operator, value in re.findall(r"(\w+)(=~|!~|!=|=)\"([^\"]*)\"", matchers):
                assert label in known[name], case
                values = set(value.split("|")) if "~" in operator else {value}
                assert values <= VALUES.get(name, {}).get(label, values), case
        for grouping in re.findall(r"\bby \(([^)]*)\)", text):
            assert {label.strip() for label in grouping.split(",")} <= labels, case
    families = {re.sub("_(bucket|count|sum|total)$", "", name) for name in named}
    assert families == {re.sub("_(bucket|count|sum|total|created)$", "", name) for name in known}


@pytest.mark.django_db
def test_the_page_of_operations_lists_every_metric() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = text.partition("| metric (`imageextractor_…`) | alert when |")[2].partition("\n\n")[0]
    cells = " ".join(line.split("|")[1] for line in table.splitlines() if line.count("|") > 2)
    listed = dict(re.findall(r"`(\w+)(?:\{([\w,]+)\})?`", cells))
    for name, labels in known_metrics().items():
        family = re.sub("_(bucket|count|sum|created)$", "", name.removeprefix("imageextractor_"))
        if name.endswith("_created") or (name.endswith("_bytes_saved")):
            continue
        assert family in listed, name
        assert set(filter(None, listed[family].split(","))) == labels - {"le"}, name


def test_the_panels_of_the_dashboard_have_ids_of_their_own_and_do_not_overlap() -> None:
    found = panels()
    assert len({panel["id"] for panel in found}) == len(found)
    for one, other in combinations([panel["gridPos"] for panel in found], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in found)


def test_every_alert_says_what_is_wrong() -> None:
    for rule in rules():
        assert rule["annotations"]["summary"].endswith("."), rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning"}


def promtool(*arguments: str | Path) -> None:
    program = find_program("promtool")
    assert program
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.needs("promtool")
def test_prometheus_understands_rules_and_dashboard_and_the_alerts_fire(tmp_path: Path) -> None:
    promtool("check", "rules", RULES)
    promtool("test", "rules", ROOT / "tests" / "deploy" / "alerts.test.yaml")
    recorded = [
        {"record": f"panel{number}", "expr": text.replace("$__rate_interval", "5m")}
        for number, (_place, text) in enumerate(expressions())
    ]
    path = tmp_path / "dashboard.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    promtool("check", "rules", path)
