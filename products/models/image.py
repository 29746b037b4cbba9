"""The distinct pictures of a Request: claimed by workers, settled by their outcomes."""

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from operator import attrgetter
from typing import NamedTuple, Self

from django.db import connection, models, transaction
from django.db.models import Count, F, Q
from django.db.models.functions import Left
from django.db.models.lookups import Exact
from django.utils import timezone

from products.models import bulk
from products.models.chunk import Chunk, image_id
from products.models.output_urls import Addresses
from products.models.product import ProductImage
from products.models.request import Request
from products.models.states import ImageStatus, RequestStatus

#: Characters of a URL that are in the index by which it is found: more than one fits into no index.
INDEXED_URL = 200
#: Images that are counted by their outcome at once.
COUNTED_OUTCOMES = 50_000


class Outcomes(NamedTuple):
    """How many Images have settled since a moment, by status and error code."""

    since: datetime
    counts: list[tuple[str, str, int]]


class Output(NamedTuple):
    """What was made of a picture: by which Image, its key in storage, and the facts of source and output."""

    pk: uuid.UUID
    output_key: str
    source_bytes: int | None
    source_width: int | None
    source_height: int | None
    source_format: str
    output_bytes: int | None
    output_width: int | None
    output_height: int | None
    output_format: str


class ImageQuerySet(models.QuerySet["Image"]):
    def pending(self) -> Self:
        return self.filter(status=ImageStatus.PENDING)

    def failed(self) -> Self:
        return self.filter(status=ImageStatus.FAILED)

    def due(self) -> Self:
        """Waiting for a worker, with nothing to wait for."""
        return self.pending().filter(claimed_by=None, due_at__lte=timezone.now())

    def retryable(self, code: str | None = None, host: str | None = None) -> Self:
        """Failed and canceled ones that may be tried again, of one error `code` and `host` if given."""
        settled = self.filter(status__in=[ImageStatus.FAILED, ImageStatus.CANCELED])
        settled = settled.exclude(error_code="invalid_url")
        if code:
            settled = settled.filter(error_code=code)
        return settled.filter(host=host) if host else settled

    def reset(self) -> int:
        """Make settled Images pending again, as new but for what they may have done to a worker; how many."""
        return self.update(
            status=ImageStatus.PENDING,
            claimed_by=None,
            due_at=timezone.now(),
            attempts=0,
            error_code="",
            error_detail="",
            settled_at=None,
        )

    def seize(self, worker: uuid.UUID) -> list["Image"]:
        """Take pending Images in hand for `worker`, from whoever has them; what that makes of them is void.

        The caller holds the Request's lock.
        """
        images = list(self.pending().select_for_update())
        self.filter(pk__in=[image.pk for image in images]).update(claimed_by=worker)
        return images

    def insert(self, batch: Request, chunk: Chunk) -> tuple[int, int]:
        """Insert the Images and ProductImages of new rows; how many Images are new, and how many of them bad.

        The caller holds the Request's lock, so no other writer can number or insert its Images.
        """
        new = dict(chunk.images)
        if batch.images_total:
            for known in bulk.known(Image, list(new)):
                del new[known]
        failed = self._insert_numbered(batch, new)
        bulk.insert(ProductImage(), ("product_id", "image_id", "position"), chunk.places)
        return len(new), failed

    def _insert_numbered(self, batch: Request, new: Mapping[str, tuple[str, str, str | None]]) -> int:
        """Insert new Images; how many are failed from the start: their URL is no address of a picture."""
        good, bad = [], []
        for number, (pk, (url, host, problem)) in enumerate(new.items(), start=batch.images_total + 1):
            if problem:
                bad.append((pk, number, url, host, problem))
            else:
                good.append((pk, number, url, host))
        names = ("id", "number", "url", "host")
        image = Image(request=batch, due_at=batch.created_at)
        bulk.insert(image, names, good)
        image.fail("invalid_url", "")
        bulk.insert(image, (*names, "error_detail"), bad)
        return len(bad)

    def claim(
        self, batch: Request, worker: uuid.UUID, limit: int, busy_hosts: Collection[str] = ()
    ) -> list["Image"]:
        """Take up to `limit` due Images of a Request in hand for `worker`, first come first served.

        Empty once the Request's epoch is over. None of `busy_hosts` (host:port), which would only wait.
        """
        with transaction.atomic():
            due = self.due().filter(
                request=batch, request__status=RequestStatus.PROCESSING, request__epoch=batch.epoch
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
        """Write the outcome fields of existing rows in bulk. The caller holds the rows' locks."""
        names = ("id", *Image.OUTCOME)
        bulk.update(Image, names, map(attrgetter(*names), images))

    def keep_outputs(self, ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        """Which of these Images refer to a stored output, and will until the end of the transaction.

        FOR KEY SHARE keeps them from being deleted and hinders nothing else. It waits for nobody: what is
        being deleted counts as gone.
        """
        referring = self.filter(pk__in=ids, status=ImageStatus.COMPLETED).exclude(output_key="").order_by()
        if not connection.features.has_select_for_update:  # SQLite: who writes is alone
            return set(referring.values_list("pk", flat=True))
        statement, parameters = referring.only("pk").query.sql_with_params()
        return {image.pk for image in self.raw(f"{statement} FOR KEY SHARE SKIP LOCKED", parameters)}

    def confirm_outputs(self, images: Iterable["Image"]) -> None:
        """Let those that took over an output to which nobody refers any more start over, in memory.

        The rest is written in the same transaction: so some row refers to each output at any moment.
        """
        taken_over = [image for image in images if image.taken_from]
        if taken_over:
            kept = Image.objects.keep_outputs({image.taken_from for image in taken_over if image.taken_from})
            for image in taken_over:
                if image.taken_from not in kept:
                    image.start_over()

    def causes(self) -> list[tuple[str, int]]:
        """How many have failed with each error code, the most frequent first."""
        counts = self.failed().order_by().values_list("error_code").annotate(count=Count("*"))
        return list(counts.order_by("-count", "error_code"))

    def outcomes_since(self, moment: datetime) -> Outcomes:
        """What has come of those that settled since `moment`; of more than 50,000, since a later one."""
        settled = self.filter(settled_at__gte=moment).order_by("-settled_at")
        times = settled.values_list("settled_at", flat=True)
        since = next(iter(times[COUNTED_OUTCOMES : COUNTED_OUTCOMES + 1]), None) or moment
        counted = settled.filter(settled_at__gte=since).order_by().values_list("status", "error_code")
        return Outcomes(since, list(counted.annotate(count=Count("*")).order_by("-count")))

    def outputs_in_use(self, keys: Collection[str]) -> set[str]:
        """Which of these stored outputs an Image refers to."""
        # Its condition repeated: else PostgreSQL does not see that the index serves a long list of keys.
        shown = self.filter(output_key__in=keys).exclude(output_key="")
        return set(shown.order_by().values_list("output_key", flat=True).distinct())

    def first_rows(self, count: int) -> "ImageQuerySet":
        """At most `count` of them, as a queryset that can be written to."""
        return Image.objects.filter(pk__in=list(self.order_by().values_list("pk", flat=True)[:count]))

    def settle_canceled(self) -> int:
        """Cancel pending Images, whoever has them in hand; how many."""
        return self.pending().update(status=ImageStatus.CANCELED, claimed_by=None, settled_at=timezone.now())

    def discard(self) -> int:
        """Delete the rows and their places; delete() would load them all to see what depends on them."""
        ProductImage.objects.filter(image__in=self.all())._raw_delete(self.db)
        return self.all()._raw_delete(self.db) or 0  # None where nothing can match


class Image(models.Model):
    """One distinct source URL of a Request, fetched once however many Products show it.

    pending → completed | failed | canceled, and back to pending by the Request's retry. While pending it
    may be in hand of a worker (`claimed_by`) or wait for its next attempt (`due_at`).
    """

    Status = ImageStatus

    FACTS = Output._fields[2:]
    OUTCOME = [
        *(
            "status",
            "claimed_by",
            "due_at",
            "attempts",
            "error_code",
            "error_detail",
            "unchanged",
            "settled_at",
        ),
        *("output_key", "external_url"),
        *FACTS,
    ]

    #: In memory only: the completed Image whose output this one takes over, until that is written.
    taken_from: uuid.UUID | None = None

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
    external_url = models.TextField(
        blank=True, default="", db_default="", help_text="Where an external worker has put the output."
    )
    output_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    output_width = models.PositiveIntegerField(null=True, blank=True)
    output_height = models.PositiveIntegerField(null=True, blank=True)
    output_format = models.CharField(max_length=8, blank=True)

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
            # claim(): the due Images of a Request in order.
            models.Index(
                fields=["request", "due_at", "number"],
                name="image_due",
                condition=Q(status="pending", claimed_by=None),
            ),
            # Recovery: what is in hand, by whom.
            models.Index(fields=["claimed_by"], name="image_claimed", condition=Q(claimed_by__isnull=False)),
            # Failures are counted by cause and host.
            models.Index(
                fields=["request", "error_code", "host"], name="image_failures", condition=Q(status="failed")
            ),
            # outputs_in_use(): prune asks for every stored file whether an Image shows it.
            models.Index(fields=["output_key"], name="image_output", condition=~Q(output_key="")),
            # Lists by status, of one Request or of all, in their order.
            models.Index(fields=["status", "request", "number"], name="image_status"),
            # has_url()
            models.Index(Left("url", INDEXED_URL), name="image_url"),
            # outcomes_since(), without a look at the rows.
            models.Index(
                fields=["settled_at", "status", "error_code"],
                name="image_settled",
                condition=Q(settled_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.url

    @staticmethod
    def id_for(request_id: uuid.UUID, url: str) -> uuid.UUID:
        """The id of a URL in a Request, which makes the URL unique there."""
        return uuid.UUID(image_id(request_id, url))

    @staticmethod
    def has_url(url: str) -> Q:
        """The condition that the URL is exactly this one, found by its beginning."""
        return Q(Exact(Left("url", INDEXED_URL), url[:INDEXED_URL]), url=url)

    @property
    def output_path(self) -> str:
        """Where the output is: a path on this server, or a full URL if it is elsewhere; "" if none."""
        return Addresses().path(self.pk, self.output_key, self.external_url)

    @property
    def output_url(self) -> str:
        """The output's full URL under PUBLIC_URL, for places that know no HTTP request; "" if none."""
        return Addresses().url(self.pk, self.output_key, self.external_url)

    @property
    def is_failed(self) -> bool:
        return self.status == ImageStatus.FAILED

    def fail(self, code: str, detail: str) -> None:
        """Settle as failed, in memory."""
        self.status, self.settled_at = ImageStatus.FAILED, timezone.now()
        self.error_code, self.error_detail = code, detail.replace("\0", "")

    def postpone(self, delay: timedelta, code: str, detail: str) -> None:
        """Leave pending until `delay` has passed, with the error so far, in memory."""
        self.due_at = timezone.now() + delay
        self.error_code, self.error_detail = code, detail.replace("\0", "")

    def complete(self, output_key: str) -> None:
        """Settle as completed, in memory; the facts of source and output are set by the caller."""
        self.status, self.settled_at = ImageStatus.COMPLETED, timezone.now()
        self.output_key, self.error_code, self.error_detail = output_key, "", ""

    def take_over(self, output: Output) -> None:
        """Settle as completed with the output of an Image of the same picture, in memory."""
        for name in self.FACTS:
            setattr(self, name, getattr(output, name))
        self.complete(output.output_key)
        self.unchanged, self.taken_from = True, output.pk

    def start_over(self) -> None:
        """Leave pending without what was taken over, in memory."""
        for name in self.FACTS:
            setattr(self, name, "" if name.endswith("_format") else None)
        self.status, self.settled_at, self.output_key = ImageStatus.PENDING, None, ""
        self.unchanged, self.taken_from = False, None

    def complete_elsewhere(self, url: str) -> None:
        """Settle as completed by an external worker, in memory."""
        self.complete("")
        self.external_url = url


def batched(items: list[uuid.UUID], size: int) -> Iterator[list[uuid.UUID]]:
    """`items` in lists of at most `size`."""
    return (items[start : start + size] for start in range(0, len(items), size))
