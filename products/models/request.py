"""Requests: uploaded catalogues with their options, status and counters."""

import secrets
import time
import uuid
from collections.abc import Collection
from datetime import datetime
from typing import Any, Self

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Case, Count, F, Min, Q, Sum, When
from django.db.models.functions import Coalesce, Greatest
from django.urls import reverse
from django.utils import timezone

from products.catalogue import ENCODINGS, Reading
from products.models.files import uploads_storage
from products.models.owned import OwnedQuerySet
from products.models.profile import Profile
from products.models.quality import DEFAULT_QUALITY, QualityField
from products.models.recipes import MAX_SIDE, RECIPE_OPTIONS, Effort, Fit, Names, outputs_of
from products.models.states import Format, ImageStatus, RequestStatus, RunOrigin, Sweep

#: `per_second` counts Images settled in this time, which is divided into steps.
PACE_SECONDS = 30
PACE_STEP_SECONDS = 3
#: Of a width or a height.
PIXELS = [MinValueValidator(1), MaxValueValidator(MAX_SIDE)]


def source_path(batch: "Request", filename: str) -> str:
    """Return the name under which a catalogue is stored: the Request's id, not the user's file name."""
    return f"{batch.pk}.csv"


class RequestQuerySet(OwnedQuerySet["Request"]):
    def visible_to(self, user: User | AnonymousUser) -> Self:
        """Requests that `user` may see, without those being deleted."""
        return super().visible_to(user).present()

    def present(self) -> Self:
        """Requests that are not being deleted."""
        return self.exclude(sweep=Sweep.DELETE)

    def active(self) -> Self:
        return self.filter(status__in=Request.ACTIVE)

    def finished(self) -> Self:
        return self.filter(status__in=Request.FINISHED)

    def unsettled(self) -> Self:
        """Requests with work left: unfinished, or with rows that a sweep has not reached."""
        return self.filter(Q(status__in=Request.ACTIVE) | ~Q(sweep=""))

    def open_work(self) -> tuple[int, int]:
        """Return the numbers of unfinished Requests and of their unfinished Images.

        While a file is ingested, each URL in it counts as an Image.
        """
        is_read = Q(ingested_rows__gte=F("products_total"))
        images = Case(When(is_read, then="images_total"), default=Greatest("urls_total", "images_total"))
        settled = F("images_completed") + F("images_failed") + F("images_canceled") + F("images_ignored")
        found = self.active().aggregate(requests=Count("pk"), images=Sum(images - settled))
        return found["requests"], found["images"] or 0

    def waiting(self) -> dict[str, Any]:
        """Return the `count` of Requests not started yet, and `since` when the oldest of them waits."""
        waiting = self.filter(status=RequestStatus.PENDING)
        return waiting.aggregate(count=Count("pk"), since=Min("created_at"))

    def under_way(self) -> dict[str, Any]:
        """Return the `count` of Requests being processed, and the oldest time of progress as `since`."""
        moved_at = Coalesce("last_progress_at", "started_at")
        return self.filter(status=RequestStatus.PROCESSING).aggregate(count=Count("pk"), since=Min(moved_at))

    def finished_before(self, moment: datetime) -> Self:
        return self.finished().filter(finished_at__lt=moment)

    def sources_in_use(self, names: Collection[str]) -> set[str]:
        """Return the names that a Request refers to, out of the given names of stored catalogues and ZIPs."""
        sources = self.filter(source__in=names).values_list("source", flat=True)
        archives = self.filter(archive__in=names).exclude(archive="").values_list("archive", flat=True)
        return set(sources) | set(archives)

    def locked(self) -> Self:
        """Lock the rows until the end of the transaction (FOR NO KEY UPDATE)."""
        # Rows that refer to the Request may be inserted meanwhile.
        return self.select_for_update(no_key=True)


class Request(models.Model):
    """One uploaded catalogue with its options. An instance is called `batch`, a `request` is an HTTP request.

    pending → processing → completed | completed_with_errors | failed | canceled, and from each of these back
    to processing by a retry, which counts `run` up. `products.lifecycle` has the transitions.
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
    name = models.CharField(max_length=200, blank=True, help_text="Shown instead of the file name.")
    note = models.CharField(max_length=500, blank=True)
    # Part of the address under which it is shown without a login; blank: it is not.
    share_key = models.CharField(max_length=22, blank=True, default="", db_default="", editable=False)
    source = models.FileField(storage=uploads_storage, upload_to=source_path)
    # A ZIP with pictures, by its name in the storage of `source`. Repeats of the Request share it.
    archive = models.CharField(max_length=100, blank=True, default="", db_default="", editable=False)
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001 (NULL: not unique)
    fingerprint = models.CharField("SHA-256 of file and options", max_length=64)
    # The same for catalogues with the same columns; blank if it is not known.
    header_hash = models.CharField(max_length=64, blank=True, default="", db_default="")

    profile = models.ForeignKey(
        Profile,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="requests",
        help_text="The profile that it was uploaded with. Its options are kept here.",
    )
    quality = QualityField(default=DEFAULT_QUALITY)
    format = models.CharField(max_length=8, choices=Format, default=Format.JPEG)
    max_width = models.PositiveIntegerField(null=True, blank=True, validators=PIXELS)
    max_height = models.PositiveIntegerField(null=True, blank=True, validators=PIXELS)
    width = models.PositiveIntegerField(null=True, blank=True, validators=PIXELS)
    height = models.PositiveIntegerField(null=True, blank=True, validators=PIXELS)
    fit = models.CharField(max_length=6, choices=Fit, default=Fit.INSIDE, db_default=Fit.INSIDE)
    background = models.CharField(
        max_length=7,
        blank=True,
        default="",
        db_default="",
        help_text="As #rrggbb; blank: transparent where the format can be, else white.",
    )
    effort = models.CharField(
        max_length=8,
        choices=Effort,
        default=Effort.BALANCED,
        db_default=Effort.BALANCED,
        help_text="How much CPU smaller files are worth.",
    )
    trim = models.BooleanField(default=False, db_default=False, help_text="Cut off uniform borders.")
    min_width = models.PositiveIntegerField(null=True, blank=True, validators=PIXELS)
    min_height = models.PositiveIntegerField(null=True, blank=True, validators=PIXELS)
    names = models.CharField(max_length=6, choices=Names, default=Names.HASH, db_default=Names.HASH)
    renditions = models.JSONField(
        default=list,
        db_default=models.Value([], models.JSONField()),
        blank=True,
        help_text="Further outputs of every picture, each with a name and its options.",
    )
    strict = models.BooleanField(
        default=False, db_default=False, help_text="Refuse the file if any row or cell is invalid."
    )
    force = models.BooleanField(
        default=False, db_default=False, help_text="Fetch every picture again, even if it has not changed."
    )

    encoding = models.CharField(
        max_length=20,
        blank=True,
        default="",
        db_default="",
        help_text="Encoding of the catalogue; blank: detected.",
    )
    read_as = models.CharField(
        max_length=20,
        blank=True,
        default="",
        db_default="",
        help_text="Encoding with which a CSV was read; of other files their kind, such as xlsx.",
    )
    columns = models.JSONField(
        default=dict,
        db_default=models.Value({}, models.JSONField()),
        blank=True,
        help_text="Columns named by the user instead of detected.",
    )
    base_url = models.CharField(
        max_length=2048,
        blank=True,
        default="",
        db_default="",
        help_text="Base URL of relative picture paths.",
    )
    sheet = models.CharField(
        max_length=255,
        blank=True,
        default="",
        db_default="",
        help_text="Name or number of a workbook's sheet; blank: the first visible one with known columns.",
    )
    webhook_url = models.CharField(
        max_length=2048,
        blank=True,
        default="",
        db_default="",
        help_text="Webhook URL for this request alone.",
    )

    status = models.CharField(max_length=21, choices=Status, default=Status.PENDING)
    error = models.CharField(max_length=500, blank=True)
    run = models.PositiveIntegerField(default=1)
    run_by = models.CharField(max_length=7, choices=RunOrigin, default=RunOrigin.UPLOAD)
    # Counted up whenever messages are sent anew: a message of an earlier epoch is ignored.
    epoch = models.PositiveIntegerField(default=0)
    dispatched_at = models.DateTimeField(null=True, blank=True)
    sweep = models.CharField(max_length=6, choices=Sweep, blank=True)
    sweep_options = models.JSONField(default=dict, blank=True)  # RetryOptions of products.lifecycle

    products_total = models.PositiveIntegerField()
    urls_total = models.PositiveIntegerField(default=0, db_default=0)  # in the file, with repetitions
    ingested_rows = models.PositiveIntegerField(default=0)
    images_total = models.PositiveIntegerField(default=0)
    images_completed = models.PositiveIntegerField(default=0)
    images_failed = models.PositiveIntegerField(default=0)
    images_canceled = models.PositiveIntegerField(default=0)
    images_ignored = models.PositiveIntegerField(default=0)
    images_unchanged = models.PositiveIntegerField(default=0)
    bytes_source = models.PositiveBigIntegerField(default=0)
    bytes_output = models.PositiveBigIntegerField(default=0)
    # Of outputs that were taken over, and of the sources of which the main output was.
    bytes_unchanged = models.PositiveBigIntegerField(default=0)
    bytes_source_unchanged = models.PositiveBigIntegerField(default=0)

    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    last_progress_at = models.DateTimeField(null=True, blank=True)
    # Images settled in this run, as [[start of a period of PACE_STEP_SECONDS, number], …] of the latest ones.
    recent_progress = models.JSONField(default=list, blank=True)

    objects = RequestQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["owner", "idempotency_key"], name="request_idempotency"),
            models.CheckConstraint(
                condition=Q(
                    images_total__gte=F("images_completed")
                    + F("images_failed")
                    + F("images_canceled")
                    + F("images_ignored")
                ),
                name="request_counters",
            ),
        ]
        indexes = [
            models.Index(fields=["owner", "-created_at", "-id"], name="request_of_owner"),
            # sources_in_use(), which prune asks for every stored file.
            models.Index(fields=["archive"], name="request_archive", condition=~Q(archive="")),
            # unsettled(), which recovery asks for.
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

    def share(self) -> None:
        """Share the Request, with a new address unless it is shared already."""
        key = secrets.token_urlsafe(16)
        Request.objects.filter(pk=self.pk, share_key="").update(share_key=key)
        self.refresh_from_db(fields=["share_key"])

    def unshare(self) -> None:
        """End sharing; the address never works again."""
        Request.objects.filter(pk=self.pk).update(share_key="")
        self.share_key = ""

    @property
    def share_url(self) -> str:
        """Full URL of the shared page, or "" if the Request is not shared."""
        if not self.share_key:
            return ""
        return f"{settings.PUBLIC_URL}{reverse('shared', args=[self.pk, self.share_key])}"

    @property
    def has_detected_encoding(self) -> bool:
        """True for a CSV whose encoding was detected and not named."""
        return not self.encoding and self.read_as in ENCODINGS

    @property
    def reading(self) -> Reading:
        """Options for reading the catalogue, the same every time it is read."""
        return {
            "encoding": self.encoding,
            "columns": self.columns,
            "base_url": self.base_url,
            "sheet": self.sheet,
        }

    @property
    def recipe_options(self) -> dict[str, Any]:
        """The options that say what is made of each picture; None for one that was not given."""
        return {name: getattr(self, name) for name in RECIPE_OPTIONS} | {
            "background": self.background or None
        }

    @property
    def options(self) -> dict[str, Any]:
        """All options of the upload that are no secret."""
        return self.recipe_options | {"strict": self.strict, "force": self.force} | self.reading

    @property
    def outputs(self) -> dict[str, dict[str, Any]]:
        """The options of every output by its name: the main one, whose name is "", and the renditions."""
        return outputs_of(self.recipe_options)

    @property
    def earlier(self) -> "Request | None":
        """The owner's latest earlier Request of the same catalogue that completed, perhaps with errors.

        A catalogue is the same if its file has the same name and the same columns.
        """
        same = Request.objects.present().filter(
            owner=self.owner_id, filename=self.filename, header_hash=self.header_hash
        )
        results = same.filter(status__in=[RequestStatus.COMPLETED, RequestStatus.COMPLETED_WITH_ERRORS])
        return results.filter(created_at__lt=self.created_at).order_by("-created_at").first()

    @property
    def ingested(self) -> bool:
        return self.ingested_rows >= self.products_total

    @property
    def images_settled(self) -> int:
        return self.images_completed + self.images_failed + self.images_canceled + self.images_ignored

    @property
    def images_pending(self) -> int:
        return self.images_total - self.images_settled

    @property
    def status_of_missing(self) -> str:
        """Status of Images that are not ingested yet."""
        return ImageStatus.PENDING if self.is_active else ImageStatus.CANCELED

    @property
    def bytes_source_new(self) -> int:
        """Size of the sources whose main outputs were made for this Request."""
        return self.bytes_source - self.bytes_source_unchanged

    @property
    def bytes_saved(self) -> int:
        """Bytes saved by the outputs made for this Request; negative if it has only added renditions."""
        return self.bytes_source_new - (self.bytes_output - self.bytes_unchanged)

    @property
    def is_active(self) -> bool:
        return self.status in self.ACTIVE

    @property
    def seconds_taken(self) -> float | None:
        """Duration of this run so far; None before it has started."""
        if self.started_at is None:
            return None
        return ((self.finished_at or timezone.now()) - self.started_at).total_seconds()

    def count_progress(self, images: int) -> None:
        """Count Images that have just settled, for `per_second`."""
        step = int(time.time()) // PACE_STEP_SECONDS * PACE_STEP_SECONDS
        # Later steps are from before a clock was set back.
        recent = {
            start: number for start, number in self.recent_progress if step - PACE_SECONDS < start <= step
        }
        recent[step] = recent.get(step, 0) + images
        self.recent_progress = sorted(recent.items())

    @property
    def per_second(self) -> float:
        """Images settled per second in the last PACE_SECONDS, or since this run began; 0 if none has."""
        if self.status != RequestStatus.PROCESSING or not self.started_at:
            return 0.0
        now = time.time()
        recent: int = sum(
            number for start, number in self.recent_progress if now - PACE_SECONDS < start <= now
        )
        elapsed = min(max(now - self.started_at.timestamp(), 1), PACE_SECONDS)
        return round(recent / elapsed, 2)

    @property
    def eta_seconds(self) -> int | None:
        """Estimated seconds until the end; None while the file is ingested or nothing settles."""
        return round(self.images_pending / self.per_second) if self.ingested and self.per_second else None

    @property
    def title(self) -> str:
        """The name that its user gave it, or the name of its file."""
        return self.name or self.filename

    @property
    def all_runs(self) -> "list[Run]":
        """Every run in order, the present one with its counts so far."""
        runs = list(self.runs.all())
        return [*runs, Run.of(self)] if self.is_active else runs


class Run(models.Model):
    """A finished run of a Request: from its start, or a retry, to its end. Counts are those at its end."""

    request = models.ForeignKey(Request, models.CASCADE, related_name="runs")
    number = models.PositiveIntegerField()
    by = models.CharField(max_length=7, choices=RunOrigin)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    completed = models.PositiveIntegerField()
    failed = models.PositiveIntegerField()
    bytes_source = models.PositiveBigIntegerField()
    bytes_output = models.PositiveBigIntegerField()
    canceled = models.BooleanField()

    class Meta:
        ordering = ["request_id", "number"]
        constraints = [models.UniqueConstraint(fields=["request", "number"], name="run_number")]

    def __str__(self) -> str:
        return f"Run {self.number}"

    @property
    def seconds_taken(self) -> float | None:
        """Duration of the run; None before its end."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()

    @classmethod
    def of(cls, batch: Request, *, canceled: bool = False) -> "Run":
        """Return the present run of a Request, unsaved."""
        return cls(
            request=batch,
            number=batch.run,
            by=batch.run_by,
            started_at=batch.started_at,
            finished_at=batch.finished_at,
            completed=batch.images_completed,
            failed=batch.images_failed,
            bytes_source=batch.bytes_source,
            bytes_output=batch.bytes_output,
            canceled=canceled,
        )
