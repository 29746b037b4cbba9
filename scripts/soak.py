#!/usr/bin/env python3
"""Uploads, cancels, retries and deletes at random, with a random fault every few seconds; then counts.

    .venv/bin/python scripts/soak.py [--minutes N] [--seed N]

Runs the real stack on a PostgreSQL and a Redis of its own. At the end every request that was not deleted has
to be finished, every image in one final state, every counter equal to the rows, every output decodable.
"""

import argparse
import csv
import io
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import httpx
import redis as redis_client
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.origin import Answer, Origin
from tests.support.pictures import photo_jpeg
from tests.support.servers import Postgres, Redis
from tests.support.stack import Cluster, wait_for

PICTURES = 2000
FAULT_SECONDS = (3, 10)
SETTLE_SECONDS = 300
WORKER = ("manage.py", "rundramatiq", "--processes", "1", "--threads", "8")

UNSETTLED = """
SELECT count(*) FROM products_request WHERE status IN ('pending', 'processing') OR sweep <> ''
"""
WRONG = """
SELECT r.id FROM products_request r LEFT JOIN products_image i ON i.request_id = r.id GROUP BY r.id
HAVING r.images_total <> count(i.id)
    OR r.ingested_rows <> r.products_total AND r.status <> 'canceled'
    OR r.images_completed <> count(i.id) FILTER (WHERE i.status = 'completed')
    OR r.images_failed <> count(i.id) FILTER (WHERE i.status = 'failed')
    OR r.images_canceled <> count(i.id) FILTER (WHERE i.status = 'canceled')
    OR count(i.id) FILTER (WHERE i.status = 'pending' OR i.claimed_by IS NOT NULL) > 0
"""


class Soak:
    """One run: what is done at random, and what was done so far."""

    def __init__(self, cluster: Cluster, servers: tuple[Postgres, Redis], urls: list[str], seed: int) -> None:
        self.cluster = cluster
        self.postgres, self.redis = servers
        self.urls = urls
        self.random = random.Random(seed)  # noqa: S311 (repeatable, no secret)
        self.client = cluster.client(headers={"Authorization": f"Token {cluster.token()}"})
        self.web = cluster.web()
        self.workers = cluster.workers(2)
        self.done: Counter[str] = Counter()
        self.requests: list[str] = []

    def run(self, seconds: float) -> None:
        """Act and strike until the time is over."""
        end, fault_at = time.monotonic() + seconds, 0.0
        while (now := time.monotonic()) < end:
            if now >= fault_at:
                self._call(self.random.choice(self.FAULTS))
                fault_at = now + self.random.uniform(*FAULT_SECONDS)
            self._call(self.random.choices(self.ACTIONS, weights=[4, 1, 2, 1])[0])
            time.sleep(self.random.uniform(0.1, 0.8))

    def _call(self, act: Any) -> None:
        try:
            act(self)
        except httpx.TransportError:
            self.done["calls cut off by a fault"] += 1
        else:
            self.done[act.__name__.replace("_", " ")] += 1

    # --- What users do ---

    def upload(self) -> None:
        rows = self.random.sample(self.urls, self.random.randrange(10, 200))
        text = "Serial Number,Product Name,Input Image Urls\n" + "".join(
            f"{n},Lamp,{u}\n" for n, u in enumerate(rows)
        )
        answer = self.client.post("/api/requests/", files={"file": ("lamps.csv", text)})
        if answer.status_code == 201:
            self.requests.append(answer.json()["id"])

    def cancel(self) -> None:
        self._act_on_one("cancel")

    def retry(self) -> None:
        self._act_on_one("retry")

    def delete(self) -> None:
        if len(self.requests) > 5:
            pk = self.random.choice(self.requests)
            if self.client.delete(f"/api/requests/{pk}/").status_code == 204:
                self.requests.remove(pk)

    def _act_on_one(self, action: str) -> None:
        if self.requests:
            self.client.post(f"/api/requests/{self.random.choice(self.requests)}/{action}/")

    # --- What goes wrong ---

    def worker_killed(self) -> None:
        self._replace_worker(signal.SIGKILL)

    def worker_stopped(self) -> None:
        self._replace_worker(signal.SIGTERM)

    def _replace_worker(self, number: signal.Signals) -> None:
        self.cluster.end(self.workers.pop(0), number)
        self.workers.append(self.cluster.start(*WORKER))

    def web_killed(self) -> None:
        self.cluster.end(self.web, signal.SIGKILL)
        self.cluster.processes.remove(self.web)
        self.web = self.cluster.web()

    def redis_flushed(self) -> None:
        redis_client.Redis.from_url(self.redis.url).flushall()

    def redis_killed(self) -> None:
        self.redis.kill()
        time.sleep(self.random.uniform(0, 3))
        self.redis.start()

    def postgres_killed(self) -> None:
        self.postgres.kill()
        self.postgres.start()

    ACTIONS = (upload, cancel, retry, delete)
    FAULTS = (worker_killed, worker_stopped, web_killed, redis_flushed, redis_killed, postgres_killed)

    # --- What has to be true in the end ---

    def settle(self) -> float:
        """Seconds until everything has finished without any help."""
        start = time.monotonic()
        wait_for(lambda: self.cluster.query(UNSETTLED)[0][0] == 0, "all requests finish", SETTLE_SECONDS)
        return time.monotonic() - start

    def verify(self) -> Counter[str]:
        """Images by status. Ends the run with what is wrong, if anything is."""
        wrong = self.cluster.query(WRONG)
        known = {str(pk) for (pk,) in self.cluster.query("SELECT id FROM products_request")}
        if wrong or not known >= set(self.requests):
            sys.exit(f"soak: wrong: {wrong}; missing: {set(self.requests) - known}")
        for pk in self.requests:
            self._verify_result(pk)
        return Counter(
            dict(self.cluster.query("SELECT status, count(*) FROM products_image GROUP BY status"))
        )

    def _verify_result(self, pk: str) -> None:
        text = self.client.get(f"/api/requests/{pk}/results.csv").raise_for_status().text
        rows = list(csv.DictReader(io.StringIO(text)))
        if [row["Serial Number"] for row in rows] != [str(number) for number in range(len(rows))]:
            sys.exit(f"soak: the result of {pk} is not in order")
        for row in rows:
            if row["Output Image Urls"]:
                Image.open(
                    self.cluster.directory / urlsplit(row["Output Image Urls"]).path.lstrip("/")
                ).load()


def main() -> None:
    parser = argparse.ArgumentParser(description="Random work and random faults.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with TemporaryDirectory() as directory, Postgres() as postgres, Redis() as redis, Origin() as origin:
        os.environ |= {"DATABASE_URL": postgres.url, "REDIS_URL": redis.url}
        urls = [
            origin.add(f"/{n}.jpg", Answer(photo_jpeg(60, 40, seed=n), delay=0.05)) for n in range(PICTURES)
        ]
        urls += [origin.url(f"/missing-{n}.jpg") for n in range(PICTURES // 50)]
        with Cluster(Path(directory)) as cluster:
            soak = Soak(cluster, (postgres, redis), urls, options.seed)
            soak.run(options.minutes * 60)
            settled = soak.settle()
            images = soak.verify()
            print(f"{options.minutes:g} minutes, seed {options.seed}; settled in {settled:.0f} s more")
            for name, count in sorted((soak.done + images).items()):
                print(f"  {name}: {count}")
            print(
                f"  requests kept: {len(soak.requests)}, all finished, counters and rows agree, outputs open"
            )


if __name__ == "__main__":
    main()
