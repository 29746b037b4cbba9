"""One attempt at a picture: fetch → compress → store, and what follows from how that went."""

import logging
import os
import random
from collections.abc import Callable
from datetime import timedelta
from threading import BoundedSemaphore

from django.conf import settings
from django.utils import timezone

from processing.compress import (
    Compressed,
    CompressError,
    Options,
    PixelBudget,
    compress,
    compress_isolated,
)
from processing.fetch import Fetched, FetchError, Version, fetch
from processing.hosts import Hosts
from processing.memory import Memories
from processing.places import Places
from processing.storage import StorageError, store
from processing.transport import guarded_transport
from products.models import Image, Request

logger = logging.getLogger(__name__)

#: Seconds to wait after each failed attempt but the last; DESIGN: five attempts in all.
RETRY_DELAYS = (2, 5, 15, 30)
#: Waiting that is nobody's fault (storage down, "too many requests") costs no attempt, but ends when a
#: Request has not moved for so long.
PATIENCE = timedelta(hours=24)
STORAGE_DELAY = 5


def is_out_of_patience(batch: Request) -> bool:
    """Whether a Request's pictures have waited for others long enough, none of them coming to an end."""
    moments = [moment for moment in (batch.started_at, batch.last_progress_at) if moment]
    return bool(moments) and timezone.now() - max(moments) > PATIENCE


class Attempts:
    """Made by any number of threads, each of its own Image; as many as there are processors compress at once.

    `fetched` is called with an Image as soon as its host has nothing to do with it any more.
    """

    def __init__(
        self, places: Places, hosts: Hosts, memories: Memories, fetched: Callable[[Image], None]
    ) -> None:
        self._places = places
        self._hosts = hosts
        self._memories = memories
        self._fetched = fetched
        self._transport = guarded_transport(
            allowed_networks=settings.FETCH_ALLOWED_NETWORKS, max_connections=settings.FETCH_CONCURRENCY
        )
        self._codec = BoundedSemaphore(os.cpu_count() or 1)
        self._pixels = PixelBudget(settings.IMAGE_MAX_PIXELS)

    def close(self) -> None:
        """Close kept connections."""
        self._transport.close()

    def make(self, image: Image) -> None:
        """Leave an Image completed, failed or postponed, in memory."""
        try:
            self._make(image)
        except FetchError as error:
            self._fetch_failed(image, error)
        except CompressError as error:
            image.attempts += 1
            image.fail(error.code, error.detail)
        except StorageError as error:
            logger.warning("Storage did not take the picture of the image %s: %s", image.pk, error)
            self._places.pause()  # else every picture would be fetched again and again for nothing
            self._wait(image, STORAGE_DELAY, "storage", "The finished picture could not be stored.")
        except Exception:
            logger.exception("Unexpected error with the image %s", image.pk)
            self._again(image, "crashed", "The picture could not be processed because of an internal error.")

    def _make(self, image: Image) -> None:
        try:
            known = self._memories.known(image)
            fetched = self._fetch(image, known.version if known else None)
        finally:
            self._fetched(image)
        if known and fetched.version.sha256 == known.version.sha256:
            image.take_over(known.output)
        else:
            self._finish(image, fetched.data)
        image.attempts += 1
        self._memories.note(image, fetched.version)

    def _fetch(self, image: Image, known: Version | None) -> Fetched:
        try:
            fetched = fetch(
                self._transport,
                image.url,
                timeout=settings.FETCH_TIMEOUT,
                max_bytes=settings.FETCH_MAX_BYTES,
                user_agent=settings.FETCH_USER_AGENT,
                known=known,
            )
        except FetchError as error:
            if error.permanent or error.elsewhere:
                self._hosts.answered(image.host)
            elif error.wants_rest:
                self._hosts.refused(image.host, error.retry_after, error.code)
            else:
                self._hosts.failed(image.host, error.code)
            raise
        self._hosts.answered(image.host)
        return fetched

    def _finish(self, image: Image, data: bytes) -> None:
        """Compress, store, complete."""
        result = self._compress(image, data)
        key = store(result.data, result.extension)
        self._places.go_on()
        image.source_bytes, image.source_format = result.source.bytes, result.source.format
        image.source_width, image.source_height = result.source.width, result.source.height
        image.output_bytes, image.output_format = result.output.bytes, result.output.format
        image.output_width, image.output_height = result.output.width, result.output.height
        image.complete(key)

    def _compress(self, image: Image, data: bytes) -> Compressed:
        batch, most = image.request, settings.IMAGE_MAX_PIXELS
        options = Options(batch.quality, batch.format, batch.max_width, batch.max_height)
        with self._codec:
            if not image.crashes:
                return compress(data, options, max_pixels=most, reserve=self._pixels.taken)
            with self._pixels.taken(most):  # not even its header is read in this process
                return compress_isolated(data, options, max_pixels=most)

    def _fetch_failed(self, image: Image, error: FetchError) -> None:
        if error.permanent:
            image.attempts += 1
            image.fail(error.code, error.detail)
        elif error.wants_rest:
            self._wait(image, error.retry_after or RETRY_DELAYS[-1], error.code, error.detail)
        else:
            self._again(image, error.code, error.detail)

    def _again(self, image: Image, code: str, detail: str) -> None:
        """Count an attempt: the next one follows later, or the Image has failed."""
        image.attempts += 1
        if image.attempts > len(RETRY_DELAYS):
            image.fail(code, detail)
        else:
            delay = RETRY_DELAYS[image.attempts - 1] * random.uniform(0.8, 1.2)  # noqa: S311 (spreads load)
            image.postpone(timedelta(seconds=delay), code, detail)

    def _wait(self, image: Image, seconds: float, code: str, detail: str) -> None:
        """Try again later without counting an attempt, within PATIENCE."""
        if is_out_of_patience(image.request):
            image.attempts += 1
            image.fail(code, detail)
        else:
            image.postpone(timedelta(seconds=seconds), code, detail)
