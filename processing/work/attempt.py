"""One attempt at a picture: fetch → compress → store, and the outcome of it."""

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from django.conf import settings
from django.core.files.storage import default_storage
from django.utils import timezone

from processing import measurements, tracing
from processing.compress import (
    Compressed,
    CompressError,
    NeedsChildError,
    PixelBudget,
    Recipe,
    TimeLimitError,
    check_minimum,
    compress_here,
    compress_isolated,
)
from processing.hosts.rate_limit import RateLimiter
from processing.http.conditions import ConditionRefusals
from processing.http.guard import note_lookups
from processing.storage.names import readable_name
from processing.storage.outputs import StorageError, is_local, is_stored, output_key, save, store
from processing.timing import RETRY_DELAYS_SECONDS, STORAGE_RETRY_SECONDS
from processing.work.byte_budget import MAX_BYTES_IN_HAND, Account, ByteBudget
from processing.work.claim import ClaimedImage
from processing.work.fair_threads import FairThreads
from processing.work.fetch import Fetched, FetchError, PictureTransport, Version, fetch
from processing.work.known_pictures import KnownOutputs, StoredOutput, output_names, recipe_of
from processing.work.slots import Slots
from processing.work.uploaded import is_uploaded, read_uploaded, size_of_uploaded
from products.lifecycle import Outcome, PictureFacts, StoredRendition
from products.models import Names, Request

if TYPE_CHECKING:
    from processing.storage.direct_puts import DirectPuts

logger = logging.getLogger(__name__)

#: Waiting for a storage that is down or a host that asks for fewer requests costs no attempt, but ends when
#: a Request has made no progress for so long.
PATIENCE = timedelta(hours=24)
#: A picture that uses up its time limit this often has failed: once may be the machine's fault.
MAX_TIMEOUTS = 2
#: Outputs that are stored at once: they mostly wait for the storage.
STORAGE_THREADS = 16

T = TypeVar("T")


def has_lost_patience(batch: Request) -> bool:
    """Return whether a Request has made no progress for longer than PATIENCE."""
    moments = [moment for moment in (batch.started_at, batch.last_progress_at) if moment]
    return bool(moments) and timezone.now() - max(moments) > PATIENCE


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that was made: its outcome, and the version of the picture that was fetched, if it was."""

    image: ClaimedImage
    outcome: Outcome
    version: Version | None = None


class Made(NamedTuple):
    """A compressed picture, and the keys under which its outputs are stored or are to be stored."""

    result: Compressed
    keys: list[str]
    are_stored: bool


class AttemptMaker:
    """Makes attempts as tasks of the event loop, with as many codecs at once as there are CPUs.

    Users share the codec fairly. Pictures in child processes, which may take long, have slots of their own,
    and at most half of the CPUs.

    `on_fetched` is called with each image as soon as nothing more is requested from its host.
    """

    def __init__(
        self, slots: Slots, rate_limiter: RateLimiter, on_fetched: Callable[[ClaimedImage], None]
    ) -> None:
        self._slots = slots
        self._rate_limiter = rate_limiter
        self._on_fetched = on_fetched
        self._transport = tracing.traced(
            PictureTransport(
                allowed_networks=settings.FETCH_ALLOWED_NETWORKS, max_connections=settings.FETCH_CONCURRENCY
            )
        )
        self._refusals = ConditionRefusals()
        cpus = os.cpu_count() or 1
        self._codec = FairThreads(cpus, "codec")
        self._children = FairThreads(max(1, cpus // 2), "child")
        self._storage_threads = ThreadPoolExecutor(STORAGE_THREADS, "storage")
        self._puts = _direct_puts()
        self._pixels = PixelBudget(settings.IMAGE_MAX_PIXELS)
        self._bytes = ByteBudget(MAX_BYTES_IN_HAND)

    async def close(self) -> None:
        """Close kept connections, and start nothing more in threads."""
        await self._transport.aclose()
        if self._puts:
            await self._puts.close()
        self._codec.close()
        self._children.close()
        self._storage_threads.shutdown(wait=False, cancel_futures=True)

    async def make(self, image: ClaimedImage) -> Attempt:
        """Make one attempt. Raises nothing but CancelledError: every error becomes an outcome."""
        try:
            return await self._make(image)
        except FetchError as error:
            outcome = _fetch_failed(image, error)
        except CompressError as error:
            outcome = Outcome.failed(image.id, image.attempts + 1, error.code, error.detail)
        except StorageError as error:
            logger.warning("Storage did not take the output of image %s: %s", image.id, error)
            self._slots.pause_claims()  # so that pictures are not fetched again and again for nothing
            outcome = _wait(
                image, STORAGE_RETRY_SECONDS, "storage", "The finished picture could not be stored."
            )
        except Exception:
            logger.exception("Unexpected error with image %s", image.id)
            outcome = _retry(
                image, "crashed", "The picture could not be processed because of an internal error."
            )
        return Attempt(image, outcome)

    async def _make(self, image: ClaimedImage) -> Attempt:
        lookups = note_lookups()
        with self._bytes.account() as account:
            try:
                known = image.known or {}
                if known:
                    known = await _in(self._storage_threads, _still_stored, known)
                with tracing.span("fetch"):
                    fetched = await self._fetch(image, _common_version(known, image.batch), account)
            finally:
                self._end_fetch(image, lookups)
            version = fetched.version
            taken = {name: one.stored for name, one in known.items() if one.version.sha256 == version.sha256}
            return Attempt(image, await self._complete(image, fetched.data, taken), version)

    def _end_fetch(self, image: ClaimedImage, lookups: list[Future[Any]]) -> None:
        """Free the slot of a host, as soon as the threads that look up names for it are free as well.

        So names that a nameserver does not answer for leave threads to other hosts and other owners.
        """
        going_on = [asyncio.wrap_future(lookup) for lookup in lookups if not lookup.done()]
        if going_on:
            ended = asyncio.gather(*going_on, return_exceptions=True)
            ended.add_done_callback(lambda _: self._on_fetched(image))
        else:
            self._on_fetched(image)

    async def _fetch(self, image: ClaimedImage, known: Version | None, account: Account) -> Fetched:
        if is_uploaded(image.batch, image.url):
            return await self._read_uploaded(image, account)
        start = time.monotonic()
        try:
            fetched = await fetch(
                self._transport,
                image.url,
                timeout=settings.FETCH_TIMEOUT,
                max_bytes=settings.FETCH_MAX_BYTES,
                user_agent=settings.FETCH_USER_AGENT,
                known=known,
                account=account,
                refusals=self._refusals,
            )
        except FetchError as error:
            measurements.observe_fetch(time.monotonic() - start, error.code)
            if error.permanent or error.elsewhere:
                self._rate_limiter.answered(image.host)
            elif error.asks_to_wait:
                self._rate_limiter.refused(image.host, error.retry_after, error.code)
            else:
                self._rate_limiter.failed(image.host, error.code)
            raise
        measurements.observe_fetch(time.monotonic() - start, "fetched" if fetched.data else "unchanged")
        self._rate_limiter.answered(image.host)
        return fetched

    async def _read_uploaded(self, image: ClaimedImage, account: Account) -> Fetched:
        start = time.monotonic()
        try:
            await account.take(await _in(self._storage_threads, size_of_uploaded, image.batch, image.url))
            fetched = await _in(self._storage_threads, read_uploaded, image.batch, image.url)
        except FetchError as error:
            measurements.observe_fetch(time.monotonic() - start, error.code)
            raise
        measurements.observe_fetch(time.monotonic() - start, "fetched")
        return fetched

    async def _complete(self, image: ClaimedImage, data: bytes, taken: dict[str, StoredOutput]) -> Outcome:
        """Make and store the outputs that are not taken over, and return the outcome of the picture."""
        recipe, names = recipe_of(image.batch), output_names(image.batch)
        outputs = dict(taken)
        for output in taken.values():
            check_minimum(output.source.width, output.source.height, recipe)
        if missing := [index for index, name in enumerate(names) if name not in taken]:
            result, keys, are_stored = await self._compress(image, data, recipe.only(missing))
            if not are_stored:
                await self._upload(result, keys)
            stored = self._stored(result, keys)
            outputs |= {names[index]: output for index, output in zip(missing, stored, strict=True)}
            if "" not in taken:  # else the saving was counted when the main output was made
                output_bytes = sum(made.output.bytes for made in result.outputs)
                outcome = "kept" if result.kept else "compressed"
                measurements.count_bytes_saved(
                    result.source.bytes, output_bytes, result.output.format, outcome
                )
        main = outputs[""]
        return Outcome.completed(
            image.id,
            image.attempts + 1,
            output_key=main.key,
            source=main.source,
            output=main.output,
            animated=main.animated,
            taken_from=main.image_id,
            renditions=[
                StoredRendition(name, outputs[name].key, outputs[name].output, outputs[name].image_id)
                for name in names[1:]
            ],
        )

    async def _compress(self, image: ClaimedImage, data: bytes, recipe: Recipe) -> Made:
        """Compress a picture when its owner is next."""
        batch, max_pixels = image.batch, settings.IMAGE_MAX_PIXELS
        if image.crashes:  # it may have killed a worker: this process does not even read its header
            return await self._compress_in_child(image, data, recipe, max_pixels)
        start = time.monotonic()

        def compress() -> Made:
            measurements.observe_wait(time.monotonic() - start)
            return _make_outputs(
                image, partial(compress_here, data, recipe, max_pixels=max_pixels, reserve=self._pixels.taken)
            )

        try:
            return await self._codec.run(batch.owner_id, compress)
        except NeedsChildError as needs:
            return await self._compress_in_child(image, data, recipe, needs.pixels)

    async def _compress_in_child(self, image: ClaimedImage, data: bytes, recipe: Recipe, pixels: int) -> Made:
        """Compress a picture in a child process, again if it uses up its time limit."""

        def compress() -> Compressed:
            with self._pixels.taken(pixels):
                return compress_isolated(data, recipe, max_pixels=settings.IMAGE_MAX_PIXELS)

        timeouts = 0
        while True:
            try:
                return await self._children.run(image.batch.owner_id, partial(_make_outputs, image, compress))
            except TimeLimitError:
                timeouts += 1
                if timeouts == MAX_TIMEOUTS:
                    raise

    async def _upload(self, result: Compressed, keys: list[str]) -> None:
        """Store all outputs of a picture on S3. Raises StorageError."""
        for key, made in zip(keys, result.outputs, strict=True):
            start = time.monotonic()
            with tracing.span("store"):
                if not (self._puts and await self._puts.put(key, made.data)):
                    await _in(self._storage_threads, save, key, made.data)
            measurements.observe_store(time.monotonic() - start)

    def _stored(self, result: Compressed, keys: list[str]) -> list[StoredOutput]:
        """Return the outputs that were stored under these keys."""
        self._slots.resume_claims()
        source = PictureFacts(*result.source)
        return [
            StoredOutput(None, key, source, PictureFacts(*made.output), result.animated)
            for key, made in zip(keys, result.outputs, strict=True)
        ]


def _direct_puts() -> "DirectPuts | None":
    """Return what stores outputs in S3, None for any other storage."""
    if is_local():
        return None
    from processing.storage.direct_puts import DirectPuts  # noqa: PLC0415  # imports boto3, which is slow
    from processing.storage.s3 import PictureStorage  # noqa: PLC0415  # this too

    return DirectPuts(default_storage) if isinstance(default_storage, PictureStorage) else None


def _still_stored(known: KnownOutputs) -> KnownOutputs:
    return {name: one for name, one in known.items() if is_stored(one.stored.key)}


def _make_outputs(image: ClaimedImage, compress: Callable[[], Compressed]) -> Made:
    """Compress a picture, and store it where that takes no longer than to hand it to another thread.

    Hashes of large outputs would hold up the event loop, so their keys are made here, too.
    """
    start = time.monotonic()
    with tracing.span("compress"):
        result = compress()
    measurements.observe_compress(time.monotonic() - start, result.output.format)
    if is_local():
        return Made(result, _store(image, result), are_stored=True)
    keys = [output_key(made.data, made.extension, _name(image)) for made in result.outputs]
    return Made(result, keys, are_stored=False)


def _store(image: ClaimedImage, result: Compressed) -> list[str]:
    """Store all outputs of a picture in local files and return their keys. Raises StorageError."""
    keys = []
    for made in result.outputs:
        start = time.monotonic()
        with tracing.span("store"):
            keys.append(store(made.data, made.extension, _name(image)))
        measurements.observe_store(time.monotonic() - start)
    return keys


def _name(image: ClaimedImage) -> str:
    return readable_name(image.url) if image.batch.names == Names.SOURCE else ""


async def _in(threads: ThreadPoolExecutor, function: Callable[..., T], *args: Any) -> T:
    call = partial(copy_context().run, function, *args)
    return await asyncio.get_running_loop().run_in_executor(threads, call)


def _common_version(known: KnownOutputs, batch: Request) -> Version | None:
    """Return the version of which all outputs are known, to be asked for conditionally.

    None if one is missing or of another version: then the picture itself is needed, whatever the answer.
    """
    versions = [one.version for one in known.values()]
    is_complete = len(known) == len(output_names(batch))
    is_same = is_complete and len({version.sha256 for version in versions}) == 1
    return versions[0] if is_same else None


def _fetch_failed(image: ClaimedImage, error: FetchError) -> Outcome:
    if error.permanent:
        return Outcome.failed(image.id, image.attempts + 1, error.code, error.detail)
    if error.asks_to_wait:
        return _wait(image, error.retry_after or RETRY_DELAYS_SECONDS[-1], error.code, error.detail)
    return _retry(image, error.code, error.detail)


def _retry(image: ClaimedImage, code: str, detail: str) -> Outcome:
    """Count an attempt and try again after a delay, or fail if it was the last."""
    attempts = image.attempts + 1
    if attempts > len(RETRY_DELAYS_SECONDS):
        return Outcome.failed(image.id, attempts, code, detail)
    jitter = random.uniform(0.8, 1.2)  # noqa: S311 (spreads load)
    return Outcome.postponed(image.id, attempts, RETRY_DELAYS_SECONDS[attempts - 1] * jitter, code, detail)


def _wait(image: ClaimedImage, seconds: float, code: str, detail: str) -> Outcome:
    """Try again later without counting an attempt, or fail if the Request has lost its patience."""
    if has_lost_patience(image.batch):
        return Outcome.failed(image.id, image.attempts + 1, code, detail)
    return Outcome.postponed(image.id, image.attempts, seconds, code, detail)
