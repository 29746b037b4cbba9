"""Whether the service can do its work now: what /readyz, the pages and `extract` say."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from datetime import datetime
from threading import Lock, Thread
from typing import Any

import dramatiq
from django.conf import settings
from django.db import connection
from django.db.models import Exists, F, Max, OuterRef, Q, QuerySet

from processing.storage.outputs import try_out
from processing.workers.models import Worker
from products.models import Image, Request

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 2
#: For so long after it was asked for an answer is given again: anyone may ask, and it costs a stored file.
KEPT_SECONDS = 2


def no_worker_since() -> datetime | None:
    """Since when no worker has been seen although work waits; None while one lives, or nothing waits.

    One small query as long as a worker lives.
    """
    if Worker.objects.alive().exists():
        return None
    moments = _waiting().aggregate(Max("created_at"), Max("started_at"), Max("last_progress_at"))
    moved_at: datetime | None = max(filter(None, moments.values()), default=None)
    latest = Worker.objects.first()
    # One that ended in good order has left no row. But later than this it would have moved what waits.
    return latest.seen_at if moved_at and latest else moved_at


def no_worker_sentence(since: datetime) -> str:
    """The same as a sentence."""
    return f"No worker seen since {since:%Y-%m-%d %H:%M:%S} UTC."


def _waiting() -> QuerySet[Request]:
    """Active Requests with something for a worker to do now. With none alive, claims are void."""
    images = Image.objects.pending().filter(request=OuterRef("pk"))
    unread = Q(ingested_rows__lt=F("products_total"))
    return Request.objects.active().filter(
        unread | Exists(images.due()) | Exists(images.exclude(claimed_by=None))
    )


def problems() -> dict[str, str]:
    """What is not ready, each with a sentence; nothing where all is well. Answers within 2 s."""
    answers = {check: check.answer() for check in CHECKS}
    wait(answers.values(), timeout=ANSWER_SECONDS)
    found: dict[str, str] = {}
    for check, answer in answers.items():
        found |= answer.result() if answer.done() else {check.name: f"No answer within {ANSWER_SECONDS} s."}
    return found


class Check:
    """A question to something that may be silent, in a thread, so that nobody has to wait for the answer.

    One thread at a time: while a question is open, whoever asks waits for the answer to that one. For
    KEPT_SECONDS nobody asks anew.
    """

    def __init__(self, name: str, ask: Callable[[], dict[str, str]]) -> None:
        self.name = name
        self._ask = ask
        self._lock = Lock()
        self._answer: Future[dict[str, str]] | None = None
        self._asked_at = 0.0

    def answer(self) -> Future[dict[str, str]]:
        """Ask, unless that is under way or has just been done: the problems, to come."""
        with self._lock:
            is_old = time.monotonic() >= self._asked_at + KEPT_SECONDS
            if self._answer is None or (self._answer.done() and is_old):
                self._answer, self._asked_at = Future(), time.monotonic()
                # Not a pool's: at the end of the process those are waited for.
                Thread(target=self._run, args=[self._answer], name=f"ask {self.name}", daemon=True).start()
            return self._answer

    def _run(self, answer: Future[dict[str, str]]) -> None:
        try:
            found = self._ask()
        except Exception:
            logger.exception("The %s does not answer as it should", self.name)
            found = {self.name: "It does not answer as it should; the log says more."}
        finally:
            connection.close()
        answer.set_result(found)


def _database() -> dict[str, str]:
    since = no_worker_since()
    return {"workers": no_worker_sentence(since)} if since else {}


def _broker() -> dict[str, str]:
    if not settings.EMBEDDED:
        broker: Any = dramatiq.get_broker()  # Redis's: Dramatiq's class of brokers knows no client
        broker.client.ping()
    return {}


def _storage() -> dict[str, str]:
    try_out()
    return {}


CHECKS = (Check("database", _database), Check("broker", _broker), Check("storage", _storage))
