"""The actors. A message carries keys: a Request's id and epoch (of an epoch that is over it is void) and how
often a lane was sent on, or an endpoint's id.

Each actor may run twice or never: the rows say what is to be done, and recovery sends messages again.
"""

import logging
import time
import uuid
from datetime import timedelta

import dramatiq
import redis
from django.db import transaction
from django.utils import timezone

from processing import logs, runtime
from processing.work import ingest as ingestion
from processing.work import lane, pipeline
from products.models import Request

logger = logging.getLogger(__name__)

QUEUE = "images"
#: Seconds that an ingest keeps a worker thread before it goes to the end of the queue.
INGEST_SECONDS = 5
SWEEP_SECONDS = 2


@dramatiq.actor(queue_name=QUEUE)
def ingest(request_id: str, epoch: int) -> None:
    """Ingest for a slice of time, then go to the end of the queue; lanes start with the first chunk."""
    try:
        batch = _live(request_id, epoch)
        if batch is None or batch.ingested:
            return
        is_first, deadline = batch.ingested_rows == 0, None
        for complete in ingestion.run(batch):
            if is_first:
                send_lanes(batch)
            is_first = False
            # Coming to where the last slice ended does not count, else it could take up all of this one.
            deadline = deadline or time.monotonic() + INGEST_SECONDS
            if not complete and time.monotonic() > deadline:
                _send_again(ingest, batch)
                break
    except Exception:
        logger.exception("Ingest of %s stopped; recovery takes it up again", request_id)


@dramatiq.actor(queue_name=QUEUE)
def work(request_id: str, epoch: int, sent_on: int = 0) -> None:
    """Be a lane for a slice of time, then go to the end of the queue."""
    try:
        batch = _live(request_id, epoch)
        turn = lane.run(batch, pipeline.current(), sent_on) if batch else None
        if batch and turn:
            _send_again(work, batch, turn.delay, turn.sent_on)
    except Exception:
        logger.exception("A lane of %s stumbled and goes on", request_id)
        work.send_with_options(args=(request_id, epoch), delay=round(lane.IDLE_SECONDS * 1000))


@dramatiq.actor(queue_name=QUEUE)
def sweep(request_id: str, epoch: int) -> None:
    """Let rows follow their Request for a slice of time, then go to the end of the queue."""
    deadline = time.monotonic() + SWEEP_SECONDS
    try:
        batch = Request.objects.unsettled().filter(pk=uuid.UUID(request_id), epoch=epoch).first()
        while batch and batch.sweep_on():
            if time.monotonic() > deadline:
                _send_again(sweep, batch)
                break
    except Exception:
        logger.exception("A sweep of %s stopped; recovery takes it up again", request_id)


def can_send() -> bool:
    """Whether messages of this process reach a worker: embedded, only those of the one that it lives in."""
    return runtime.current.messages_reach_worker(from_worker=pipeline.is_worker())


def dispatch(batch: Request) -> bool:
    """Send all messages that a Request needs now, in a new epoch, once the transaction is over.

    A process that cannot send marks the Request for recovery elsewhere. False when it does, or when somebody
    else has just sent them.
    """
    if not can_send():
        Request.objects.filter(pk=batch.pk).update(dispatched_at=None)
        return False
    if not batch.new_epoch():
        return False
    transaction.on_commit(lambda: _send_all(batch), robust=True)
    return True


def _send_all(batch: Request) -> None:
    """Send what is to be done in this epoch; what a broker that is down does not take is left to recovery."""
    try:
        if batch.sweep:
            sweep.send(str(batch.pk), batch.epoch)
        if batch.is_active and not batch.ingested:
            ingest.send(str(batch.pk), batch.epoch)
        if batch.is_active and batch.ingested_rows:  # else they start with the first chunk
            send_lanes(batch)
    except redis.RedisError as error:
        logger.warning("The broker took no message for %s: %s", batch.pk, error)
        Request.objects.filter(pk=batch.pk, epoch=batch.epoch).update(dispatched_at=None)


def _send_again(actor: dramatiq.Actor[..., None], batch: Request, delay: float = 0, sent_on: int = 0) -> None:
    """Send a Request's message again, to run in `delay` seconds, and note for recovery when that is.

    Of one that is sent on from worker to worker it is noted already.
    """
    if not sent_on:
        batch.note_message(timezone.now() + timedelta(seconds=delay))
    actor.send_with_options(
        args=(str(batch.pk), batch.epoch, *([sent_on] if sent_on else [])),
        delay=round(delay * 1000) or None,
        lane=logs.subject().get("lane"),
    )


def send_lanes(batch: Request) -> None:
    """Send as many lanes as the Request is worth."""
    batch.note_message(timezone.now())
    for _ in range(lane.lanes_for(batch)):
        work.send(str(batch.pk), batch.epoch)


def _live(request_id: str, epoch: int) -> Request | None:
    return Request.objects.active().filter(pk=uuid.UUID(request_id), epoch=epoch).first()
