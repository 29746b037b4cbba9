"""The last seven days of one user: pictures, bytes saved by day, and the hosts that failed most."""

from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Count, F, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from products.models import Image, Request

DAYS = 7
#: Hosts are counted in the latest Requests with failures, and of these in so many Images.
MAX_COUNTED_REQUESTS, MAX_COUNTED_FAILURES = 20, 20_000
MAX_HOSTS = 5
#: `Request.bytes_saved`, in the database.
BYTES_SAVED = F("bytes_source") - F("bytes_source_unchanged") - F("bytes_output") + F("bytes_unchanged")


@dataclass(frozen=True, slots=True)
class Day:
    """The Requests uploaded on one day (UTC)."""

    date: date
    requests: int = 0
    completed: int = 0
    failed: int = 0
    saved: int = 0


@dataclass(frozen=True, slots=True)
class Week:
    """DAYS days, the earliest first, and the hosts of failed Images with their numbers, the most first."""

    days: list[Day]
    hosts: list[tuple[str, int]]

    @property
    def requests(self) -> int:
        return sum(day.requests for day in self.days)

    @property
    def completed(self) -> int:
        return sum(day.completed for day in self.days)

    @property
    def failed(self) -> int:
        return sum(day.failed for day in self.days)

    @property
    def saved(self) -> int:
        """Bytes saved."""
        return sum(day.saved for day in self.days)

    @property
    def bars(self) -> list[tuple[Day, float]]:
        """Each day with the bytes saved on it as the height of a bar, up to 20."""
        most = max(1, *(day.saved for day in self.days))
        return [(day, round(max(0, 20 * day.saved / most), 1)) for day in self.days]


def week_of(user: User | AnonymousUser) -> Week:
    """Return the last DAYS days of a user's Requests."""
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    since, today = midnight - timedelta(days=DAYS - 1), midnight.date()
    own = Request.objects.present().filter(owner=user.pk, created_at__gte=since)
    by_day = own.order_by().annotate(day=TruncDate("created_at")).values_list("day")
    sums = by_day.annotate(
        requests=Count("*"),
        completed=Sum("images_completed"),
        failed=Sum("images_failed"),
        saved=Sum(BYTES_SAVED),
    )
    days = {row[0]: Day(*row) for row in sums}
    dates = [today - timedelta(days=ago) for ago in reversed(range(DAYS))]
    week = Week([days.get(one, Day(one)) for one in dates], [])
    if not week.failed:
        return week
    latest = list(own.filter(images_failed__gt=0).values_list("pk", flat=True)[:MAX_COUNTED_REQUESTS])
    failed = Image.objects.failed().filter(request__in=latest).exclude(host="").order_by()
    hosts = Counter(failed.values_list("host", flat=True)[:MAX_COUNTED_FAILURES])
    return Week(week.days, hosts.most_common(MAX_HOSTS))
