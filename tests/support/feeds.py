"""Feeds and their runs, without a worker."""

import uuid
from typing import Any
from unittest.mock import ANY

from django.contrib.auth.models import User

from products.feeds import runs
from products.feeds.models import Feed, FeedRun
from products.models import Request
from tests.support.factories import ingest as ingested
from tests.support.factories import make_csv, settle, submit

WORKER = uuid.UUID("00000000-0000-4000-8000-000000000001")
URL = "https://shop.example/catalogue.csv"
#: A feed as the API answers it when only its name and URL were given.
NEW: dict[str, Any] = {
    **{"id": ANY, "name": "Spring", "url": URL, "profile": None, "schedule": None, "time_zone": "UTC"},
    **{"enabled": True, "when_unchanged": "run", "headers": [], "next_run_at": None, "last_run": None},
    **{"deliver_to": None, "delivered": None, "latest_url": ANY},
}


def make_feed(owner: User, **fields: Any) -> Feed:
    return Feed.objects.create(**{"owner": owner, "name": "Spring", "url": URL, **fields})


def submitted(feed: Feed, data: bytes | None = None, name: str = "catalogue.csv") -> tuple[FeedRun, Request]:
    """A run whose file is a Request that is ingested, as a worker leaves it."""
    run = runs.start(feed)
    assert run
    run.claimed_by = WORKER
    FeedRun.objects.filter(pk=run.pk).update(claimed_by=WORKER)
    batch = submit(feed.owner, data or make_csv(), name, on_submitted=lambda made: _hand_over(run, made))
    return run, ingested(batch)


def _hand_over(run: FeedRun, batch: Request) -> None:
    assert runs.submitted(run, batch)


def completed(feed: Feed, outcomes: dict[str, bytes | str], data: bytes | None = None) -> FeedRun:
    """A run that is over, with these outcomes by URL."""
    run, batch = submitted(feed, data)
    settle(batch, outcomes)
    run.refresh_from_db()
    return run
