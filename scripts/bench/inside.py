"""Measures inside a process of a deployment and prints the figures as JSON.

python -m scripts.bench.inside ingest REQUEST_ID
python -m scripts.bench.inside ingest-file FILE.csv
python -m scripts.bench.inside explain REQUEST_ID
"""

import json
import os
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "imageextractor.settings"
django.setup()

from django.contrib.auth.models import User
from django.core.files import File
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from processing.work import ingest as ingestion
from processing.work.claim import ClaimedImage, claim, release
from processing.workers import recovery
from products import lifecycle
from products.lifecycle import Outcome, PictureFacts
from products.models import Image, Request

TABLES = ("products_image", "products_product", "products_productimage")
#: Rows that a scan may read: one that ends with the first row it finds is what it should be.
FEW_ROWS = 1000


def ingest(pk: str) -> dict[str, Any]:
    """Ingest a submitted Request at one go, with nobody working on it."""
    batch = Request.objects.get(pk=pk)
    began = time.monotonic()
    for _ in ingestion.run(batch):
        pass
    seconds = time.monotonic() - began
    status = Path("/proc/self/status").read_text()
    megabytes = int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    return {"urls_per_second": batch.images_total / seconds, "megabytes": megabytes}


def ingest_file(path: str) -> dict[str, Any]:
    """The same into a new database, from the file on."""
    call_command("migrate", verbosity=0)
    with Path(path).open("rb") as file:
        batch, _ = lifecycle.submit(User.objects.create_user("bench"), File(file, "catalogue.csv"))
    return ingest(str(batch.pk))


def explain(pk: str) -> dict[str, Any]:
    """The statements of a worker on a Request of which nothing is done; those that scan a table."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    statements = [sql for sql in _statements(Request.objects.get(pk=pk)) if _explicable(sql)]
    return {"statements": len(statements), "scans": [sql for sql in statements if _scans_a_table(sql)]}


def _statements(batch: Request) -> list[str]:
    """Run a worker's statements: claim, look for more, flush, give back, recover. Leave no change behind."""
    worker = uuid.uuid4()
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        images = claim(batch, worker, 32)
        claim(batch, worker, 32, ["busy.example.com"])
        Image.objects.due().filter(request=batch).exists()
        lifecycle.record(batch.pk, map(_completed, images[:16]), worker)
        release(Image.objects.filter(claimed_by=worker), crashed=False)
        recovery.recover()
        transaction.set_rollback(True)
    return [query["sql"] for query in queries.captured_queries]


def _completed(image: ClaimedImage) -> Outcome:
    facts = PictureFacts(1000, 40, 30, "jpeg")
    key = f"images/00/{image.id}.jpg"
    return Outcome.completed(image.id, image.attempts + 1, output_key=key, source=facts, output=facts)


def _explicable(sql: str) -> bool:
    return sql.startswith(("SELECT", "UPDATE", "DELETE", "INSERT"))


def _scans_a_table(sql: str) -> bool:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql.replace('%', '%%')}")
        ((plan,),) = cursor.fetchall()
        transaction.set_rollback(True)
    return any(
        node["Node Type"] == "Seq Scan" and node["Relation Name"] in TABLES and _rows_read(node) > FEW_ROWS
        for node in _nodes(plan[0]["Plan"])
    )


def _rows_read(node: dict[str, Any]) -> int:
    rows: int = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    return rows * int(node["Actual Loops"])


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for part in node.get("Plans", []):
        yield from _nodes(part)


if __name__ == "__main__":
    calls = {"ingest": ingest, "ingest-file": ingest_file, "explain": explain}
    print(json.dumps(calls[sys.argv[1]](sys.argv[2])))
