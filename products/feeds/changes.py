"""Changes between the last two runs of a feed: on its page, and all of them on a page of their own."""

import re
from dataclasses import dataclass
from typing import cast
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from products.accounts.authentication import UserRequest
from products.feeds.models import Feed, FeedRun
from products.models import Request
from products.pages.changes import SHOWN, Pair, pairs_of
from products.results.changes import ChangedPicture, Kind, State, changed_pictures, count_changes

PICTURES_PER_PAGE = 48
#: Pictures on the page of the feed, and the number of pictures in both runs up to which it compares them.
FIRST_PICTURES, MAX_COMPARED = 8, 20_000
_AFTER = re.compile(r"([01])-(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Comparison:
    """The latest run of a feed that has a result, and the good one before it, to which the shop goes back."""

    now: FeedRun
    before: FeedRun

    @classmethod
    def of(cls, feed: Feed) -> "Comparison | None":
        """Return the last two runs of a feed; None if there are not as many."""
        runs = feed.runs.with_result().select_related("request")
        if not (now := runs.first()):
            return None
        before = runs.good().filter(started_at__lt=now.started_at).first()
        return cls(now, before) if before else None

    @property
    def is_small(self) -> bool:
        """True if comparing takes no longer than showing a page."""
        return self.now.images + self.before.images <= MAX_COMPARED

    @property
    def states(self) -> tuple[State, State]:
        """The results of both runs, which `with_result` says they have."""
        return State(cast(Request, self.now.request)), State(cast(Request, self.before.request))

    def counts(self) -> dict[str, int]:
        """Return the number of pictures of each shown kind."""
        counts = dict(count_changes(*self.states))
        return {kind.value: counts.get(kind.label, 0) for kind in SHOWN}

    def pictures(
        self, count: int, kind: Kind | None = None, after: tuple[int, int] = (0, 0)
    ) -> list[ChangedPicture]:
        """Return the first pictures that changed, of one kind or of all shown, after one of them."""
        return changed_pictures(*self.states, [kind] if kind else SHOWN, after, count)

    def pairs(self, pictures: list[ChangedPicture]) -> list[Pair]:
        """Return pictures with the addresses of both versions."""
        return pairs_of(pictures, *self.states)


@require_safe
@login_required
def changes(request: UserRequest, pk: UUID) -> HttpResponse:
    """The pictures that are new, changed or gone since the run before the last one."""
    feed = get_object_or_404(Feed.objects.visible_to(request.user).with_last_run(), pk=pk)
    kind = next((one for one in SHOWN if one == request.GET.get("kind")), None)
    after = _AFTER.fullmatch(request.GET.get("after", ""))
    context: dict[str, object] = {"feed": feed, "kind": kind}
    if found := Comparison.of(feed):
        start = (int(after[1]), int(after[2])) if after else (0, 0)
        pictures = found.pictures(PICTURES_PER_PAGE + 1, kind, start)
        shown, last = pictures[:PICTURES_PER_PAGE], pictures[PICTURES_PER_PAGE - 1 : PICTURES_PER_PAGE]
        counts = found.counts()
        context |= {
            "comparison": found,
            "pairs": found.pairs(shown),
            "total": sum(counts.values()),
            "kinds": [(one.value, one.label, counts[one.value]) for one in SHOWN],
            "is_first": start == (0, 0),
            "next": f"{last[0].place}-{last[0].number}" if len(pictures) > PICTURES_PER_PAGE else None,
        }
    return render(request, "feeds/changes.html", context)
