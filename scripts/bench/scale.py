"""Large requests: a million URLs uploaded and ingested, asked for and handed back; 200,000 worked through."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from scripts.bench.catalogue import write
from scripts.bench.contenders import Service
from scripts.bench.measure import forget_peaks, middle, peak_megabytes
from tests.support.stack import ROOT, Cluster, Deployment, Embedded

URLS_PER_ROW = 5
#: Where the first and the last tenth of a request are looked at, without its beginning and its end.
TENTHS = {"a": 0.01, "b": 0.1, "y": 0.9, "z": 0.99}
SETTLE = """
UPDATE products_image SET status = 'completed', settled_at = now(),
    output_key = 'images/00/' || md5(url) || '00000000.jpg' WHERE request_id = '{pk}'
"""
FINISH = """
UPDATE products_request SET status = 'completed', finished_at = now(), images_completed = images_total
    WHERE id = '{pk}'
"""


def postgres(directory: Path, rows: int) -> dict[str, Any]:
    """Upload, ingest, status, result and plans on PostgreSQL, without a worker that would fetch anything."""
    with Cluster(directory) as cluster:
        web = cluster.web()
        service = Service("web alone", cluster, [web])
        small = service.submit(["https://cdn.example.com/one.jpg"])["id"]
        inside(cluster, "ingest", small)
        forget_peaks([web.pid])
        large, upload = _upload(service, write(directory / "large.csv", rows, URLS_PER_ROW))
        web_megabytes = peak_megabytes([web.pid])
        ingested = inside(cluster, "ingest", large)
        plans = inside(cluster, "explain", large)
        narrow, _ = _upload(service, write(directory / "narrow.csv", rows, 1))
        inside(cluster, "ingest", narrow)
        for pk in (large, narrow):
            execute(cluster, SETTLE.format(pk=pk), FINISH.format(pk=pk))
        return {
            "rows": rows,
            "urls": rows * URLS_PER_ROW,
            "upload_seconds": upload,
            "upload_megabytes": web_megabytes,
            "ingest_urls_per_second": ingested["urls_per_second"],
            "ingest_megabytes": ingested["megabytes"],
            "status_milliseconds_small": status_milliseconds(service, small),
            "status_milliseconds_large": status_milliseconds(service, large),
            "result_rows_per_second": result_rows_per_second(service, narrow),
            "result_rows_per_second_of_5_urls": result_rows_per_second(service, large),
            "statements": plans["statements"],
            "scans": plans["scans"],
        }


def sqlite(directory: Path, rows: int) -> float:
    """URLs per second ingested into SQLite."""
    path = write(directory / "catalogue.csv", rows, URLS_PER_ROW)
    found: float = inside(Embedded(directory), "ingest-file", str(path))["urls_per_second"]
    return found


def drift(service: Service, wanted: list[str]) -> tuple[float, float]:
    """Seconds per image in the first and the last tenth of a large request."""
    batch = service.submit(wanted)
    marks: dict[str, tuple[float, int]] = {}
    tenths = {name: round(len(wanted) * part) for name, part in TENTHS.items()}
    while len(marks) < len(tenths):
        done = service.batch(batch["id"])["images"]["completed"]
        for name, count in tenths.items():
            if name not in marks and done >= count:
                marks[name] = time.monotonic(), done
        time.sleep(0.2)
    service.finished(batch["id"])
    first, last = ((marks[two], marks[one]) for one, two in ("ab", "yz"))
    return _per_image(*first), _per_image(*last)


def _per_image(end: tuple[float, int], start: tuple[float, int]) -> float:
    return (end[0] - start[0]) / (end[1] - start[1])


def inside(deployment: Deployment, *arguments: str) -> dict[str, Any]:
    """Run scripts/bench/inside.py in this deployment and return its output."""
    command = [sys.executable, "-m", "scripts.bench.inside", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=deployment.environment, check=True, stdout=subprocess.PIPE, text=True
    )
    printed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return printed


def execute(cluster: Cluster, *statements: str) -> None:
    for statement in statements:
        cluster.query(f"WITH changed AS ({statement} RETURNING 1) SELECT count(*) FROM changed")


def _upload(service: Service, path: Path) -> tuple[str, float]:
    """The new Request's id, and seconds until the answer."""
    with path.open("rb") as file:
        began = time.monotonic()
        answer = service.client.post("/api/requests/", files={"file": (path.name, file)})
    seconds = time.monotonic() - began
    return answer.raise_for_status().json()["id"], seconds


def status_milliseconds(service: Service, pk: str) -> float:
    taken = []
    for _ in range(30):
        began = time.monotonic()
        service.batch(pk)
        taken.append((time.monotonic() - began) * 1000)
    return middle(taken)


def result_rows_per_second(service: Service, pk: str) -> float:
    began, rows = time.monotonic(), -1  # the header is none
    with service.client.stream("GET", f"/api/requests/{pk}/results.csv") as answer:
        for piece in answer.iter_bytes():
            rows += piece.count(b"\n")
    return rows / (time.monotonic() - began)
