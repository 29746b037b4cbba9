"""Actors that work on Requests, and the messages for them.

A message carries the Request's id and epoch, and is ignored in any other epoch; a lane's message also carries
the number of times it was forwarded. An actor may run twice or not at all: the rows have the work that is
left, and recovery sends lost messages again.
"""

import logging
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from threading import Lock
from typing import Any

import dramatiq
import redis
from django.db import connection, transaction
from django.utils import timezone

from processing import logs, runtime
from processing.work import ingest as ingestion
from processing.work import lane, pipeline
from products import lifecycle
from products.models import Request, RequestStatus

logger = logging.getLogger(__name__)

QUEUE = "images"
#: An ingest or a sweep occupies a worker thread for this long, then goes to the end of the queue.
INGEST_SECONDS = 5
SWEEP_SECONDS = 2
#: Between two transactions of a sweep, and on SQLite of an ingest, so that others can write to SQLite too.
WRITE_PAUSE_SECONDS = 0.05
#: Held by the sweep of this process that is under way. Several would delay each other and other work.
_sweeping = Lock()


@dramatiq.actor(queue_name=QUEUE)
def ingest(request_id: str, epoch: int) -> None:
    """Ingest for a slice of time, then go to the end of the queue. Lanes start with the first chunk."""
    try:
        batch = _active(request_id, epoch)
        if batch and not batch.ingested and _unfinished_after(INGEST_SECONDS, _ingest_chunks(batch)):
            _send_again(ingest, batch)
    except Exception:
        logger.exception("Ingest of %s stopped; recovery resumes it", request_id)


@dramatiq.actor(queue_name=QUEUE)
def work(request_id: str, epoch: int, forwards: int = 0) -> None:
    """Run a lane for a slice of time, then go to the end of the queue."""
    batch = None
    try:
        batch = _active(request_id, epoch)
        following = lane.run(batch, pipeline.current(), forwards) if batch else None
        if batch and following:
            _send_again(work, batch, following.delay_seconds, following.forwards)
    except Exception:
        logger.exception("A lane of %s failed; it runs again in a second", request_id)
        owner = batch.owner_id if batch else None
        work.send_with_options(args=(request_id, epoch), owner=owner, delay=round(lane.IDLE_SECONDS * 1000))


@dramatiq.actor(queue_name=QUEUE)
def sweep(request_id: str, epoch: int) -> None:
    """Sweep for a slice of time, then go to the end of the queue."""
    try:
        batch = Request.objects.unsettled().filter(pk=uuid.UUID(request_id), epoch=epoch).first()
        if batch is None:
            return
        if not _sweeping.acquire(blocking=False):
            _send_again(sweep, batch, SWEEP_SECONDS)
            return
        try:
            unfinished = _unfinished_after(SWEEP_SECONDS, _sweep_rows(batch))
        finally:
            _sweeping.release()
        if unfinished:
            _send_again(sweep, batch)
    except Exception:
        logger.exception("A sweep of %s stopped; recovery resumes it", request_id)


def can_send() -> bool:
    """Return whether messages of this process reach a worker: embedded, only if it is the worker itself."""
    return runtime.current.messages_reach_worker(from_worker=pipeline.is_worker())


def dispatch(batch: Request) -> bool:
    """Send all messages that a Request needs now, in a new epoch, when the transaction commits.

    Returns False if another process has just sent them. Also if messages of this process reach no worker:
    then recovery in another process sends them.
    """
    if not can_send():
        Request.objects.filter(pk=batch.pk).update(dispatched_at=None)
        return False
    now = timezone.now()
    mine = Request.objects.unsettled().filter(pk=batch.pk, epoch=batch.epoch)
    if not mine.update(epoch=batch.epoch + 1, dispatched_at=now):
        return False
    batch.epoch, batch.dispatched_at = batch.epoch + 1, now
    transaction.on_commit(lambda: _send_all(batch), robust=True)
    return True


def send_lanes(batch: Request) -> None:
    """Send as many lanes as the Request needs."""
    _note_message(batch)
    for _ in range(lane.lanes_for(batch)):
        _send(work, batch)


def _send_all(batch: Request) -> None:
    """Send the messages of this epoch. If the broker is down, recovery sends them later."""
    try:
        if batch.sweep:
            _send(sweep, batch)
        if batch.is_active and not batch.ingested:
            _send(ingest, batch)
        if batch.status == RequestStatus.PROCESSING:  # else lanes start with the first chunk
            send_lanes(batch)
    except redis.RedisError as error:
        logger.warning("The broker does not accept messages for %s: %s", batch.pk, error)
        Request.objects.filter(pk=batch.pk, epoch=batch.epoch).update(dispatched_at=None)


def _send_again(
    actor: dramatiq.Actor[..., None], batch: Request, delay_seconds: float = 0, forwards: int = 0
) -> None:
    """Send a Request's message again. The message of a forwarded lane is already noted for recovery."""
    if not forwards:
        _note_message(batch, delay_seconds)
    arguments = [forwards] if forwards else []
    delay = round(delay_seconds * 1000) or None
    _send(actor, batch, *arguments, delay=delay, lane=logs.subject().get("lane"))


def _send(actor: dramatiq.Actor[..., None], batch: Request, *arguments: int, **options: Any) -> None:
    """Send a message of a Request, which takes its turn with those of its owner (`processing.work.turns`)."""
    actor.send_with_options(args=(str(batch.pk), batch.epoch, *arguments), owner=batch.owner_id, **options)


def _note_message(batch: Request, delay_seconds: float = 0) -> None:
    """Store the time at which the last message of this epoch is due, for recovery."""
    due_at = timezone.now() + timedelta(seconds=delay_seconds)
    Request.objects.filter(pk=batch.pk, epoch=batch.epoch).update(dispatched_at=due_at)


def _active(request_id: str, epoch: int) -> Request | None:
    return Request.objects.active().filter(pk=uuid.UUID(request_id), epoch=epoch).first()


def _ingest_chunks(batch: Request) -> Iterator[bool]:
    """Ingest chunk by chunk; yield whether rows are left. Start the lanes with the first chunk."""
    is_first = batch.status == RequestStatus.PENDING
    for complete in ingestion.run(batch):
        if is_first:
            send_lanes(batch)
        is_first = False
        yield not complete
        if connection.vendor == "sqlite":
            time.sleep(WRITE_PAUSE_SECONDS)


def _sweep_rows(batch: Request) -> Iterator[bool]:
    """Sweep by short transactions; yield whether rows are left."""
    while lifecycle.sweep(batch):
        yield True
        time.sleep(WRITE_PAUSE_SECONDS)
    yield False


def _unfinished_after(seconds: float, steps: Iterator[bool]) -> bool:
    """Take steps, which yield whether more are left, for this time; return whether more are left.

    The time begins after the first step: an ingest first skips what earlier slices have read, which could
    take up the whole slice.
    """
    more = next(steps, False)
    deadline = time.monotonic() + seconds
    while more and time.monotonic() <= deadline:
        more = next(steps, False)
    return more
