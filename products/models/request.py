"""A Request and what can happen to it."""

import uuid
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.files import File
from django.core.files.storage import Storage, storages
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Count, F, Max, Q
from django.urls import reverse
from django.utils import timezone

from products.catalogue import Reading
from products.lifecycle.signals import request_finished, request_submitted
from products.models.chunk import Chunk
from products.models.request_set import RequestQuerySet
from products.models.states import Format, ImageStatus, RequestStatus, Sweep
from products.models.sweeping import sweep_rows

if TYPE_CHECKING:
    from products.models.image import Image


MOMENT = timedelta(microseconds=1)


def uploads_storage() -> Storage:
    """Where catalogues are kept: never public."""
    return storages["uploads"]


def source_path(batch: "Request", filename: str) -> str:
    """The stored name of a catalogue: the Request's id, since the user's file name is only for show."""
    return f"{batch.pk}.csv"


class Request(models.Model):
    """One uploaded catalogue with its options; called `batch` in code.

    pending → processing → completed | completed_with_errors | failed | canceled
    and from each of these back to processing by a retry, which starts the next `run`.
    """

    Status = RequestStatus
    ACTIVE = (RequestStatus.PENDING, RequestStatus.PROCESSING)
    FINISHED = (
        RequestStatus.COMPLETED,
        RequestStatus.COMPLETED_WITH_ERRORS,
        RequestStatus.FAILED,
        RequestStatus.CANCELED,
    )

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="requests")
    filename = models.CharField(max_length=255)
    source = models.FileField(storage=uploads_storage, upload_to=source_path)
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001 (NULL: not unique)
    fingerprint = models.CharField("SHA-256 of file and options", max_length=64)

    quality = models.PositiveSmallIntegerField(
        default=50, validators=[MinValueValidator(1), MaxValueValidator(95)]
    )
    format = models.CharField(max_length=8, choices=Format, default=Format.JPEG)
    max_width = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    max_height = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    force = models.BooleanField(
        default=False, db_default=False, help_text="Fetch in full what was fetched before, too."
    )

    encoding = models.CharField(
        max_length=20, blank=True, default="", db_default="", help_text="Of the catalogue; blank: found out."
    )
    columns = models.JSONField(
        default=dict,
        db_default=models.Value({}, models.JSONField()),
        blank=True,
        help_text="Names of columns that are not guessed.",
    )
    base_url = models.CharField(
        max_length=2048, blank=True, default="", db_default="", help_text="What relative paths are below."
    )
    webhook_url = models.CharField(
        max_length=2048, blank=True, default="", db_default="", help_text="Told of this Request's end, too."
    )

    status = models.CharField(max_length=21, choices=Status, default=Status.PENDING)
    error = models.CharField(max_length=500, blank=True)
    run = models.PositiveIntegerField(default=1)
    # Messages of an earlier epoch are void: whoever sends new ones counts this up.
    epoch = models.PositiveIntegerField(default=0)
    dispatched_at = models.DateTimeField(null=True, blank=True)
    sweep = models.CharField(max_length=6, choices=Sweep, blank=True)
    sweep_code = models.CharField(max_length=30, blank=True)
    sweep_host = models.CharField(max_length=300, blank=True, default="", db_default="")

    products_total = models.PositiveIntegerField()
    urls_total = models.PositiveIntegerField(default=0, db_default=0)  # in the file, repetitions counted
    ingested_rows = models.PositiveIntegerField(default=0)
    images_total = models.PositiveIntegerField(default=0)
    images_completed = models.PositiveIntegerField(default=0)
    images_failed = models.PositiveIntegerField(default=0)
    images_canceled = models.PositiveIntegerField(default=0)
    images_unchanged = models.PositiveIntegerField(default=0)
    images_before_run = models.PositiveIntegerField(default=0)  # already settled when this run began
    bytes_source = models.PositiveBigIntegerField(default=0)
    bytes_output = models.PositiveBigIntegerField(default=0)

    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    last_progress_at = models.DateTimeField(null=True, blank=True)

    objects = RequestQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["owner", "idempotency_key"], name="request_idempotency"),
            models.CheckConstraint(
                condition=Q(
                    images_total__gte=F("images_completed") + F("images_failed") + F("images_canceled")
                ),
                name="request_counters",
            ),
        ]
        indexes = [
            models.Index(fields=["owner", "-created_at", "-id"], name="request_of_owner"),
            # unsettled(): recovery looks for what is under way.
            models.Index(
                fields=["created_at"],
                name="request_unsettled",
                condition=Q(status__in=["pending", "processing"]) | ~Q(sweep=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.filename} ({self.pk})"

    def get_absolute_url(self) -> str:
        return reverse("request", args=[self.pk])

    @staticmethod
    def shown_name(file: "File[bytes]") -> str:
        """What people call the file, as long as it may be."""
        return Path(file.name or "catalogue.csv").name[-255:]

    @property
    def reading(self) -> Reading:
        """How its catalogue is to be read, every time."""
        return {"encoding": self.encoding, "columns": self.columns, "base_url": self.base_url}

    @property
    def earlier(self) -> "Request | None":
        """The latest earlier Request of its owner with the same file name, of those that came to a result."""
        same = Request.objects.present().filter(owner=self.owner_id, filename=self.filename)
        results = same.filter(status__in=[RequestStatus.COMPLETED, RequestStatus.COMPLETED_WITH_ERRORS])
        return results.filter(created_at__lt=self.created_at).order_by("-created_at").first()

    @property
    def ingested(self) -> bool:
        return self.ingested_rows >= self.products_total

    @property
    def images_settled(self) -> int:
        return self.images_completed + self.images_failed + self.images_canceled

    @property
    def images_pending(self) -> int:
        return self.images_total - self.images_settled

    @property
    def status_of_missing(self) -> str:
        """The status of an Image that is not ingested."""
        return ImageStatus.PENDING if self.is_active else ImageStatus.CANCELED

    @property
    def bytes_saved(self) -> int:
        return self.bytes_source - self.bytes_output

    @property
    def is_active(self) -> bool:
        return self.status in self.ACTIVE

    @property
    def seconds_taken(self) -> float | None:
        """From the beginning of this run to its end, or to now; None while nothing has begun."""
        if self.started_at is None:
            return None
        return ((self.finished_at or timezone.now()) - self.started_at).total_seconds()

    @property
    def pace(self) -> float | None:
        """Images settled per second, the mean of this run; None while there is nothing to judge by."""
        settled = self.images_settled - self.images_before_run
        if self.status != RequestStatus.PROCESSING or not self.started_at or settled <= 0:
            return None
        elapsed = (timezone.now() - self.started_at).total_seconds()
        return settled / elapsed if elapsed > 0 else None

    @property
    def eta_seconds(self) -> int | None:
        """Seconds to the end at that pace; None, too, while it is not known how many Images there are."""
        return round(self.images_pending / self.pace) if self.ingested and self.pace else None

    def new_epoch(self) -> bool:
        """Void every message sent so far. False when somebody else has just done so."""
        now = timezone.now()
        mine = Request.objects.unsettled().filter(pk=self.pk, epoch=self.epoch)
        if not mine.update(epoch=self.epoch + 1, dispatched_at=now):
            return False
        self.epoch, self.dispatched_at = self.epoch + 1, now
        return True

    def note_message(self, due_at: datetime) -> None:
        """Note when the last message of this epoch is to be taken up."""
        Request.objects.filter(pk=self.pk, epoch=self.epoch).update(dispatched_at=due_at)

    def ingest(self, chunk: Chunk) -> bool:
        """Insert the next rows, in one transaction with the step of `ingested_rows`.

        False when another ingest made that step first, or this epoch of the Request is over.
        """
        with transaction.atomic():
            mine = Request.objects.active().filter(
                pk=self.pk, epoch=self.epoch, ingested_rows=self.ingested_rows
            )
            now = timezone.now()
            if not mine.update(ingested_rows=F("ingested_rows") + len(chunk.products), last_progress_at=now):
                return False
            self.refresh_from_db()
            if self.status == RequestStatus.PENDING:
                self.status, self.started_at = RequestStatus.PROCESSING, now
            self.products.insert(self, chunk)
            added, failed = self.images.insert(self, chunk)
            self.images_total += added
            self.images_failed += failed
            self._settle()
            return True

    def record(self, outcomes: Iterable["Image"], worker: uuid.UUID) -> int:
        """Flush what `worker` has made of Images that it holds; how many rows really changed.

        An Image that is no longer pending, or no longer this worker's, keeps what it has.
        """
        by_id = {image.pk: image for image in outcomes}
        with transaction.atomic():
            batch = Request.objects.locked().filter(pk=self.pk).first()
            if batch is None:
                return 0
            held = batch.images.pending().filter(pk__in=by_id, claimed_by=worker)
            changed = [by_id[pk] for pk in held.select_for_update().values_list("pk", flat=True)]
            for image in changed:
                image.claimed_by = None
            batch.images.confirm_outputs(changed)
            batch.images.overwrite(changed)
            batch._count(changed)
            batch._settle()
            return len(changed)

    def _count(self, changed: Collection["Image"]) -> None:
        completed = [image for image in changed if image.status == ImageStatus.COMPLETED]
        failed = sum(image.status == ImageStatus.FAILED for image in changed)
        if completed or failed:
            self.last_progress_at = timezone.now()
        self.images_completed += len(completed)
        self.images_failed += failed
        self.images_unchanged += sum(image.unchanged for image in completed)
        self.bytes_source += sum(image.source_bytes or 0 for image in completed)
        self.bytes_output += sum(image.output_bytes or 0 for image in completed)

    def _settle(self) -> None:
        """Save, and finish when nothing is left to do. The caller holds the lock on this row."""
        is_done = self.ingested and not self.images_pending and not self.sweep
        if self.status == RequestStatus.PROCESSING and is_done:
            self._finish(self._verdict())
        self.save()

    def _verdict(self) -> str:
        if self.images_total and not self.images_completed:
            return RequestStatus.FAILED
        if self.images_failed or self.images_canceled:
            return RequestStatus.COMPLETED_WITH_ERRORS
        return RequestStatus.COMPLETED

    def _finish(self, status: str) -> None:
        self.status, self.finished_at = status, timezone.now()
        self.save()
        request_finished.send(Request, batch=self)

    def refuse(self, error: str) -> bool:
        """End a Request whose file could not be ingested. False when it has ended already."""
        with transaction.atomic():
            batch = Request.objects.locked().active().filter(pk=self.pk).first()
            if batch is None:
                return False
            batch.error = error[:500]
            batch._stop(RequestStatus.FAILED)
            return True

    def cancel(self) -> bool:
        """Stop the work and keep what is done. False when there is nothing to stop."""
        with transaction.atomic():
            batch = Request.objects.locked().active().filter(pk=self.pk).first()
            if batch is None:
                return False
            batch._stop(RequestStatus.CANCELED)
            return True

    def retry(self, code: str | None = None, host: str | None = None) -> int:
        """Try failed and canceled Images again, if given only those of one error `code`, and of one `host`
        with it; how many.

        An Image whose URL is no address of a picture stays failed: trying cannot help it.
        """
        with transaction.atomic():
            batch = Request.objects.locked().present().filter(pk=self.pk, status__in=self.FINISHED).first()
            if batch is None:
                return 0
            # What a cancel has not reached yet is pending still, and stays so.
            retryable = batch.images.retryable(code, host).aggregate(
                count=Count("pk"), latest=Max("settled_at")
            )
            again: int = retryable["count"] + (0 if code else batch.images_pending)
            if not again and (code or batch.ingested):
                return 0
            batch.status, batch.error = RequestStatus.PROCESSING, ""
            batch.run += 1
            # After all that the sweep is to take, by whichever machine's clock that was settled.
            batch.started_at = max(timezone.now(), (retryable["latest"] or batch.created_at) + MOMENT)
            batch.finished_at = None
            batch.sweep_code, batch.sweep_host = code or "", host or ""
            batch.images_before_run = batch.images_settled - again + (0 if code else batch.images_pending)
            batch._begin_sweep(Sweep.RETRY)
            request_submitted.send(Request, batch=batch)
            return again

    def remove(self, *, only_finished: bool = False) -> bool:
        """Delete the Request with its rows. Its stored files go with the next `prune`.

        False when it is gone already, or is at work and `only_finished`.
        """
        with transaction.atomic():
            batch = Request.objects.locked().present().filter(pk=self.pk).first()
            if batch is None or (only_finished and batch.is_active):
                return False
            if batch.is_active:
                batch.status, batch.finished_at = RequestStatus.CANCELED, timezone.now()
            batch.idempotency_key = None
            batch._begin_sweep(Sweep.DELETE)
            return True

    def _stop(self, status: RequestStatus) -> None:
        """Finish with Images pending, which are canceled."""
        self.status, self.finished_at = status, timezone.now()
        self._begin_sweep(Sweep.CANCEL)
        request_finished.send(Request, batch=self)

    def _begin_sweep(self, sweep: Sweep) -> None:
        """Let the rows follow: the first of them now, the rest when processing hears of it."""
        self.sweep = sweep
        self.epoch += 1
        self.save()
        if self._sweep_some() and sweep != Sweep.RETRY:
            request_submitted.send(Request, batch=self)

    def sweep_on(self) -> bool:
        """Let some more rows follow; whether there are others."""
        with transaction.atomic():
            batch = Request.objects.locked().filter(pk=self.pk).first()
            return batch is not None and batch._sweep_some()

    def _sweep_some(self) -> bool:
        """Let some rows follow; whether there are others. The caller holds this row's lock."""
        if not self.sweep:
            return False
        if sweep_rows(self):
            self.dispatched_at = timezone.now()  # nothing is lost, recovery may wait
            self.save()
            return True
        if self.sweep == Sweep.DELETE:
            self.delete()
        else:
            self.sweep = ""
            self._settle()
        return False
