"""The catalogue: a Request, its Products, the distinct Images that they show, and who shows which.

Every transition is a conditional update. A transaction that writes a Request and Images locks the Request
first, so that counters, status and rows always agree and two writers can never wait for each other.
"""

import hashlib
import json
import uuid
from collections.abc import Collection, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage, storages
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import IntegrityError, models, transaction
from django.db.models import F, Prefetch, Q
from django.urls import reverse
from django.utils import timezone

from products.catalogue import CatalogueError, Problem, Row, Summary, survey, url_problem
from products.signals import request_finished, request_submitted
from products.tokens import ApiToken

__all__ = ["ApiToken", "Image", "Product", "ProductImage", "Request"]


def uploads_storage() -> Any:
    """Where catalogues are kept: never public."""
    return storages["uploads"]


class IdempotencyConflict(Exception):
    """The key was used before, for another file or other options."""


def check_catalogue(file: File, *, strict: bool) -> Summary:
    """Read a catalogue once, storing nothing. Raises CatalogueError when it is refused."""
    if file.size > settings.UPLOAD_MAX_BYTES:
        detail = f"The file has {file.size:,} bytes; at most {settings.UPLOAD_MAX_BYTES:,} are accepted."
        raise CatalogueError([Problem("file_too_large", detail)])
    summary = survey(file, strict=strict)
    if summary.urls > settings.REQUEST_MAX_IMAGES:
        detail = f"The file has {summary.urls:,} picture URLs; at most {settings.REQUEST_MAX_IMAGES:,} are accepted."
        raise CatalogueError([Problem("too_many_images", detail)])
    return summary


def fingerprint(file: File, **options: Any) -> str:
    """What makes two submissions the same: SHA-256 over the file and the options."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    file.seek(0)
    for chunk in file.chunks():
        digest.update(chunk)
    return digest.hexdigest()


def source_path(batch: "Request", filename: str) -> str:
    """The stored name of a catalogue: the Request's id, since the user's file name is only for show."""
    return f"{batch.pk}.csv"


class Format(models.TextChoices):
    """What pictures are turned into."""

    JPEG = "jpeg", "JPEG"
    WEBP = "webp", "WebP"
    AVIF = "avif", "AVIF"
    ORIGINAL = "original", "the format of the source"


class RequestQuerySet(models.QuerySet["Request"]):
    def visible_to(self, user: Any) -> Self:
        """Staff see every Request, others their own."""
        return self if user.is_staff else self.filter(owner=user)

    def active(self) -> Self:
        return self.filter(status__in=Request.ACTIVE)

    def locked(self) -> Self:
        # Not the key: rows that refer to the Request may be inserted meanwhile.
        return self.select_for_update(no_key=True)

    def submit(
        self,
        owner: Any,
        file: File,
        *,
        strict: bool = False,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> tuple["Request", bool]:
        """Check a catalogue, keep it, and announce it: the Request, and whether it is new.

        The same `idempotency_key` with the same file and options answers the first Request again.
        Raises CatalogueError where the file is refused and IdempotencyConflict where the key was used for
        something else; nothing is stored then.
        """
        summary = check_catalogue(file, strict=strict)
        batch = Request(owner=owner, idempotency_key=idempotency_key, **options)
        batch.filename = Path(file.name or "catalogue.csv").name[-255:]
        batch.fingerprint = fingerprint(file, strict=strict, **options)
        batch.products_total = summary.rows
        if idempotency_key and (earlier := self._submitted(batch)):
            return earlier, False
        file.seek(0)
        batch.source.save(batch.filename, file, save=False)
        try:
            with transaction.atomic():
                batch.save(force_insert=True)
                request_submitted.send(Request, batch=batch)
        except BaseException as error:
            batch.source.delete(save=False)
            if isinstance(error, IntegrityError) and (earlier := self._submitted(batch)):
                return earlier, False
            raise
        return batch, True

    def _submitted(self, batch: "Request") -> "Request | None":
        """The Request that has `batch`'s idempotency key already."""
        earlier = self.filter(owner=batch.owner, idempotency_key=batch.idempotency_key).first()
        if earlier and earlier.fingerprint != batch.fingerprint:
            raise IdempotencyConflict
        return earlier


class Request(models.Model):
    """One uploaded catalogue with its options; called `batch` in code.

    pending → processing → completed | completed_with_errors | failed | canceled
    and from each of these back to processing by a retry, which starts the next `run`.
    """

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"
        PROCESSING = "processing", "Processing"
        COMPLETED = "completed", "Completed"
        COMPLETED_WITH_ERRORS = "completed_with_errors", "Completed with errors"
        FAILED = "failed", "Failed"
        CANCELED = "canceled", "Canceled"

    ACTIVE = (Status.PENDING, Status.PROCESSING)
    FINISHED = (Status.COMPLETED, Status.COMPLETED_WITH_ERRORS, Status.FAILED, Status.CANCELED)

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

    status = models.CharField(max_length=21, choices=Status, default=Status.PENDING)
    error = models.CharField(max_length=500, blank=True)
    run = models.PositiveIntegerField(default=1)
    # Messages of an earlier epoch are void: whoever sends new ones counts this up.
    epoch = models.PositiveIntegerField(default=0)
    dispatched_at = models.DateTimeField(null=True, blank=True)

    products_total = models.PositiveIntegerField()
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
            # Recovery and the admin look for what is under way.
            models.Index(
                fields=["created_at"],
                name="request_active",
                condition=Q(status__in=["pending", "processing"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.filename} ({self.pk})"

    def get_absolute_url(self) -> str:
        return reverse("request", args=[self.pk])

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
    def is_active(self) -> bool:
        return self.status in self.ACTIVE

    @property
    def eta_seconds(self) -> int | None:
        """Seconds to the end at the mean pace of this run; None while there is nothing to judge by."""
        settled = self.images_settled - self.images_before_run
        if self.status != self.Status.PROCESSING or not self.started_at or settled <= 0 or not self.ingested:
            return None
        elapsed = (timezone.now() - self.started_at).total_seconds()
        return round(self.images_pending * elapsed / settled)

    def new_epoch(self) -> bool:
        """Void every message sent so far. False when somebody else has just done so."""
        now = timezone.now()
        mine = Request.objects.active().filter(pk=self.pk, epoch=self.epoch)
        if not mine.update(epoch=self.epoch + 1, dispatched_at=now):
            return False
        self.epoch, self.dispatched_at = self.epoch + 1, now
        return True

    def ingest(self, rows: list[Row]) -> bool:
        """Insert the next rows, in one transaction with the step of `ingested_rows`.

        False when another ingest made that step first, or this epoch of the Request is over.
        """
        with transaction.atomic():
            mine = Request.objects.active().filter(
                pk=self.pk, epoch=self.epoch, ingested_rows=self.ingested_rows
            )
            now = timezone.now()
            if not mine.update(ingested_rows=F("ingested_rows") + len(rows), last_progress_at=now):
                return False
            self.refresh_from_db()
            if self.status == self.Status.PENDING:
                self.status, self.started_at = self.Status.PROCESSING, now
            Product.objects.insert(self, rows)
            added = Image.objects.insert(self, rows)
            self.images_total += len(added)
            self.images_failed += sum(image.status == Image.Status.FAILED for image in added)
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
            held = Image.objects.pending().filter(pk__in=by_id, claimed_by=worker)
            changed = [by_id[pk] for pk in held.select_for_update().values_list("pk", flat=True)]
            for image in changed:
                image.claimed_by = None
            Image.objects.overwrite(changed)
            batch._count(changed)
            batch._settle()
            return len(changed)

    def _count(self, changed: Collection["Image"]) -> None:
        completed = [image for image in changed if image.status == Image.Status.COMPLETED]
        failed = sum(image.status == Image.Status.FAILED for image in changed)
        if completed or failed:
            self.last_progress_at = timezone.now()
        self.images_completed += len(completed)
        self.images_failed += failed
        self.images_unchanged += sum(image.unchanged for image in completed)
        self.bytes_source += sum(image.source_bytes or 0 for image in completed)
        self.bytes_output += sum(image.output_bytes or 0 for image in completed)

    def _settle(self) -> None:
        """Save, and finish when nothing is left to do. The caller holds the lock on this row."""
        if self.status == self.Status.PROCESSING and self.ingested and not self.images_pending:
            self._finish(self._verdict())
        self.save()

    def _verdict(self) -> str:
        if self.images_total and not self.images_completed:
            return self.Status.FAILED
        if self.images_failed or self.images_canceled:
            return self.Status.COMPLETED_WITH_ERRORS
        return self.Status.COMPLETED

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
            batch._finish(self.Status.FAILED)
            return True

    def cancel(self) -> bool:
        """Stop the work and keep what is done. False when there is nothing to stop."""
        with transaction.atomic():
            batch = Request.objects.locked().active().filter(pk=self.pk).first()
            if batch is None:
                return False
            batch.images_canceled += batch.images.pending().update(
                status=Image.Status.CANCELED, claimed_by=None
            )
            batch.epoch += 1
            batch._finish(self.Status.CANCELED)
            return True

    def retry(self, code: str | None = None) -> int:
        """Try failed and canceled Images again, only those of one error `code` if given; how many.

        An Image whose URL is no address of a picture stays failed: trying cannot help it.
        """
        with transaction.atomic():
            batch = Request.objects.locked().filter(pk=self.pk, status__in=self.FINISHED).first()
            if batch is None:
                return 0
            again = batch.images.retryable(code)
            failed = again.filter(status=Image.Status.FAILED).count()
            total = again.reset()
            if not total and batch.ingested:
                return 0
            batch.images_failed -= failed
            batch.images_canceled -= total - failed
            batch.images_before_run = batch.images_settled
            batch.status, batch.error = self.Status.PROCESSING, ""
            batch.run += 1
            batch.started_at, batch.finished_at = timezone.now(), None
            batch.save()
            request_submitted.send(Request, batch=batch)
            return total

    def remove(self) -> None:
        """Delete the Request with its rows. Its stored files go with the next `prune`."""
        with transaction.atomic():
            Request.objects.locked().filter(pk=self.pk).first()
            # delete() would load every row to look for what depends on it; this order leaves nothing.
            for rows in (ProductImage.objects.filter(product__request=self), self.images, self.products):
                rows.all()._raw_delete(using=self._state.db)
            self.delete()


class ProductQuerySet(models.QuerySet["Product"]):
    def with_images(self) -> Self:
        return self.prefetch_related(Prefetch("places", ProductImage.objects.select_related("image")))

    def insert(self, batch: Request, rows: Iterable[Row]) -> None:
        self.bulk_create(
            Product(
                id=Product.id_for(batch.pk, row.number),
                request=batch,
                row_number=row.number,
                serial_number=row.serial_number,
                product_name=row.product_name,
                cells=row.cells,
            )
            for row in rows
        )


class Product(models.Model):
    """One row of the catalogue. Its id follows from the Request's id and the row number."""

    id = models.UUIDField(primary_key=True, editable=False)
    request = models.ForeignKey(Request, models.CASCADE, related_name="products", db_index=False)
    row_number = models.PositiveIntegerField()
    serial_number = models.TextField(blank=True)
    product_name = models.TextField(blank=True)
    cells = models.JSONField(help_text="The row's cells as they were.")
    images = models.ManyToManyField("Image", through="ProductImage", related_name="products")

    objects = ProductQuerySet.as_manager()

    class Meta:
        ordering = ["request", "row_number"]
        constraints = [
            models.UniqueConstraint(fields=["request", "row_number"], name="product_row"),
        ]

    def __str__(self) -> str:
        return f"{self.row_number}: {self.product_name or self.serial_number}"

    @staticmethod
    def id_for(request_id: uuid.UUID, row_number: int) -> uuid.UUID:
        return uuid.uuid5(request_id, f"row {row_number}")

    @staticmethod
    def status_of(images: Collection[str]) -> str:
        """A Product's status from those of its Images, in the words of a Request's."""
        if Image.Status.PENDING in images:
            return Request.Status.PENDING
        if all(status == Image.Status.COMPLETED for status in images):
            return Request.Status.COMPLETED
        if Image.Status.COMPLETED in images:
            return Request.Status.COMPLETED_WITH_ERRORS
        return Request.Status.FAILED if Image.Status.FAILED in images else Request.Status.CANCELED

    @property
    def images_in_order(self) -> list["Image"]:
        """As in the row, repeated where the row repeats them; fetched by with_images()."""
        return [place.image for place in self.places.all()]

    @property
    def status(self) -> str:
        return self.status_of([image.status for image in self.images_in_order])


class ImageQuerySet(models.QuerySet["Image"]):
    def pending(self) -> Self:
        return self.filter(status=Image.Status.PENDING)

    def failed(self) -> Self:
        return self.filter(status=Image.Status.FAILED)

    def due(self) -> Self:
        """Waiting for a worker, with nothing to wait for."""
        return self.pending().filter(claimed_by=None, due_at__lte=timezone.now())

    def retryable(self, code: str | None = None) -> Self:
        settled = self.filter(status__in=[Image.Status.FAILED, Image.Status.CANCELED])
        return settled.filter(error_code=code) if code else settled.exclude(error_code="invalid_url")

    def reset(self) -> int:
        """Make settled Images pending again, as new; how many."""
        return self.update(
            status=Image.Status.PENDING,
            claimed_by=None,
            due_at=timezone.now(),
            attempts=0,
            crashes=0,
            error_code="",
            error_detail="",
        )

    def insert(self, batch: Request, rows: Iterable[Row]) -> list["Image"]:
        """Insert the Images and ProductImages of new rows; the Images that were not known before.

        The caller holds the Request's lock, so no other writer can number or insert its Images.
        """
        urls: dict[uuid.UUID, str] = {}
        places = []
        for row in rows:
            product_id = Product.id_for(batch.pk, row.number)
            for position, url in enumerate(row.image_urls):
                image_id = Image.id_for(batch.pk, url)
                urls[image_id] = url
                places.append(ProductImage(product_id=product_id, image_id=image_id, position=position))
        for ids in batched(list(urls), 5000):
            for known in self.filter(pk__in=ids).values_list("pk", flat=True):
                del urls[known]
        numbered = enumerate(urls.items(), start=batch.images_total + 1)
        added = [Image.new(batch, number, pk, url) for number, (pk, url) in numbered]
        self.bulk_create(added)
        ProductImage.objects.bulk_create(places)
        return added

    def claim(
        self, batch: Request, worker: uuid.UUID, limit: int, busy_hosts: Collection[str] = ()
    ) -> list["Image"]:
        """Take up to `limit` due Images of a Request in hand for `worker`, first come first served.

        None once the Request's epoch is over; none of `busy_hosts` (host:port), which would only wait.
        """
        with transaction.atomic():
            due = self.due().filter(
                request=batch, request__status=Request.Status.PROCESSING, request__epoch=batch.epoch
            )
            if busy_hosts:
                due = due.exclude(host__in=busy_hosts)
            taken = due.order_by("due_at", "number").select_for_update(skip_locked=True, of=("self",))
            images = list(taken[:limit])
            if images:
                self.filter(pk__in=[image.pk for image in images]).update(claimed_by=worker)
            for image in images:
                image.claimed_by, image.request = worker, batch
            return images

    def release(self, *, crashed: bool) -> int:
        """Give claimed Images back, counting a crash if their worker died with them; how many.

        Skips rows that are being flushed at this moment: their worker is not dead after all.
        """
        with transaction.atomic():
            held = self.pending().exclude(claimed_by=None)
            ids = list(held.select_for_update(skip_locked=True).values_list("pk", flat=True))
            return sum(
                Image.objects.filter(pk__in=some).update(
                    claimed_by=None, crashes=F("crashes") + (1 if crashed else 0)
                )
                for some in batched(ids, 5000)
            )

    def overwrite(self, images: Collection["Image"]) -> None:
        """Write the outcome fields of existing rows in one statement.

        An upsert, since it costs a twentieth of what bulk_update() needs to compile its CASE terms. The
        caller holds the rows' locks, so that none of them can be missing and be inserted.
        """
        self.bulk_create(images, update_conflicts=True, unique_fields=["id"], update_fields=Image.OUTCOME)


class Image(models.Model):
    """One distinct source URL of a Request, fetched once however many Products show it.

    pending → completed | failed | canceled, and back to pending by the Request's retry. While pending it
    may be in hand of a worker (`claimed_by`) or wait for its next attempt (`due_at`).
    """

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"
        COMPLETED = "completed", "Completed"
        FAILED = "failed", "Failed"
        CANCELED = "canceled", "Canceled"

    OUTCOME = (
        "status claimed_by due_at attempts error_code error_detail unchanged settled_at source_bytes source_width "
        "source_height source_format output_key output_bytes output_width output_height output_format"
    ).split()

    id = models.UUIDField(primary_key=True, editable=False)
    request = models.ForeignKey(Request, models.CASCADE, related_name="images", db_index=False)
    number = models.PositiveIntegerField(help_text="In order of first appearance in the catalogue, from 1.")
    url = models.TextField()
    host = models.CharField(max_length=300, help_text="host:port, as far as the URL names them.")

    status = models.CharField(max_length=9, choices=Status, default=Status.PENDING)
    claimed_by = models.UUIDField(null=True, blank=True)
    due_at = models.DateTimeField()
    attempts = models.PositiveSmallIntegerField(default=0)
    crashes = models.PositiveSmallIntegerField(default=0)
    error_code = models.CharField(max_length=30, blank=True)
    error_detail = models.TextField(blank=True)
    unchanged = models.BooleanField(default=False)
    settled_at = models.DateTimeField(null=True, blank=True)

    source_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    source_width = models.PositiveIntegerField(null=True, blank=True)
    source_height = models.PositiveIntegerField(null=True, blank=True)
    source_format = models.CharField(max_length=8, blank=True)
    output_key = models.CharField(max_length=100, blank=True)
    output_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    output_width = models.PositiveIntegerField(null=True, blank=True)
    output_height = models.PositiveIntegerField(null=True, blank=True)
    output_format = models.CharField(max_length=8, blank=True)

    objects = ImageQuerySet.as_manager()

    class Meta:
        ordering = ["request", "number"]
        constraints = [
            models.UniqueConstraint(fields=["request", "number"], name="image_number"),
            models.CheckConstraint(
                condition=Q(claimed_by=None) | Q(status="pending"), name="image_claimed_only_while_pending"
            ),
            models.CheckConstraint(
                condition=~Q(status="completed") | ~Q(output_key=""), name="image_completed_has_output"
            ),
        ]
        indexes = [
            # claim(): the due Images of a Request in order.
            models.Index(
                fields=["request", "due_at", "number"],
                name="image_due",
                condition=Q(status="pending", claimed_by=None),
            ),
            # Recovery: what is in hand, by whom.
            models.Index(fields=["claimed_by"], name="image_claimed", condition=Q(claimed_by__isnull=False)),
            # Lists of failures, grouped by cause.
            models.Index(
                fields=["request", "error_code", "number"], name="image_failed", condition=Q(status="failed")
            ),
        ]

    def __str__(self) -> str:
        return self.url

    @staticmethod
    def id_for(request_id: uuid.UUID, url: str) -> uuid.UUID:
        """The id of a URL in a Request, which makes the URL unique there."""
        return uuid.uuid5(request_id, url)

    @classmethod
    def new(cls, batch: Request, number: int, pk: uuid.UUID, url: str) -> "Image":
        """An unsaved Image; one that is failed from the start if `url` is no address of a picture."""
        image = cls(id=pk, request=batch, number=number, url=url, host=host_of(url), due_at=batch.created_at)
        if problem := url_problem(url):
            image.fail("invalid_url", problem)
        return image

    @property
    def output_path(self) -> str:
        """Where the output is: a path on this server, or a full URL if storage has its own; "" if none."""
        return default_storage.url(self.output_key) if self.output_key else ""

    @property
    def output_url(self) -> str:
        """The output's full URL under PUBLIC_URL, for places that know no HTTP request; "" if none."""
        return urljoin(settings.PUBLIC_URL, self.output_path) if self.output_key else ""

    @property
    def is_failed(self) -> bool:
        return self.status == self.Status.FAILED

    def fail(self, code: str, detail: str) -> None:
        """Settle as failed, in memory."""
        self.status, self.settled_at = self.Status.FAILED, timezone.now()
        self.error_code, self.error_detail = code, detail.replace("\0", "")

    def postpone(self, delay: timedelta, code: str, detail: str) -> None:
        """Leave pending until `delay` has passed, with the error so far, in memory."""
        self.due_at = timezone.now() + delay
        self.error_code, self.error_detail = code, detail.replace("\0", "")

    def complete(self, output_key: str) -> None:
        """Settle as completed, in memory; the facts of source and output are set by the caller."""
        self.status, self.settled_at = self.Status.COMPLETED, timezone.now()
        self.output_key, self.error_code, self.error_detail = output_key, "", ""


class ProductImage(models.Model):
    """The place of an Image in a Product."""

    product = models.ForeignKey(Product, models.CASCADE, related_name="places", db_index=False)
    image = models.ForeignKey(Image, models.CASCADE, related_name="places")
    position = models.PositiveIntegerField(help_text="From 0, over all picture columns of the row.")

    class Meta:
        ordering = ["product", "position"]
        constraints = [
            models.UniqueConstraint(fields=["product", "position"], name="product_image_position"),
        ]

    def __str__(self) -> str:
        return f"{self.product_id} [{self.position}]"


def host_of(url: str) -> str:
    """host:port of a URL in lower case, as far as it names them; "" if it names none."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()[:300]
    except ValueError:
        return ""


def batched(items: list[Any], size: int) -> Iterator[list[Any]]:
    """`items` in lists of at most `size`."""
    return (items[start : start + size] for start in range(0, len(items), size))
