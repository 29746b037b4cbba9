"""Images: the distinct picture URLs of a Request."""

import uuid
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple, Self, TypeAlias

from django.db import models
from django.db.models import Count, Q
from django.db.models.functions import Left
from django.db.models.lookups import Exact
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from products.catalogue import ARCHIVE_URL, is_in_archive
from products.models.ids import image_id
from products.models.output_urls import OutputUrls
from products.models.request import Request
from products.models.states import ImageStatus

#: Characters of a URL in its index, which has no room for a whole URL.
INDEXED_URL_CHARACTERS = 200
#: Most Images that are counted by outcome in one query.
COUNTED_OUTCOMES = 50_000
#: Bounds of waiting_by_host(): Images read to find the hosts, hosts returned, Images counted of each.
MAX_WAITING_READ = 1_000
MAX_WAITING_HOSTS = 10
MAX_WAITING_COUNTED = 10_000
#: Attempts to be repeated that an Image remembers, of the latest ones.
MAX_TRIES = 5
#: Fields of the outcome that a canceled retry restores.
PREVIOUS_FIELDS = ("status", "error_code", "error_detail", "attempts", "settled_at", "fetched_from", "host")


class Outcomes(NamedTuple):
    """Numbers of Images settled since a moment, by status and error code."""

    since: datetime
    counts: list[tuple[str, str, int]]


#: Pairs of error code and host; an empty string stands for any.
Causes: TypeAlias = Collection[Sequence[str]]


class Try(NamedTuple):
    """An attempt at an Image that failed: when, with which error code, and what was answered."""

    at: datetime
    code: str
    detail: str


class WaitingHost(NamedTuple):
    """A host that pending Images wait for: the error of the last try, the next try, the number of Images."""

    host: str
    code: str
    until: datetime
    images: int

    @property
    def seconds(self) -> int:
        """Seconds until the next try."""
        return max(0, round((self.until - timezone.now()).total_seconds()))


class ImageQuerySet(models.QuerySet["Image"]):
    def pending(self) -> Self:
        return self.filter(status=ImageStatus.PENDING)

    def failed(self) -> Self:
        return self.filter(status=ImageStatus.FAILED)

    def due(self) -> Self:
        """Pending Images that a worker may claim now."""
        return self.pending().filter(claimed_by=None, due_at__lte=timezone.now())

    def retryable(self, causes: Causes = ()) -> Self:
        """Failed and canceled Images that may be retried, with one of these causes if any are given."""
        settled = self.filter(status__in=[ImageStatus.FAILED, ImageStatus.CANCELED])
        return settled.exclude(error_code="invalid_url").with_cause(causes)

    def with_cause(self, causes: Causes) -> Self:
        """Images with one of these causes; all if none is given."""
        wanted = Q()
        for code, host in causes:
            wanted |= (Q(error_code=code) if code else Q()) & (Q(host=host) if host else Q())
        return self.filter(wanted)

    def waiting_by_host(self) -> list[WaitingHost]:
        """Return hosts whose pending Images wait for their next try, the earliest first."""
        later = self.pending().filter(claimed_by=None, due_at__gt=timezone.now()).order_by("due_at")
        hosts: dict[str, tuple[str, datetime]] = {}
        for host, code, due_at in later.values_list("host", "error_code", "due_at")[:MAX_WAITING_READ]:
            hosts.setdefault(host, (code, due_at))
        waiting = islice(hosts.items(), MAX_WAITING_HOSTS)
        return [
            WaitingHost(host, code, until, self.pending().filter(host=host)[:MAX_WAITING_COUNTED].count())
            for host, (code, until) in waiting
        ]

    def causes(self) -> list[tuple[str, int]]:
        """Return error codes with the number of Images that failed, the most frequent first."""
        counts = self.failed().order_by().values_list("error_code").annotate(count=Count("*"))
        return list(counts.order_by("-count", "error_code"))

    def outcomes_since(self, moment: datetime) -> Outcomes:
        """Count the Images settled since `moment`; of very many, only about the latest COUNTED_OUTCOMES."""
        settled = self.filter(settled_at__gte=moment).order_by("-settled_at")
        times = settled.values_list("settled_at", flat=True)
        since = next(iter(times[COUNTED_OUTCOMES : COUNTED_OUTCOMES + 1]), None) or moment
        counted = settled.filter(settled_at__gte=since).order_by().values_list("status", "error_code")
        return Outcomes(since, list(counted.annotate(count=Count("*")).order_by("-count")))

    def outputs_in_use(self, keys: Collection[str]) -> set[str]:
        """Return the keys that an Image or a rendition refers to, out of the given output keys."""
        # The index's condition is repeated: without it PostgreSQL does not use it for a long list of keys.
        shown = self.filter(output_key__in=keys).exclude(output_key="")
        renditions = Rendition.objects.filter(key__in=keys).order_by()
        return set(shown.order_by().values_list("output_key", flat=True).distinct()) | set(
            renditions.values_list("key", flat=True).distinct()
        )

    def first_rows(self, count: int) -> "ImageQuerySet":
        """Return at most `count` rows as a queryset that, unlike a slice, can be updated and deleted."""
        return Image.objects.filter(pk__in=list(self.order_by().values_list("pk", flat=True)[:count]))


class Image(models.Model):
    """One distinct source URL of a Request, fetched once however many Products show it.

    pending → completed | failed | canceled, and back to pending by a retry of the Request. While pending it
    may be claimed by a worker (`claimed_by`) or wait for its next attempt (`due_at`).
    """

    Status = ImageStatus

    id = models.UUIDField(primary_key=True, editable=False)
    request = models.ForeignKey(Request, models.CASCADE, related_name="images", db_index=False)
    number = models.PositiveIntegerField(help_text="In order of first appearance in the catalogue, from 1.")
    url = models.TextField()
    fetched_from = models.TextField(
        blank=True,
        default="",
        db_default="",
        help_text="Corrected URL that is fetched instead of the one in the file.",
    )
    host = models.CharField(max_length=300, help_text="host:port; the port only if the URL names one.")

    status = models.CharField(max_length=9, choices=Status, default=Status.PENDING)
    claimed_by = models.UUIDField(null=True, blank=True)
    due_at = models.DateTimeField()
    attempts = models.PositiveSmallIntegerField(default=0)
    crashes = models.PositiveSmallIntegerField(default=0)
    error_code = models.CharField(max_length=30, blank=True)
    error_detail = models.TextField(blank=True)
    unchanged = models.BooleanField(default=False)
    settled_at = models.DateTimeField(null=True, blank=True)
    # The outcome before this run, which a cancel restores: the fields PREVIOUS_FIELDS.
    previous = models.JSONField(null=True, blank=True)
    # The latest attempts that were or will be repeated, as {at, code, detail}. The last attempt is the row.
    tries = models.JSONField(null=True, blank=True)

    source_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    source_width = models.PositiveIntegerField(null=True, blank=True)
    source_height = models.PositiveIntegerField(null=True, blank=True)
    source_format = models.CharField(max_length=8, blank=True)
    animated = models.BooleanField(
        default=False, db_default=False, help_text="The output is the first frame of an animation."
    )
    output_key = models.CharField(max_length=200, blank=True)
    external_url = models.TextField(
        blank=True, default="", db_default="", help_text="URL of an output stored by an external worker."
    )
    output_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    output_width = models.PositiveIntegerField(null=True, blank=True)
    output_height = models.PositiveIntegerField(null=True, blank=True)
    output_format = models.CharField(max_length=8, blank=True)
    output_quality = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Empty where the source's own data was kept, and for PNG."
    )

    objects = ImageQuerySet.as_manager()

    class Meta:
        ordering = ["request_id", "number"]
        constraints = [
            models.UniqueConstraint(fields=["request", "number"], name="image_number"),
            models.CheckConstraint(
                condition=Q(claimed_by=None) | Q(status="pending"), name="image_claimed_only_while_pending"
            ),
            models.CheckConstraint(
                condition=~Q(status="completed") | ~Q(output_key="", external_url=""),
                name="image_completed_has_output",
            ),
        ]
        indexes = [
            # The claim query: due Images of a Request in order.
            models.Index(
                fields=["request", "due_at", "number"],
                name="image_due",
                condition=Q(status="pending", claimed_by=None),
            ),
            # Recovery: claimed Images by worker.
            models.Index(fields=["claimed_by"], name="image_claimed", condition=Q(claimed_by__isnull=False)),
            # Failures are counted by cause and host.
            models.Index(
                fields=["request", "error_code", "host"], name="image_failures", condition=Q(status="failed")
            ),
            # waiting_by_host()
            models.Index(fields=["request", "host"], name="image_waiting", condition=Q(status="pending")),
            # outputs_in_use(), which prune asks for every stored file.
            models.Index(fields=["output_key"], name="image_output", condition=~Q(output_key="")),
            # Lists by status, of one Request or of all, in their order.
            models.Index(fields=["status", "request", "number"], name="image_status"),
            # has_url()
            models.Index(Left("url", INDEXED_URL_CHARACTERS), name="image_url"),
            # outcomes_since(), answered from the index alone.
            models.Index(
                fields=["settled_at", "status", "error_code"],
                name="image_settled",
                condition=Q(settled_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.url

    def get_absolute_url(self) -> str:
        return reverse("picture", args=[self.request_id, self.pk])

    @staticmethod
    def id_for(request_id: uuid.UUID, url: str) -> uuid.UUID:
        """Return the id of a URL in a Request."""
        return uuid.UUID(image_id(request_id, url))

    @staticmethod
    def has_url(url: str) -> Q:
        """Return the condition that the URL is exactly this one, for which the database uses its index."""
        beginning = Exact(Left("url", INDEXED_URL_CHARACTERS), url[:INDEXED_URL_CHARACTERS])
        return Q(beginning, url=url)

    @property
    def source_url(self) -> str:
        """The URL that is fetched: the corrected one if there is one."""
        return self.fetched_from or self.url

    @property
    def uploaded_path(self) -> str:
        """Path of the picture in the ZIP that was uploaded; "" if it is fetched."""
        url = self.source_url
        return url.removeprefix(ARCHIVE_URL)[1:] if is_in_archive(url) and self.request.archive else ""

    @property
    def output_path(self) -> str:
        """Path of the output on this server, or its full URL if it is elsewhere; "" if there is none."""
        return OutputUrls().path(self.pk, self.output_key, self.external_url)

    @property
    def output_url(self) -> str:
        """Full URL of the output, below PUBLIC_URL if it is on this server; "" if there is none."""
        return OutputUrls().url(self.pk, self.output_key, self.external_url)

    @property
    def is_failed(self) -> bool:
        return self.status == ImageStatus.FAILED

    @property
    def failed_tries(self) -> list[Try]:
        """The attempts that failed and are known, the latest last; of an earlier run, its last one."""
        tries = [
            Try(datetime.fromisoformat(one["at"]), one["code"], one["detail"]) for one in self.tries or []
        ]
        earlier = self.previous or {}
        if earlier.get("error_code") and (at := parse_datetime(earlier.get("settled_at") or "")):
            at = at if at.tzinfo else at.replace(tzinfo=UTC)  # as SQLite writes it
            tries.append(Try(at, earlier["error_code"], earlier["error_detail"]))
        if self.is_failed and self.settled_at:
            tries.append(Try(self.settled_at, self.error_code, self.error_detail))
        return sorted(tries)


class Rendition(models.Model):
    """A further output of a completed Image, as `Request.renditions` asks for it.

    The id is derived from the Image and the name. Rows are written with the outcome of the Image and never
    changed.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    image = models.ForeignKey(Image, models.CASCADE, related_name="renditions")
    name = models.CharField(max_length=20)
    key = models.CharField(max_length=200)
    bytes = models.PositiveBigIntegerField()
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    format = models.CharField(max_length=8)
    quality = models.PositiveSmallIntegerField(null=True, blank=True)

    class Meta:
        indexes = [
            # outputs_in_use(), which prune asks for every stored file.
            models.Index(fields=["key"], name="rendition_key"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> str:
        """Path of the file on this server, or its full URL if it is elsewhere."""
        return OutputUrls().path(self.image_id, self.key, "", self.name)
