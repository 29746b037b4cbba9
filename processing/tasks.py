"""The actors. A message carries a Request's id and epoch; of an epoch that is over it is void.

Each actor may run twice or never: the rows say what is to be done, and recovery sends messages again.
"""

import logging
import time
import uuid

import dramatiq
from django.db import transaction

from processing import ingest as ingestion
from processing import lane, pipeline
from products.models import Request

logger = logging.getLogger(__name__)

QUEUE = "images"
#: Seconds that an ingest keeps a worker thread before it goes to the end of the queue.
INGEST_SECONDS = 5
SWEEP_SECONDS = 2


@dramatiq.actor(queue_name=QUEUE)
def ingest(request_id: str, epoch: int) -> None:
    """Ingest for a slice of time, then go to the end of the queue; lanes start with the first chunk."""
    batch = _live(request_id, epoch)
    if batch is None or batch.ingested:
        return
    first = batch.ingested_rows == 0
    deadline = time.monotonic() + INGEST_SECONDS
    try:
        for complete in ingestion.run(batch):
            if first:
                send_lanes(batch)
            first = False
            if not complete and time.monotonic() > deadline:
                ingest.send(request_id, epoch)
                break
    except Exception:
        logger.exception("Ingest of %s stopped; recovery takes it up again", request_id)


@dramatiq.actor(queue_name=QUEUE)
def work(request_id: str, epoch: int) -> None:
    """Be a lane for a slice of time, then go to the end of the queue."""
    try:
        batch = _live(request_id, epoch)
        delay = lane.run(batch, pipeline.current()) if batch else None
    except Exception:
        logger.exception("A lane of %s stumbled and goes on", request_id)
        delay = lane.IDLE_SECONDS
    if delay is not None:
        work.send_with_options(args=(request_id, epoch), delay=round(delay * 1000) or None)


@dramatiq.actor(queue_name=QUEUE)
def sweep(request_id: str, epoch: int) -> None:
    """Let rows follow their Request for a slice of time, then go to the end of the queue."""
    batch = Request.objects.unsettled().filter(pk=uuid.UUID(request_id), epoch=epoch).first()
    deadline = time.monotonic() + SWEEP_SECONDS
    try:
        while batch and batch.sweep_on():
            if time.monotonic() > deadline:
                sweep.send(request_id, epoch)
                break
    except Exception:
        logger.exception("A sweep of %s stopped; recovery takes it up again", request_id)


def dispatch(batch: Request) -> bool:
    """Send all messages that a Request needs now, in a new epoch, once the transaction is over.

    False when somebody else has just done so.
    """
    if not batch.new_epoch():
        return False
    if batch.sweep:
        transaction.on_commit(lambda: sweep.send(str(batch.pk), batch.epoch), robust=True)
    if not batch.is_active:
        return True
    if not batch.ingested:
        transaction.on_commit(lambda: ingest.send(str(batch.pk), batch.epoch), robust=True)
    if batch.ingested_rows:  # else they start with the first chunk
        transaction.on_commit(lambda: send_lanes(batch), robust=True)
    return True


def send_lanes(batch: Request) -> None:
    """Send as many lanes as the Request is worth."""
    for _ in range(lane.lanes_for(batch)):
        work.send(str(batch.pk), batch.epoch)


def _live(request_id: str, epoch: int) -> Request | None:
    return Request.objects.active().filter(pk=uuid.UUID(request_id), epoch=epoch).first()
