"""Health checks: what /readyz, the pages and `extract` report about workers, database, broker and storage."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from datetime import datetime
from threading import Lock, Thread
from typing import Any

from django.db import connection
from django.db.models import Exists, F, Max, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from processing import runtime
from processing.storage.outputs import store_probe
from processing.workers.models import Worker
from products.models import Image, Request

logger = logging.getLogger(__name__)

#: A check that takes longer counts as failed.
TIMEOUT_SECONDS = 2
#: A result is reused for this long: anyone may call /readyz, and the storage check writes a file.
CACHE_SECONDS = 2


def no_worker_since() -> datetime | None:
    """Return when a worker was last seen if work is waiting and no worker is alive, else None.

    Costs one small query while a worker is alive.
    """
    if Worker.objects.alive().exists():
        return None
    moments = _waiting().aggregate(Max("created_at"), Max("started_at"), Max("last_progress_at"))
    moved_at: datetime | None = max(filter(None, moments.values()), default=None)
    latest = Worker.objects.first()
    # A worker that was stopped has deleted its row, but it made progress until then.
    return latest.seen_at if moved_at and latest else moved_at


def no_worker_sentence(since: datetime) -> str:
    """Return the time from no_worker_since() as a sentence."""
    return f"No worker seen since {since:%Y-%m-%d %H:%M:%S} UTC."


def _waiting() -> QuerySet[Request]:
    """Return active Requests with work that is due. Claimed Images count, since no worker is alive."""
    images = Image.objects.pending().filter(request=OuterRef("pk"))
    unread = Q(ingested_rows__lt=F("products_total"))
    return Request.objects.active().filter(
        unread | Exists(images.due()) | Exists(images.exclude(claimed_by=None))
    )


def workers_context(request: HttpRequest) -> dict[str, Any]:
    """Add `no_worker_since` to every template; its query runs only where a template uses it."""
    return {"no_worker_since": SimpleLazyObject(no_worker_since)}


def problems() -> dict[str, str]:
    """Return a sentence for each part of the service that is not ready, within TIMEOUT_SECONDS."""
    results = {check: check.start() for check in CHECKS}
    wait(results.values(), timeout=TIMEOUT_SECONDS)
    found: dict[str, str] = {}
    for check, result in results.items():
        found |= result.result() if result.done() else {check.name: f"No answer within {TIMEOUT_SECONDS} s."}
    return found


class Check:
    """A check that may hang, run in a thread, so that the caller can stop waiting for it.

    `run` returns a sentence for each problem, by the name of the part. At most one thread runs at a time:
    callers share its result, and for CACHE_SECONDS after its start no other is started.
    """

    def __init__(self, name: str, run: Callable[[], dict[str, str]]) -> None:
        self.name = name
        self._run = run
        self._lock = Lock()
        self._result: Future[dict[str, str]] | None = None
        self._started_at = 0.0

    def start(self) -> Future[dict[str, str]]:
        """Return the future problems of a run that is in progress or recent, else of a new one."""
        with self._lock:
            is_old = time.monotonic() >= self._started_at + CACHE_SECONDS
            if self._result is None or (self._result.done() and is_old):
                self._result, self._started_at = Future(), time.monotonic()
                # Not in a pool: the end of the process would wait for its threads.
                name = f"check {self.name}"
                Thread(target=self._run_into, args=[self._result], name=name, daemon=True).start()
            return self._result

    def _run_into(self, result: Future[dict[str, str]]) -> None:
        try:
            found = self._run()
        except Exception:
            logger.exception("The %s check failed", self.name)
            found = {self.name: "The check failed; see the log."}
        finally:
            connection.close()
        result.set_result(found)


def _check_database() -> dict[str, str]:
    since = no_worker_since()
    return {"workers": no_worker_sentence(since)} if since else {}


def _check_broker() -> dict[str, str]:
    runtime.current.ping_broker()
    return {}


def _check_storage() -> dict[str, str]:
    store_probe()
    return {}


CHECKS = (
    Check("database", _check_database),
    Check("broker", _check_broker),
    Check("storage", _check_storage),
)
