"""A lane: one of at most LANES messages by which a Request's Images come into workers' hands."""

import math
import time
from collections.abc import Mapping
from typing import NamedTuple

from django.conf import settings

from processing import runtime
from processing.hosts.backoff import Pause
from processing.work.pipeline import Pipeline
from products.models import Image, Request

LANES = 8
#: Seconds that a lane keeps a worker thread before it goes to the end of the queue, behind other Requests.
SLICE_SECONDS = 2
IDLE_SECONDS = 1
#: How often a lane that is one too many in its process is sent on at once, to come to a process without one.
MOST_SENT_ON = runtime.current.max_lane_forwards
#: Delayed messages of a worker that is killed come back late, so longer waits are left to recovery.
LONGEST_WAIT_SECONDS = 60


def lanes_for(batch: Request) -> int:
    """How many lanes a Request is worth: no more than one for each pool that its Images could fill."""
    if not batch.ingested:
        return LANES
    return max(1, min(LANES, math.ceil(batch.images_pending / settings.FETCH_CONCURRENCY)))


class Turn(NamedTuple):
    """A lane's next turn: in how many seconds, and how often in a row it has been sent on by then."""

    delay: float
    sent_on: int = 0


def run(batch: Request, pipeline: Pipeline, sent_on: int = 0) -> Turn | None:
    """Hand due Images to `pipeline` for a slice of time.

    Returns the next turn, None if the lane has come to its end.
    """
    deadline = time.monotonic() + SLICE_SECONDS
    with pipeline.fed_with(batch) as alone:
        if alone:
            delay = _feed(batch, pipeline, deadline)
            return None if delay is None else Turn(delay)
    return Turn(0, sent_on + 1) if sent_on < MOST_SENT_ON else Turn(SLICE_SECONDS)


def _feed(batch: Request, pipeline: Pipeline, deadline: float) -> float | None:
    while not pipeline.stopping and (left := deadline - time.monotonic()) > 0:
        with pipeline.places.turn(left) as room:
            busy = pipeline.busy_hosts(batch)
            is_vain = pipeline.vain_looks.is_vain(batch, busy)
            images = _claim(batch, pipeline, room, busy) if room and not is_vain else []
            if images:
                pipeline.submit(images)
        if room and not images:
            paused = pipeline.hosts.paused()
            due = Image.objects.due().filter(request=batch).exclude(host__in=paused)
            if not busy or not (is_vain or due.exists()):
                return _idle(batch, paused)
            pipeline.places.wait_for_host([host for host in busy if host not in paused], left)
    return 0


def _claim(batch: Request, pipeline: Pipeline, room: int, busy: list[str]) -> list[Image]:
    start = time.monotonic()
    images = Image.objects.claim(batch, pipeline.worker_id, room, busy)
    if busy and not images:
        pipeline.vain_looks.note(batch, busy, time.monotonic() - start)
    return images


def _idle(batch: Request, paused: Mapping[str, Pause]) -> float | None:
    """Nothing is due at hosts that may be asked: when to look again, or never if the work has ended or this
    epoch is over.
    """
    if not Request.objects.active().filter(pk=batch.pk, epoch=batch.epoch).exists():
        return None
    parked = Image.objects.pending().filter(request=batch, claimed_by=None)
    next_due = parked.exclude(host__in=paused).order_by("due_at").values_list("due_at", flat=True).first()
    moments = [pause.until for pause in paused.values()] + ([next_due.timestamp()] if next_due else [])
    wait = min(moments) - time.time() if moments else IDLE_SECONDS
    return min(max(wait, IDLE_SECONDS), LONGEST_WAIT_SECONDS)
