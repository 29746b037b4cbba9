"""Repair the failures of a finished Request: retry them, fetch them from other URLs, leave them out.

Each function returns 0 or an empty result where nothing matches, and raises StillActive while a run is at
work on the Request.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from django.db import transaction

from products.lifecycle import sweeps
from products.lifecycle.sweeps import RetryOptions
from products.lifecycle.transitions import final_status, prepare_run, send_run, start_run
from products.models import ImageStatus, Request, RunOrigin
from products.models.image import Causes, ImageQuerySet

#: Changes of URLs that are shown before they are made.
EXAMPLES = 10


class StillActive(Exception):
    """The Request is being processed or deleted, so nothing of it can be repaired now."""


@dataclass(slots=True)
class Replacement:
    """The number of failed Images with a new URL, the first of them, and the number without a valid one."""

    count: int = 0
    invalid: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)

    def add(self, url: str, becomes: str | None) -> None:
        if becomes is None:
            self.invalid += 1
            return
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append((url, becomes))


def retry(batch: Request, causes: Causes = (), ids: Collection[UUID] | None = None) -> int:
    """Make failed and canceled Images pending again, in a new run. Return their number.

    `causes` limits the retry to Images with one of these causes, `ids` to these Images. An Image whose URL is
    invalid stays failed.
    """
    with transaction.atomic():
        locked = _lock_finished(batch, may_sweep=not causes and ids is None)
        images = locked.images.retryable(causes)
        if ids is not None:
            chosen = images.filter(pk__in=ids)
            if not chosen.exists():
                return 0
            prepare_run(locked, RunOrigin.RETRY)
            changed = sweeps.make_pending(locked, chosen)
            send_run(locked)
            return changed
        # A retry of all of them may follow a cancel at once: those that its sweep has not reached are still
        # pending, and stay so.
        again = images.count() + (0 if causes else locked.images_pending)
        if not again and (causes or locked.ingested):
            return 0
        start_run(locked, RunOrigin.RETRY, {"causes": causes})
        return again


def replace(
    batch: Request, find: str, replacement: str, *, causes: Causes = (), dry_run: bool = False
) -> Replacement:
    """Replace a text in the URLs of failed Images and fetch them from there, in a new run.

    URLs are those of the catalogue. `causes` are as in `retry`. With `dry_run`, nothing is changed.
    """
    options: RetryOptions = {"causes": causes, "find": find, "replace": replacement}
    with transaction.atomic():
        locked = _lock_finished(batch)
        found = Replacement()
        for url in sweeps.replaceable(locked.images.all(), options).values_list("url", flat=True).iterator():
            if (becomes := sweeps.replaced_url(url, options)) != url:
                found.add(url, becomes)
        if found.count and not dry_run:
            start_run(locked, RunOrigin.REPLACE, options)
        return found


def fetch_from(batch: Request, urls: Mapping[UUID, str]) -> int:
    """Fetch failed Images from the URLs given by their ids, in a new run. Return their number."""
    with transaction.atomic():
        locked = _lock_finished(batch)
        failed = list(locked.images.failed().filter(pk__in=urls))
        if failed:
            prepare_run(locked, RunOrigin.REPLACE)
            sweeps.make_pending_elsewhere(locked, failed, dict(urls))
            send_run(locked)
        return len(failed)


def set_ignored(batch: Request, images: ImageQuerySet, *, ignored: bool = True) -> int:
    """Leave failed Images out of the results and counts, or count them as failed again.

    Return the number of Images changed. The status of the Request follows. Large numbers are changed in
    several transactions.
    """
    old, new = (ImageStatus.FAILED, ImageStatus.IGNORED)[:: 1 if ignored else -1]
    changed = 0
    while True:
        with transaction.atomic():
            locked = _lock_finished(batch)
            rows = images.filter(request=locked, status=old).first_rows(sweeps.SWEEP_ROWS)
            count = rows.filter(status=old).update(status=new)
            locked.images_failed -= count if ignored else -count
            locked.images_ignored += count if ignored else -count
            if count and locked.ingested and not locked.error and locked.status != Request.Status.CANCELED:
                locked.status = final_status(locked)
            locked.save()
        changed += count
        if count < sweeps.SWEEP_ROWS:
            return changed


def _lock_finished(batch: Request, *, may_sweep: bool = False) -> Request:
    """Return the Request with its row locked.

    Raises StillActive unless it has finished and, without `may_sweep`, all of its rows have followed.
    """
    locked = Request.objects.locked().present().finished().filter(pk=batch.pk).first()
    if locked is None or (locked.sweep and not may_sweep):
        raise StillActive
    return locked
