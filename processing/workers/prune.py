"""Prune: delete old Requests and webhook tests, orphaned rows, and stored files that no row refers to.

Nothing else deletes outputs.

It is safe while workers run, and when it runs twice at once. Images of the same content share one output, so
any file may be needed again: a worker stores it first and writes its row a moment later. But storing a file
that exists renews its modification time, and an Image takes over an output without storing it only while
another row refers to it. So a file can be deleted if no row refers to it and if, checked after that, its
modification time is longer than GRACE ago. The only gap is the moment between that check and the deletion.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain

from django.core.files.storage import Storage, default_storage, storages
from django.utils import timezone

from processing.feeds.delivery import RESULTS, result_key
from processing.hosts.models import PausedHost
from processing.storage.outputs import output_folders, stored_keys
from processing.webhooks.models import WebhookDelivery
from processing.work.models import KnownPicture
from processing.workers.clock import database_time
from products import lifecycle
from products.feeds.models import Feed
from products.models import Image, Request
from products.models.ids import parse_uuid

#: Files stored within this time are kept. No worker holds an Image for as long.
GRACE = timedelta(hours=24)
#: Files looked up in the database by one query.
CHUNK_FILES = 500
#: Most days that `prune` subtracts: many more would lead to dates before the year 1.
MAX_DAYS = 36_500

InUse = Callable[[list[str]], set[str]]


@dataclass(frozen=True, slots=True)
class Pruned:
    """Counts of deleted Requests and files."""

    requests: int
    files: int
    bytes: int

    def __str__(self) -> str:
        return f"deleted: {self.requests} requests, {self.files} files of {self.bytes:,} bytes"


def prune(days: int) -> Pruned:
    """Delete Requests that finished more than `days` days ago, then everything that no row refers to.

    Requests that feeds serve or hold are kept. Webhook deliveries of that age that belong to no Request are
    deleted as well. Raises one of `products.models.files.STORAGE_ERRORS` if the
    storage fails; files deleted before that stay deleted.
    """
    # The clock of this machine may be ahead of the others, or behind. Times of local files are by its own.
    now = min(database_time(), timezone.now())
    moment = now - timedelta(days=min(days, MAX_DAYS))
    requests = _delete_requests(moment)
    WebhookDelivery.objects.of_no_request_before(moment).delete()
    KnownPicture.objects.delete_orphaned()
    PausedHost.objects.over().delete()
    files = size = 0
    outputs = chain.from_iterable(
        _delete_unused(default_storage, stored_keys(folder), Image.objects.outputs_in_use, now - GRACE)
        for folder in output_folders()
    )
    catalogues = _delete_unused(
        storages["uploads"], _catalogues(), Request.objects.sources_in_use, now - GRACE
    )
    results = _delete_unused(storages["results"], _results(), _results_in_use, now - GRACE)
    for deleted in chain(outputs, catalogues, results):
        files, size = files + 1, size + deleted
    return Pruned(requests, files, size)


def _delete_requests(finished_before: datetime) -> int:
    old = Request.objects.finished_before(finished_before).exclude(pk__in=Feed.objects.requests_in_use())
    deleted = 0
    for pk in list(old.order_by("finished_at").values_list("pk", flat=True)):
        batch = old.filter(pk=pk).first()
        deleted += batch is not None and lifecycle.delete(batch, only_finished=True)
    return deleted


def _catalogues() -> list[str]:
    try:
        return storages["uploads"].listdir("")[1]
    except FileNotFoundError:  # local folders are made with their first file
        return []


def _results() -> list[str]:
    try:
        folders = storages["results"].listdir(RESULTS)[0]
    except FileNotFoundError:
        return []
    return [result_key(pk) for folder in folders if (pk := parse_uuid(folder))]


def _results_in_use(keys: list[str]) -> set[str]:
    """Return the keys of feeds that still exist, out of the given keys of results."""
    return {result_key(pk) for pk in Feed.objects.values_list("pk", flat=True)}.intersection(keys)


def _delete_unused(
    storage: Storage, names: list[str], in_use: InUse, stored_before: datetime
) -> Iterator[int]:
    """Delete those old files that no row refers to. Yield the size of each in bytes."""
    for start in range(0, len(names), CHUNK_FILES):
        some = names[start : start + CHUNK_FILES]
        needed = in_use(some)
        for name in some:
            if name not in needed and (size := _delete(storage, name, in_use, stored_before)) is not None:
                yield size


def _delete(storage: Storage, name: str, in_use: InUse, stored_before: datetime) -> int | None:
    """Delete a file unless a row refers to it by now or it is new. Return its size; None if it is kept."""
    try:
        size = storage.size(name)
        # The time is checked last: storing the file before that renews it.
        if in_use([name]) or storage.get_modified_time(name) > stored_before:
            return None
        storage.delete(name)
    except FileNotFoundError:  # another prune was faster
        return None
    return size
