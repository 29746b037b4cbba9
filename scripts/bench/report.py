"""The report of a benchmark: JSON, and tables in docs/performance.md with each target beside its figure."""

import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from processing.compress import jpeg_codec
from tests.support.stack import ROOT

PAGE = ROOT / "docs" / "performance.md"
FIGURES = ROOT / "docs" / "performance.json"


def write(figures: dict[str, Any]) -> None:
    """Write both files."""
    FIGURES.write_text(json.dumps(figures, indent=2) + "\n")
    put("make bench", tables(figures))


def put(name: str, text: str) -> None:
    """Write what `name` has measured to its place in docs/performance.md."""
    start, end = f"<!-- measured by {name} -->\n", f"<!-- end of what {name} has measured -->\n"
    before, _, rest = PAGE.read_text().partition(start)
    _, _, after = rest.partition(end)
    PAGE.write_text(before + start + text + end + after)


def tables(figures: dict[str, Any]) -> str:
    """Markdown."""
    parts = [_machine(figures), _jobs(figures), _components(figures), _targets(figures)]
    return "\n".join(parts)


def _machine(figures: dict[str, Any]) -> str:
    rounds = f"{figures['rounds']} rounds, medians; commit {figures['commit']}"
    return f"{figures['machine']}; {rounds}; JPEG to JPEG by {figures['codec']}.\n"


def machine() -> str:
    """This machine in a line."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = names[0].partition(":")[2].strip() if names else platform.machine()
    busy = os.getloadavg()[0]
    return f"{os.cpu_count()} × {model}, Python {platform.python_version()}, load {busy:.1f} at the start"


def codec() -> str:
    """The way of JPEG to JPEG, without the path of its library."""
    return jpeg_codec().partition(",")[0]


def _jobs(figures: dict[str, Any]) -> str:
    lines = [
        "| picture | contender | images/s | CPU ms/image | bare codec / CPU | MB at most |",
        "|---|---|---|---|---|---|",
    ]
    for size, found in figures["sizes"].items():
        codec, what = found["codec_ms"], f"{size} px, {found['kilobytes']:.0f} KB"
        lines.append(f"| {what} | bare simplejpeg | | {codec['simplejpeg']:.1f} | 1 | |")
        lines.append(f"| {what} | bare Pillow | | {codec['pillow']:.1f} | | |")
        for name, run in found["contenders"].items():
            ratio = f"{codec['simplejpeg'] / run['cpu_ms']:.2f}"
            megabytes = f"{run['megabytes']:.0f}" if run["megabytes"] else ""
            lines.append(
                f"| {what} | {name} | {run['rate']:.0f} | {run['cpu_ms']:.1f} | {ratio} | {megabytes} |"
            )
    return "\n".join(lines) + "\n"


def _components(figures: dict[str, Any]) -> str:
    lines = ["| component of the cluster at 400 px | CPU ms/image |", "|---|---|"]
    lines += [f"| {name} | {cost:.2f} |" for name, cost in figures["components_ms"].items()]
    return "\n".join(lines) + "\n"


def _targets(figures: dict[str, Any]) -> str:
    lines = ["| target | figure | met |", "|---|---|---|"]
    for text, figure, is_met in targets(figures):
        lines.append(f"| {text} | {figure} | {'yes' if is_met else '**no**'} |")
    return "\n".join(lines) + "\n"


def targets(figures: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Each target that was measured: in words, its figure, and whether it is met."""
    yield from _size_targets(figures)
    yield from _waiting_targets(figures)
    yield from _scale_targets(figures)


def _size_targets(figures: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    for size, found in figures["sizes"].items():
        runs, codec = found["contenders"], found["codec_ms"]["simplejpeg"]
        for name in ("embedded", "cluster"):
            ratio, wanted = codec / runs[name]["cpu_ms"], {"400": 0.35, "1000": 0.70, "2000": 0.80}[size]
            yield f"bare codec / CPU of {name} at {size} px ≥ {wanted}", f"{ratio:.2f}", ratio >= wanted
        if "script" in runs:
            times = runs["cluster"]["rate"] / runs["script"]["rate"]
            wanted = 1.6 if size == "2000" else 2
            yield f"rate over a user's script's at {size} px ≥ {wanted}", f"{times:.1f}", times >= wanted
        if "img2dataset" in runs and size != "400":
            times = runs["cluster"]["rate"] / runs["img2dataset"]["rate"]
            yield f"rate over img2dataset's marginal at {size} px > 1", f"{times:.1f}", times > 1
        if "img2dataset" in runs:
            ours, theirs = runs["cluster"]["seconds"], runs["img2dataset"]["seconds"]
            text = f"wall time of {runs['cluster']['images']} images at {size} px below img2dataset's"
            yield text, f"{ours:.1f} s, {theirs:.1f} s", ours < theirs


def _waiting_targets(figures: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    for name, most in {"embedded": 0.15, "cluster": 0.5}.items():
        taken = figures["latency_seconds"][name]
        yield (
            f"one picture, upload to done, {name} ≤ {most * 1000:.0f} ms",
            f"{taken * 1000:.0f} ms",
            taken <= most,
        )
    cost = figures["slow_origin_cost"]
    yield "an origin that answers after 300 ms costs < 20 %", f"{cost:.0%}", cost < 0.2
    taken = figures["fairness_seconds"]
    yield "10 images behind 50,000 in a few seconds", f"{taken:.1f} s", taken < 5


def _scale_targets(figures: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    found = figures["scale"]
    seconds, rate = found["upload_seconds"], found["ingest_urls_per_second"]
    yield f"{found['urls']:,} URLs: upload answered in ≤ 5 s", f"{seconds:.1f} s", seconds <= 5
    yield "ingested on PostgreSQL at ≥ 20,000 URLs/s", f"{rate:,.0f}", rate >= 20_000
    rate = found["sqlite_urls_per_second"]
    yield "ingested on SQLite at ≥ 8,000 URLs/s", f"{rate:,.0f}", rate >= 8_000
    most = max(found["upload_megabytes"], found["ingest_megabytes"])
    yield "≤ 300 MB resident in both", f"{most:.0f} MB", most <= 300
    small, large = found["status_milliseconds_small"], found["status_milliseconds_large"]
    yield (
        "the status call takes as long as with 1 image",
        f"{large:.1f} ms, {small:.1f} ms",
        large < 1.25 * small,
    )
    rate, wide = found["result_rows_per_second"], found["result_rows_per_second_of_5_urls"]
    text = f"{rate:,.0f} (rows of 5 URLs: {wide:,.0f})"
    yield "result CSV at ≥ 20,000 rows/s", text, rate >= 20_000
    text = f"{len(found['scans'])} of {found['statements']} statements"
    yield "no table scan in a worker's statement", text, not found["scans"]
    if "drift" in figures:
        first, last = figures["drift"]["first_ms"], figures["drift"]["last_ms"]
        text = f"{last:.2f} ms, {first:.2f} ms"
        yield (
            f"last tenth of {figures['drift']['images']:,} images as fast as the first",
            text,
            last < 1.15 * first,
        )
