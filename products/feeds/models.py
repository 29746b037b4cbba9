"""Feeds, and their runs. `products.feeds.runs` moves runs from status to status."""

import json
import secrets
import uuid
from datetime import datetime
from typing import Self
from urllib.parse import urljoin, urlsplit, urlunsplit

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from products.encryption import Encryption, UnreadableSecret
from products.feeds.schedule import MAX_SCHEDULE_CHARACTERS, next_moment
from products.models import Profile, Request, RequestStatus
from products.models.owned import OwnedQuerySet, save_fields
from products.models.states import Sweep

#: Headers and targets of deliveries may carry passwords, and `latest_url` shows the secret: all are needed
#: again as they were.
SECRETS = Encryption("products.feeds")
MAX_FEEDS_PER_USER = 100
#: The target of deliveries to the service's own bucket or disk.
STORAGE = "storage"
#: Stands for the query of a target that is shown.
HIDDEN = "…"
TOO_MANY_FEEDS = f"You have reached the limit of {MAX_FEEDS_PER_USER} feeds. Delete one first."


class WhenUnchanged(models.TextChoices):
    """Action for a file that has not changed since the last run."""

    RUN = "run", "Run it"
    SKIP = "skip", "Skip it"


class FeedRunStatus(models.TextChoices):
    """Status of a feed's run. Once its file is a Request, the Request's status says more."""

    FETCHING = "fetching", "Fetching"
    PROCESSING = "processing", "Processing"
    UNCHANGED = "unchanged", "Unchanged"
    HELD = "held", "Held"
    COMPLETED = "completed", "Completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors", "Completed with errors"
    FAILED = "failed", "Failed"
    CANCELED = "canceled", "Canceled"


def new_encrypted_secret() -> str:
    """Return a new secret for the URL of `latest.csv`, encrypted for the database."""
    return SECRETS.encrypt(secrets.token_urlsafe(32))


class FeedQuerySet(OwnedQuerySet["Feed"]):
    def has_reached_limit(self, user: User | AnonymousUser) -> bool:
        """Return whether `user` may add no more feeds."""
        return self.owned_by(user).count() >= MAX_FEEDS_PER_USER

    def requests_in_use(self) -> set[uuid.UUID]:
        """Return the ids of Requests whose results are served, or held until they are confirmed."""
        held = self.filter(last_run__status=FeedRunStatus.HELD).values_list("last_run__request", flat=True)
        served = [latest.pk for feed in self.only("pk") if (latest := feed.latest)]
        return {*served, *filter(None, held)}

    def with_last_run(self) -> Self:
        """Feeds with their profile, their last run and their delivery."""
        return self.select_related("profile", "last_run__request", "delivery")


class Feed(models.Model):
    """A URL from which a catalogue is fetched, on a schedule or by hand, each time as a Request.

    `next_run_at` is None while the feed is disabled or has no schedule. The last five fields say which file
    was run last: its validators, the URL that had it after redirects, its SHA-256, and with which URL and
    headers it was fetched.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="feeds")
    name = models.CharField(max_length=200)
    url = models.CharField("URL", max_length=2048)
    profile = models.ForeignKey(Profile, models.SET_NULL, null=True, blank=True, related_name="feeds")
    schedule = models.CharField(
        max_length=MAX_SCHEDULE_CHARACTERS, blank=True, help_text="Five cron fields; blank: only by hand."
    )
    time_zone = models.CharField(max_length=64, default="UTC")
    enabled = models.BooleanField(default=True)
    when_unchanged = models.CharField(max_length=4, choices=WhenUnchanged, default=WhenUnchanged.RUN)
    encrypted_headers = models.TextField(blank=True, editable=False)
    encrypted_secret = models.TextField(default=new_encrypted_secret, editable=False)
    created_at = models.DateTimeField(default=timezone.now)

    next_run_at = models.DateTimeField(null=True, blank=True)
    last_run = models.ForeignKey("FeedRun", models.SET_NULL, null=True, blank=True, related_name="+")
    missed_at = models.DateTimeField(null=True, blank=True, help_text="The `next_run_at` told as missed.")

    mailed_at = models.DateTimeField(null=True, blank=True)

    etag = models.CharField(max_length=200, blank=True)
    last_modified = models.CharField(max_length=200, blank=True)
    fetched_url = models.TextField(blank=True)
    sha256 = models.BinaryField(max_length=32, default=bytes)
    fetched_with = models.CharField("digest of URL and headers", max_length=64, blank=True)

    objects = FeedQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        indexes = [
            # Those that are due.
            models.Index(fields=["next_run_at"], name="feed_due", condition=Q(next_run_at__isnull=False)),
            models.Index(fields=["owner", "-created_at", "-id"], name="feed_of_owner"),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("feed", args=[self.pk])

    @property
    def headers(self) -> dict[str, str]:
        """The headers that are sent with the fetch. Raises UnreadableSecret."""
        if not self.encrypted_headers:
            return {}
        headers: dict[str, str] = json.loads(SECRETS.decrypt(self.encrypted_headers))
        return headers

    @headers.setter
    def headers(self, headers: dict[str, str]) -> None:
        self.encrypted_headers = SECRETS.encrypt(json.dumps(headers)) if headers else ""

    @property
    def header_names(self) -> list[str]:
        """The names of the headers; none if they cannot be decrypted."""
        try:
            return list(self.headers)
        except UnreadableSecret:
            return []

    @property
    def latest_url(self) -> str:
        """The URL of the latest result, with its secret; "" if that cannot be decrypted."""
        try:
            secret = SECRETS.decrypt(self.encrypted_secret)
        except UnreadableSecret:
            return ""
        return urljoin(settings.PUBLIC_URL, reverse("feed-latest", args=[self.pk, secret]))

    def has_secret(self, secret: str) -> bool:
        """Return whether this is the secret of `latest_url`, in a time that does not depend on it."""
        try:
            return constant_time_compare(SECRETS.decrypt(self.encrypted_secret), secret)
        except UnreadableSecret:
            return False

    def rotate_secret(self) -> None:
        """Replace the secret of `latest_url`. The previous URL is invalid from then on."""
        self.encrypted_secret = new_encrypted_secret()
        save_fields(self, ["encrypted_secret"])

    @property
    def deliver_to(self) -> str | None:
        """Where results are delivered to: STORAGE, or a URL without its secrets. None: nowhere."""
        delivery = FeedDelivery.of(self)
        return delivery.shown_target if delivery else None

    def next_after(self, moment: datetime) -> datetime | None:
        """Return when the feed runs next after `moment`; None while it is disabled or has no schedule."""
        if not (self.enabled and self.schedule):
            return None
        return next_moment(self.schedule, self.time_zone, moment)

    @property
    def latest(self) -> Request | None:
        """The Request whose result is served: that of the latest run that is completed and not held.

        While it is retried it stays the one, with the result that it had before.
        """
        bad = (RequestStatus.FAILED, RequestStatus.CANCELED)
        present = self.runs.good().exclude(request=None).exclude(request__sweep=Sweep.DELETE)
        runs = present.exclude(request__status__in=bad)
        run = runs.select_related("request").first()
        return run.request if run else None


class FeedRunQuerySet(OwnedQuerySet["FeedRun"]):
    """Runs belong to the owner of their feed."""

    owner_lookup = "feed__owner"

    def fetching(self) -> Self:
        return self.filter(status=FeedRunStatus.FETCHING)

    def active(self) -> Self:
        """Runs that fetch, or whose Request is not finished. A feed has at most one."""
        return self.filter(status__in=FeedRun.ACTIVE)

    def with_file(self) -> Self:
        """Runs whose file became a Request, which may be deleted by now."""
        is_fetch = Q(status=FeedRunStatus.FAILED, request=None, products=0)
        return self.exclude(is_fetch).exclude(status__in=(FeedRunStatus.FETCHING, FeedRunStatus.UNCHANGED))

    def good(self) -> Self:
        """Runs that completed, with errors or not, and are not held."""
        return self.filter(status__in=FeedRun.GOOD)

    def with_result(self) -> Self:
        """Runs with a result, be it held, that is still there."""
        finished = self.filter(status__in=(*FeedRun.GOOD, FeedRunStatus.HELD))
        return finished.exclude(request=None).exclude(request__sweep=Sweep.DELETE)

    def waiting(self) -> Self:
        """Runs whose next attempt to fetch is due and that no worker has claimed."""
        return self.fetching().filter(claimed_by=None, due_at__lte=timezone.now())


class FeedRun(models.Model):
    """One run of a feed: the fetch, and the Request that its file became.

    fetching → processing → completed | completed_with_errors | failed | canceled | held
       └──▶ unchanged | failed               held → completed | completed_with_errors, by `confirm`

    While it fetches, `claimed_by` is the id of the Worker that does, and `due_at` the time of its next
    attempt. The counts are those of the end of its Request, which may be deleted earlier than the run.
    """

    Status = FeedRunStatus
    ACTIVE = (FeedRunStatus.FETCHING, FeedRunStatus.PROCESSING)
    GOOD = (FeedRunStatus.COMPLETED, FeedRunStatus.COMPLETED_WITH_ERRORS)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    feed = models.ForeignKey(Feed, models.CASCADE, related_name="runs", db_index=False)
    request = models.OneToOneField(Request, models.SET_NULL, null=True, blank=True, related_name="feed_run")
    status = models.CharField(max_length=21, choices=Status, default=Status.FETCHING)
    scheduled = models.BooleanField(default=False)
    error = models.CharField(max_length=500, blank=True)
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    options = models.JSONField(default=dict, blank=True)

    products = models.PositiveIntegerField(default=0)
    images = models.PositiveIntegerField(default=0)
    images_failed = models.PositiveIntegerField(default=0)
    bytes_output = models.PositiveBigIntegerField(default=0)

    attempts = models.PositiveSmallIntegerField(default=0)
    crashes = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(default=timezone.now)
    claimed_by = models.UUIDField(null=True, blank=True)
    enqueued_at = models.DateTimeField(null=True, blank=True)

    objects = FeedRunQuerySet.as_manager()

    class Meta:
        ordering = ["-started_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["feed"], name="feed_run_alone", condition=Q(status__in=["fetching", "processing"])
            )
        ]
        indexes = [
            models.Index(fields=["feed", "-started_at", "-id"], name="feed_run_of_feed"),
            # Those that wait for a worker, or whose worker has died.
            models.Index(fields=["due_at"], name="feed_run_fetching", condition=Q(status="fetching")),
        ]

    def __str__(self) -> str:
        return f"{self.feed} {self.started_at:%Y-%m-%d %H:%M}"

    @property
    def is_active(self) -> bool:
        return self.status in self.ACTIVE

    @property
    def shown_status(self) -> str:
        """The status, or while its Request is at work that of the Request."""
        if self.status == FeedRunStatus.PROCESSING and self.request:
            return self.request.status
        return self.status

    @property
    def seconds_taken(self) -> float | None:
        """Duration of the run; None before its end."""
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else None


class FeedDeliveryQuerySet(models.QuerySet["FeedDelivery"]):
    def waiting(self) -> Self:
        """Deliveries that are due and that no worker has claimed."""
        return self.filter(claimed_by=None, due_at__lte=timezone.now())


class FeedDelivery(models.Model):
    """Where the results of a feed are delivered to, and how that went. Feeds without it only serve them.

    `due_at` is None while there is nothing to deliver. `claimed_by` is the id of the Worker that delivers:
    one at a time, so that no earlier result follows a later one. It delivers the latest result at that time.
    """

    feed = models.OneToOneField(Feed, models.CASCADE, primary_key=True, related_name="delivery")
    encrypted_target = models.TextField(editable=False)
    due_at = models.DateTimeField(null=True, blank=True)
    claimed_by = models.UUIDField(null=True, blank=True)
    enqueued_at = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveSmallIntegerField(default=0)
    delivered_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=500, blank=True, help_text="Of the latest attempt.")

    objects = FeedDeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "feed deliveries"
        indexes = [
            # Those that wait for a worker.
            models.Index(fields=["due_at"], name="feed_delivery_due", condition=Q(due_at__isnull=False))
        ]

    def __str__(self) -> str:
        return f"{self.feed} to {self.shown_target}"

    @classmethod
    def of(cls, feed: Feed) -> "FeedDelivery | None":
        """Return the delivery of a feed; None if there is none."""
        try:
            return feed.delivery
        except cls.DoesNotExist:
            return None

    @property
    def was_tried(self) -> bool:
        return bool(self.delivered_at or self.error)

    @property
    def target(self) -> str:
        """STORAGE, or the URL. Raises UnreadableSecret."""
        return SECRETS.decrypt(self.encrypted_target)

    @property
    def shown_target(self) -> str:
        """The target without what may be secret; "" if it cannot be decrypted."""
        try:
            return without_secrets(self.target)
        except UnreadableSecret:
            return ""


def without_secrets(target: str) -> str:
    """Return a target with HIDDEN for name, password and query, in which URLs have their signatures."""
    if target == STORAGE:
        return target
    parts = urlsplit(target)
    user, _, host = parts.netloc.rpartition("@")
    shown = f"{HIDDEN}@{host}" if user else host
    return urlunsplit((parts.scheme, shown, parts.path, HIDDEN if parts.query else "", ""))
