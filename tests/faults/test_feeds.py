"""Feeds whose worker is killed while it starts or fetches a run: one Request each, whatever happens."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest

from tests.support.factories import make_csv
from tests.support.origin import Answer, Handler, Origin
from tests.support.pictures import photo_jpeg
from tests.support.stack import QUICK_TO_NOTICE, Cluster, Deployment, Embedded, wait_for

pytestmark = pytest.mark.timeout(900)
LONG_AGO = "2020-01-01 00:00:00"


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Embedded]:
    with Embedded(tmp_path, **QUICK_TO_NOTICE) as service:
        service.serve()
        yield service


def held_catalogue(origin: Origin, opened: Event) -> str:
    """The URL of a catalogue with one picture, which does not come before `opened` is set."""
    picture = origin.add("/a.jpg", photo_jpeg(60, 40))

    def answer(handler: Handler) -> None:
        opened.wait(300)
        handler.answer(Answer(make_csv((1, "Lamp", picture))))

    return origin.add("/feed.csv", answer)


def new_feed(client: httpx.Client, url: str) -> str:
    answer = client.post("/api/feeds/", json={"name": "Lamps", "url": url, "schedule": "0 0 1 1 *"})
    key: str = answer.raise_for_status().json()["id"]
    return key


def make_due(deployment: Deployment, feed: str) -> None:
    """Make a feed due, as if its time had come."""
    key = feed if isinstance(deployment, Cluster) else feed.replace("-", "")
    statement = f"UPDATE feeds_feed SET next_run_at = '{LONG_AGO}' WHERE id = '{key}' RETURNING 1"  # noqa: S608
    if isinstance(deployment, Cluster):
        deployment.query(statement)
    else:
        with closing(sqlite3.connect(deployment.directory / "db.sqlite3", timeout=60)) as database, database:
            database.execute(statement)


def kill_while_it_fetches(deployment: Deployment, killed: set[Any]) -> None:
    """Kill the worker that has claimed a run, and add its id to those of the killed ones."""
    claimed = "SELECT id, pid FROM processing_worker WHERE id IN (SELECT claimed_by FROM feeds_feedrun)"

    def claimant() -> tuple[Any, int] | None:
        return next((row for row in deployment.query(claimed) if row[0] not in killed), None)

    worker_id, pid = wait_for(claimant, "a worker fetches a feed")
    killed.add(worker_id)
    os.kill(pid, signal.SIGKILL)


def last_status(client: httpx.Client, feed: str) -> str | None:
    last = client.get(f"/api/feeds/{feed}/").raise_for_status().json()["last_run"]
    return last["status"] if last else None


def check(deployment: Deployment, origin: Origin, *, kills: int) -> None:
    client = deployment.client(headers={"Authorization": f"Token {deployment.token()}"})
    opened, killed = Event(), set[Any]()
    feed = new_feed(client, held_catalogue(origin, opened))
    make_due(deployment, feed)
    for _ in range(kills):
        kill_while_it_fetches(deployment, killed)
        if isinstance(deployment, Embedded):
            deployment.wait_until_up(deployment.processes[0])
    opened.set()
    wait_for(lambda: last_status(client, feed) == "completed", "the run has completed")
    assert len(client.get("/api/requests/").json()["results"]) == 1
    assert deployment.query("SELECT count(*) FROM feeds_feedrun") == [(1,)]
    assert b"Lamp" in httpx.get(client.get(f"/api/feeds/{feed}/").json()["latest_url"]).content


def test_embedded_a_run_whose_process_is_killed_is_one_request(embedded: Embedded, origin: Origin) -> None:
    check(embedded, origin, kills=2)


def test_in_a_cluster_a_run_whose_worker_is_killed_is_one_request(cluster: Cluster, origin: Origin) -> None:
    check(cluster, origin, kills=1)
