"""Write the outcomes of attempts in bulk, and the versions of their pictures."""

import asyncio
import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial

from django.db import close_old_connections, connections

from processing import logs
from processing.work import known_pictures
from processing.work.attempt import Attempt
from processing.work.claim import ClaimedImage
from processing.work.slots import Slots
from products.lifecycle import Outcome, record
from products.models import ImageStatus

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.5
#: The pause after the database did not take outcomes.
RETRY_SECONDS = 1


class Flusher:
    """Writes attempts, those of half a second at once, in a thread of its own.

    Outcomes that the database does not take are kept until it does. `on_written` is called with the Images of
    attempts that have been written. Used in the event loop only.
    """

    def __init__(
        self, worker_id: uuid.UUID, slots: Slots, on_written: Callable[[list[ClaimedImage]], None]
    ) -> None:
        self._worker_id = worker_id
        self._slots = slots
        self._on_written = on_written
        self._made: list[Attempt] = []
        self._is_due = asyncio.Event()
        self._closed = False
        self._thread = ThreadPoolExecutor(1, "flush")
        self._task = asyncio.create_task(self._flush_until_closed(), name="flush")

    def add(self, attempt: Attempt) -> None:
        """Leave an attempt to the next flush."""
        self._made.append(attempt)
        self._is_due.set()

    async def close(self, seconds: float) -> None:
        """Write what is left, for at most `seconds`."""
        self._closed = True
        self._is_due.set()
        self._slots.ended.set()
        await asyncio.wait([self._task], timeout=seconds)
        self._task.cancel()
        self._thread.submit(connections.close_all)
        self._thread.shutdown(wait=False)

    async def _flush_until_closed(self) -> None:
        while not self._closed or self._made:
            await self._is_due.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._wait_for_end()
            self._is_due.clear()
            attempts, self._made = self._made, []
            await self._flush(attempts)

    async def _wait_for_end(self) -> None:
        """Wait until a Request of which attempts were made has nothing in hand, or no more are made."""
        while not self._closed and all(
            self._slots.has_in_hand(attempt.image.request_id) for attempt in self._made
        ):
            self._slots.ended.clear()
            await self._slots.ended.wait()

    async def _flush(self, attempts: list[Attempt]) -> None:
        by_run: defaultdict[tuple[uuid.UUID, int], list[Attempt]] = defaultdict(list)
        for attempt in attempts:
            by_run[attempt.image.request_id, attempt.image.batch.run].append(attempt)
        loop = asyncio.get_running_loop()
        # Small ones first: they may be all of a Request, and each waits for those in front of it.
        for (request_id, number), made in sorted(by_run.items(), key=lambda item: len(item[1])):
            with logs.about(request_id=request_id):
                write = partial(copy_context().run, _write, self._worker_id, request_id, number, made)
                is_written = await loop.run_in_executor(self._thread, write)
            if is_written:
                self._on_written([attempt.image for attempt in made])
            elif not self._closed:
                self._made += made
                self._is_due.set()


def _write(worker_id: uuid.UUID, request_id: uuid.UUID, run: int, attempts: list[Attempt]) -> bool:
    """Write attempts of one run. Return False, after a pause, if the database does not take the outcomes."""
    try:
        close_old_connections()
        written = record(request_id, (attempt.outcome for attempt in attempts), worker_id, run)
    except Exception:
        logger.exception("Outcomes of %d images of %s wait for the database", len(attempts), request_id)
        time.sleep(RETRY_SECONDS)
        return False
    try:
        _remember(attempts, written)
    except Exception:  # costs no more than fetching them again
        logger.exception("The versions of %d pictures of %s were not stored", len(attempts), request_id)
    return True


def _remember(attempts: list[Attempt], written: list[Outcome]) -> None:
    """Store the versions of pictures whose Images have been completed."""
    completed = {outcome.id for outcome in written if outcome.status == ImageStatus.COMPLETED}
    # By id, since an Image that was released and claimed again may have been attempted twice.
    pictures = {
        attempt.image.id: (attempt.image.batch, attempt.image.url, attempt.image.id, attempt.version)
        for attempt in attempts
        if attempt.version and attempt.image.id in completed
    }
    if pictures:
        known_pictures.remember(pictures.values())
