"""Prune: old Requests, old tests of webhooks, memories of pictures, and stored files that no row refers to.

Nothing else ever deletes files.

Safe while workers run, and safe to run twice at once. All Images of the same content share one output, so
that any file may come to be needed again: a worker stores it first and writes its row a moment later. But
storing a file that is there already renews its modification time, and an Image that refers to one without
storing it does so only while another row refers to it. So nobody is about to refer to a file that no row
refers to and that, looked at after that, has not been stored for a day.

What remains is the moment between that look and the deletion.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.files.storage import Storage, default_storage, storages
from django.utils import timezone

from processing.hosts.models import PausedHost
from processing.storage.outputs import output_folders
from processing.webhooks.models import WebhookDelivery
from processing.work.models import KnownPicture
from products import lifecycle
from products.models import Image, Request

#: Younger files stay. No worker has an Image in hand for as long.
GRACE = timedelta(hours=24)
#: Files that the database is asked about at once.
CHUNK = 500
#: A century is as good as for ever, and dates do not go back without end.
LONGEST_DAYS = 36_500

InUse = Callable[[list[str]], set[str]]


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was deleted."""

    requests: int
    files: int
    bytes: int

    def __str__(self) -> str:
        return f"deleted: {self.requests} requests, {self.files} files of {self.bytes:,} bytes"


def prune(days: int) -> Pruned:
    """Delete Requests that finished more than `days` days ago, then all that is left without a row of theirs.

    Tests of webhooks, which belong to no Request, go when they are as old. Raises one of
    products.files.ERRORS where the storage does not answer; what is deleted is deleted.
    """
    moment = timezone.now() - timedelta(days=min(days, LONGEST_DAYS))
    requests = _remove_requests(moment)
    WebhookDelivery.objects.tests_before(moment).delete()
    KnownPicture.objects.delete_orphaned()
    PausedHost.objects.over().delete()
    files = size = 0
    for deleted in _delete_unused():
        files, size = files + 1, size + deleted
    return Pruned(requests, files, size)


def _remove_requests(finished_before: datetime) -> int:
    old = Request.objects.finished_before(finished_before)
    removed = 0
    for pk in list(old.order_by("finished_at").values_list("pk", flat=True)):
        batch = old.filter(pk=pk).first()
        removed += batch is not None and lifecycle.delete(batch, only_finished=True)
    return removed


def _delete_unused() -> Iterator[int]:
    """The size of each file that was deleted. One folder's names are in memory at a time."""
    for folder in output_folders():
        yield from _delete_unused_in(default_storage, folder, Image.objects.outputs_in_use)
    yield from _delete_unused_in(storages["uploads"], "", Request.objects.sources_in_use)


def _delete_unused_in(storage: Storage, folder: str, in_use: InUse) -> Iterator[int]:
    names = [f"{folder}/{name}".lstrip("/") for name in _list(storage, folder)]
    for start in range(0, len(names), CHUNK):
        some = names[start : start + CHUNK]
        needed = in_use(some)
        for name in some:
            if name not in needed and (size := _delete(storage, name, in_use)) is not None:
                yield size


def _list(storage: Storage, folder: str) -> list[str]:
    try:
        return storage.listdir(folder)[1]
    except FileNotFoundError:  # local folders are made with their first file
        return []


def _delete(storage: Storage, name: str, in_use: InUse) -> int | None:
    """Delete a file that no row referred to, after another look; its size, None if it stays."""
    try:
        size = storage.size(name)
        # The time is looked at last: whoever stores the file before that moment renews it.
        if in_use([name]) or storage.get_modified_time(name) > timezone.now() - GRACE:
            return None
        storage.delete(name)
    except FileNotFoundError:  # another prune was faster
        return None
    return size
