"""Trials: some pictures of a catalogue fetched and made as the options say, before it is submitted.

Nothing of a trial is counted. Its files are stored beside catalogues, and deleted by recovery after an hour.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import BoundedSemaphore, Lock
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.files import File
from django.core.files.base import ContentFile
from django.http import FileResponse, Http404, HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_safe

from processing import loop
from processing.compress import Compressed, CompressError, Encoded, Recipe, compress_isolated
from processing.work.byte_budget import MAX_BYTES_IN_HAND, Account, ByteBudget
from processing.work.fetch import FetchError
from processing.work.known_pictures import recipe_of
from processing.work.models import Trial
from processing.work.uploaded import picture_data
from products.catalogue import Catalogue, host_of, url_problem
from products.models import Request
from products.models.files import storage_checked, uploads_storage
from products.pages.pictures import MEDIA_POLICY
from products.throttling import LimitReached

MAX_PICTURES, DEFAULT_PICTURES = 12, 8
#: For everything but the last answer of a child process, which is given a second at least.
TRIAL_SECONDS = 27
DECODE_SECONDS = 10
#: Fetches of a trial at once, and trials of a web process at once. Their sources share MAX_BYTES_IN_HAND.
FETCHES, MAX_TRIALS = 4, 2
#: Hosts that pictures are chosen from, in the order of appearance.
MAX_HOSTS = 1_000
#: The same pictures are chosen again, so that options can be compared.
SEED = 24
#: Of one core, for a megapixel of a source with its scaling, and of an output by its format, measured with
#: photographs of 1600 x 1200 pixels that were scaled to 1000 x 750.
DECODING_SECONDS = 0.006
ENCODING_SECONDS = {"jpeg": 0.006, "webp": 0.14, "avif": 0.45, "png": 0.12}
#: Factors of ENCODING_SECONDS for efforts other than `balanced`.
EFFORT_FACTORS = {
    **{("jpeg", "smallest"): 5.0, ("webp", "fast"): 0.5, ("webp", "smallest"): 2.2, ("avif", "fast"): 0.1},
    **{("png", "fast"): 0.4, ("png", "smallest"): 1.6},
}
#: For choosing the quality `auto` of an output, by its format.
AUTO_SECONDS = {"jpeg": 0.007, "webp": 0.08, "avif": 0.47}
CONTENT_TYPES = {
    **{name: f"image/{name}" for name in ("jpeg", "png", "webp", "gif", "avif", "bmp", "tiff")},
    "mpo": "image/jpeg",
}
#: Formats that browsers show.
SHOWN = CONTENT_TYPES.keys() - {"tiff"}

_trials = BoundedSemaphore(MAX_TRIALS)
_bytes = ByteBudget(MAX_BYTES_IN_HAND)  # of the event loop
# One at a time in a web process: decoding a large picture takes memory.
_decoding = Lock()


@dataclass(frozen=True, slots=True)
class Tried:
    """A picture of a trial: what was made of it, or the code and detail of its failure."""

    url: str
    made: Compressed | None
    error: tuple[str, str] | None
    source_path: str = ""
    output_path: str = ""
    fetch_seconds: float = 0.0
    names: tuple[str, ...] = ()  # of the renditions

    @property
    def renditions(self) -> list[tuple[str, Encoded]]:
        """The renditions with their names."""
        return [*zip(self.names, self.made.renditions, strict=True)] if self.made else []

    @property
    def is_shown(self) -> bool:
        """True if browsers show both source and output."""
        return self.made is not None and {self.made.source.format, self.made.output.format} <= SHOWN

    @property
    def output_bytes(self) -> int:
        """The size of all outputs."""
        return sum(one.output.bytes for one in self.made.outputs) if self.made else 0

    @property
    def saved_percent(self) -> int:
        """By how many percent the output is smaller than the source."""
        return round(100 - 100 * self.made.output.bytes / self.made.source.bytes) if self.made else 0


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The pictures of a trial, and what a run of the whole catalogue would take: bytes and seconds."""

    pictures: list[Tried]
    bytes: int
    seconds: int


def make_trial(
    owner: User, file: "File[bytes]", options: dict[str, Any], sample: int = DEFAULT_PICTURES
) -> TrialResult:
    """Fetch up to `sample` pictures of a catalogue and make them as the options say, in half a minute.

    They are spread over hosts and rows, and are the same ones every time. Raises CatalogueError, and
    LimitReached while MAX_TRIALS others are being made.
    """
    started_at = time.monotonic()
    batch = Request(owner=owner, **options)
    if not _trials.acquire(blocking=False):
        detail = "Other trials are being made. Try again in half a minute."
        raise LimitReached("too_many_trials", detail, TRIAL_SECONDS)
    try:
        urls, hosts = _chosen(Catalogue(file, **batch.reading), sample)
        # The caller has read the catalogue as well, to check it, which took as long.
        ends_at = started_at + TRIAL_SECONDS - (time.monotonic() - started_at)
        trial = Trial.objects.create(pictures=len(urls))
        with ThreadPoolExecutor(FETCHES, "trial") as threads:
            tries = [threads.submit(_try, batch, trial, place, ends_at) for place in enumerate(urls)]
            pictures = [one.result() for one in tries]
    finally:
        _trials.release()
    return TrialResult(pictures, *_estimate(pictures, hosts, recipe_of(batch)))


def _chosen(catalogue: Catalogue, sample: int) -> tuple[list[str], Counter[str]]:
    """Return different URLs of a catalogue, and the number of different URLs of each host."""
    chance = random.Random(SEED)  # noqa: S311 (no secret)
    hosts: Counter[str] = Counter()
    kept: dict[str, list[str]] = {}  # by host, a random sample of its URLs
    seen: set[int] = set()
    for row in catalogue:
        for url in row.image_urls:
            if (key := hash(url)) in seen or url_problem(url):
                continue
            seen.add(key)
            host = host_of(url)
            if host not in hosts and len(hosts) >= MAX_HOSTS:
                continue
            hosts[host] += 1
            urls = kept.setdefault(host, [])
            if len(urls) < sample:
                urls.append(url)
            elif (place := chance.randrange(hosts[host])) < sample:
                urls[place] = url
    for urls in kept.values():
        chance.shuffle(urls)
    chosen: list[str] = []
    turns = [host for host, _count in hosts.most_common()]
    while len(chosen) < sample and (turns := [host for host in turns if kept[host]]):
        chosen += [kept[host].pop() for host in turns[: sample - len(chosen)]]
    return chosen, hosts


def _try(batch: Request, trial: Trial, place: tuple[int, str], ends_at: float) -> Tried:
    """Fetch and make one picture, and keep its source and output. Failures of it become its error.

    `place` is its number and its URL.
    """
    number, url = place
    started_at = time.monotonic()
    try:
        timeout = min(settings.FETCH_TIMEOUT, _left(ends_at))
        with _account() as account:
            data = picture_data(batch, url, timeout, account)
            fetch_seconds = time.monotonic() - started_at
            made = _made(data, recipe_of(batch), ends_at)
            with storage_checked():
                for side, content in (("source", data), ("output", made.data)):
                    uploads_storage().save(trial.file_name(number, side), ContentFile(content))
    except (FetchError, CompressError) as error:
        return Tried(url, None, (error.code, error.detail))
    source_path, output_path = (
        reverse("trial-picture", args=[trial.pk, number, side, name if name in CONTENT_TYPES else "jpeg"])
        for side, name in (("source", made.source.format), ("output", made.output.format))
    )
    names = tuple(rendition["name"] for rendition in batch.renditions)
    return Tried(url, _without_data(made), None, source_path, output_path, fetch_seconds, names)


@contextmanager
def _account() -> Iterator[Account]:
    """Yield the account of a source in the budget of all trials of this process."""
    managed = _bytes.account(pauses_limit=False)
    account = loop.call(managed.__enter__)
    try:
        yield account
    finally:
        loop.call(managed.__exit__, None, None, None)


def _made(data: bytes, recipe: Recipe, ends_at: float) -> Compressed:
    """Make a picture in a child process. Raises FetchError if its turn comes too late, and CompressError."""
    if not _decoding.acquire(timeout=_left(ends_at)):
        raise _too_late()
    try:
        seconds = max(1, min(DECODE_SECONDS, int(_left(ends_at))))
        return compress_isolated(data, recipe, max_pixels=settings.IMAGE_MAX_PIXELS, seconds=seconds)
    finally:
        _decoding.release()


def _without_data(made: Compressed) -> Compressed:
    """Return what was made without its bytes, which are stored: a page needs the facts alone."""
    renditions = tuple(replace(one, data=b"") for one in made.renditions)
    return replace(made, data=b"", renditions=renditions)


def _left(ends_at: float) -> float:
    """Return the seconds that are left. Raises FetchError if there are none."""
    left = ends_at - time.monotonic()
    if left <= 0:
        raise _too_late()
    return left


def _too_late() -> FetchError:
    return FetchError("timeout", "The trial ended before this picture was made.", permanent=False)


def _estimate(pictures: list[Tried], hosts: Counter[str], recipe: Recipe) -> tuple[int, int]:
    """Return the bytes of all outputs, and the seconds of a run, if other pictures are like these."""
    total = hosts.total()
    made = [one for one in pictures if one.made]
    if not made:
        return 0, 0
    size = sum(one.output_bytes for one in made) * total // len(pictures)
    codec = sum(_codec_seconds(one, recipe) for one in made) / len(pictures) * total / (os.cpu_count() or 1)
    fetching = sum(one.fetch_seconds for one in made) / len(made)
    slowest = max(hosts.values()) / settings.FETCH_PER_HOST
    return size, round(max(codec, fetching * max(slowest, total / settings.FETCH_CONCURRENCY), 1))


def _codec_seconds(picture: Tried, recipe: Recipe) -> float:
    """Return about how long one core of a worker takes to make a picture."""
    made = picture.made
    if made is None:
        return 0.0
    seconds = made.source.width * made.source.height / 1e6 * DECODING_SECONDS
    for options, one in zip(recipe.outputs, made.outputs, strict=True):
        output = one.output
        factor = EFFORT_FACTORS.get((output.format, options.effort), 1)
        megapixels = output.width * output.height / 1e6
        seconds += megapixels * ENCODING_SECONDS.get(output.format, 0.1) * factor
        if options.quality == "auto":
            seconds += AUTO_SECONDS.get(output.format, 0)
    return seconds


@require_safe
def trial_picture(request: HttpRequest, pk: Any, number: int, side: str, kind: str) -> HttpResponseBase:
    """Answer with a source or an output of a trial, to anyone with the address, for as long as it is kept."""
    trial = get_object_or_404(Trial.objects.current(), pk=pk)
    if number >= trial.pictures or side not in {"source", "output"} or kind not in CONTENT_TYPES:
        raise Http404
    try:
        with storage_checked():
            file = uploads_storage().open(trial.file_name(number, side))
    except FileNotFoundError as error:
        raise Http404 from error
    headers = {"Content-Security-Policy": MEDIA_POLICY, "Cache-Control": "private, max-age=3600"}
    return FileResponse(file, content_type=CONTENT_TYPES[kind], headers=headers)
