"""Lanes: messages, at most LANES per Request, that make a worker claim its Images for a slice of time."""

import math
import time
from collections.abc import Mapping
from typing import NamedTuple

from django.conf import settings

from processing import runtime
from processing.hosts.rate_limit import Pause
from processing.work.claim import ClaimedImage, EmptyClaim, claim
from processing.work.pipeline import Pipeline
from products.models import Image, Request

LANES = runtime.current.max_lanes
#: A lane occupies a worker thread for this long, then goes to the end of the queue, behind other Requests.
SLICE_SECONDS = 2
IDLE_SECONDS = 1
#: A second lane of a Request in one process is forwarded at most this often in a row, to reach a process that
#: has none.
MAX_FORWARDS = runtime.current.max_lane_forwards
#: How long a claim that found only Images of busy hosts is not repeated: a multiple of the time that it took,
#: and at least half a second.
EMPTY_CLAIM_BACKOFF_FACTOR = 20
MIN_EMPTY_CLAIM_SECONDS = 0.5
#: Delayed messages of a killed worker come back late, so longer waits are left to recovery.
MAX_DELAY_SECONDS = 60


def lanes_for(batch: Request) -> int:
    """Return the number of lanes of a Request: one for each worker process that its Images can fill."""
    if not batch.ingested:
        return LANES
    return max(1, min(LANES, math.ceil(batch.images_pending / settings.FETCH_CONCURRENCY)))


class NextSlice(NamedTuple):
    """The delay until a lane runs again, and how often in a row it has been forwarded by then."""

    delay_seconds: float
    forwards: int = 0


def run(batch: Request, pipeline: Pipeline, forwards: int = 0) -> NextSlice | None:
    """Claim due Images for `pipeline` for a slice of time.

    Returns the next slice, or None if the lane is no longer needed.
    """
    deadline = time.monotonic() + SLICE_SECONDS
    with pipeline.fed_with(batch) as alone:
        if alone:
            delay = _feed(batch, pipeline, deadline)
            return None if delay is None else NextSlice(delay)
    return NextSlice(0, forwards + 1) if forwards < MAX_FORWARDS else NextSlice(SLICE_SECONDS)


def _feed(batch: Request, pipeline: Pipeline, deadline: float) -> float | None:
    """Claim until the deadline or until no Image is due. Return the delay of the next slice, if any."""
    while not pipeline.stopping and (left := deadline - time.monotonic()) > 0:
        with pipeline.claiming(batch, left) as (room, busy):
            empty = pipeline.empty_claims.get(batch.pk)
            is_repeated = empty is not None and empty.would_be_repeated(busy)
            images: list[ClaimedImage] = []
            if room and not is_repeated:
                start = time.monotonic()
                images = claim(batch, pipeline.worker_id, room, busy)
                if busy and not images:
                    seconds = EMPTY_CLAIM_BACKOFF_FACTOR * (time.monotonic() - start)
                    again_at = time.monotonic() + max(seconds, MIN_EMPTY_CLAIM_SECONDS)
                    pipeline.note_empty_claim(batch.pk, EmptyClaim(frozenset(busy), again_at))
            if images:
                pipeline.submit(batch, images)
        if room and not images:
            paused = pipeline.paused_hosts()
            due = Image.objects.due().filter(request=batch).exclude(host__in=paused)
            if not busy or not (is_repeated or due.exists()):
                pipeline.empty_claims.pop(batch.pk, None)
                return _idle_seconds(batch, paused)
            pipeline.wait_for_host(batch, [host for host in busy if host not in paused], left)
    return 0


def _idle_seconds(batch: Request, paused: Mapping[str, Pause]) -> float | None:
    """Return the seconds until Images may be due; None if the work has ended or this epoch is over."""
    if not Request.objects.active().filter(pk=batch.pk, epoch=batch.epoch).exists():
        return None
    waiting = Image.objects.pending().filter(request=batch, claimed_by=None)
    next_due = waiting.exclude(host__in=paused).order_by("due_at").values_list("due_at", flat=True).first()
    moments = [pause.until for pause in paused.values()] + ([next_due.timestamp()] if next_due else [])
    delay = min(moments) - time.time() if moments else IDLE_SECONDS
    return min(max(delay, IDLE_SECONDS), MAX_DELAY_SECONDS)
