"""Pages of feeds: the list, one feed with its runs, and its buttons."""

from urllib.parse import unquote, urlsplit
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from products.accounts.authentication import UserRequest
from products.accounts.rights import get_permitted
from products.catalogue import MAX_URL
from products.feeds import runs
from products.feeds.changes import FIRST_PICTURES, Comparison
from products.feeds.chart import HEIGHT, WIDTH, series_of
from products.feeds.forms import FeedForm
from products.feeds.models import TOO_MANY_FEEDS, Feed, FeedDelivery, FeedRunStatus
from products.feeds.serializers import save_settings
from products.pages.polling import has_seen, mark_of, polled

RUNS_PER_PAGE = 25
#: Runs that the chart shows.
CHARTED_RUNS = 60


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def feeds(request: UserRequest) -> HttpResponse:
    """The user's feeds, and a form to add one, with the URL that the address names; `run` fetches it now."""
    url = request.GET.get("url", "")[:MAX_URL]
    initial = {"url": url, "name": _name_for(url)}
    form = FeedForm(request.user, request.POST or None, initial=initial)
    if form.is_bound and Feed.objects.has_reached_limit(request.user):
        form.add_error("url", TOO_MANY_FEEDS)
    if request.method == "POST" and form.is_valid():
        form.instance.owner = request.user
        added = form.save()
        if "run" in request.POST:
            runs.start(added)
            messages.success(request, "Feed added. Fetching the file.")
        else:
            messages.success(request, "Feed added.")
        return redirect(added)
    context = {"form": form, "feeds": Feed.objects.owned_by(request.user).with_last_run()}
    return render(request, "feeds/feeds.html", context, status=400 if form.errors else 200)


def _name_for(url: str) -> str:
    """Return a name for the feed of a URL: its file and host, or an empty string."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return ""
    file = unquote(parts.path).rstrip("/").rpartition("/")[2]
    name = f"{file} from {host}" if file and host else host
    return name[: Feed._meta.get_field("name").max_length]


@require_http_methods(["GET", "HEAD", "POST"])
@polled("Feed")
def feed(request: UserRequest, pk: UUID) -> HttpResponse:
    """One feed with its settings and runs, which follows a run and its delivery to their end."""
    rows, user = Feed.objects, request.user
    found = (
        _changeable(request, pk) if request.method == "POST" else get_object_or_404(_visible(request), pk=pk)
    )
    seen = _mark_of(found)
    if has_seen(request, seen):
        return HttpResponse(status=204)
    form = FeedForm(user, request.POST or None, instance=found)
    if request.method == "POST" and form.is_valid():
        messages.success(request, "Feed saved.")
        return redirect(form.save())
    if form.errors:
        found = get_object_or_404(_visible(request), pk=pk)  # as it is, not as the form would make it
    charted = found.runs.exclude(finished_at=None).exclude(status=FeedRunStatus.UNCHANGED)[:CHARTED_RUNS]
    history = found.runs.select_related("request")
    last, comparison = found.last_run, Comparison.of(found)
    first = comparison.pictures(FIRST_PICTURES) if comparison and comparison.is_small else None
    context = {
        "feed": found,
        "form": form,
        "page": Paginator(history, RUNS_PER_PAGE).get_page(request.GET.get("page")),
        "comparison": comparison,
        "pairs": comparison.pairs(first) if comparison and first is not None else None,
        "series": series_of(list(charted)[::-1]),
        "width": WIDTH,
        "height": HEIGHT,
        "is_held": bool(last and last.status == FeedRunStatus.HELD),
        "seen": seen,
        "follows": bool(last and last.is_active) or _has_due_delivery(found),
        "has_latest": found.latest is not None,
        "may_change": rows.changeable_by(user).contains(found),
        "may_delete": rows.deletable_by(user).contains(found),
    }
    return render(request, "feeds/feed.html", context, status=400 if form.errors else 200)


def _mark_of(feed: Feed) -> str:
    """Return a text that changes with the next run, and with the last one, its Request and its delivery."""
    last, delivery = feed.last_run, FeedDelivery.of(feed)
    marks = [str(feed.next_run_at)]
    if last:
        marks += [str(last.pk), last.status, mark_of(last.request) if last.request else ""]
    if delivery:
        marks.append(f"{delivery.failures} {delivery.due_at} {delivery.delivered_at}")
    return "_".join(marks)


def _has_due_delivery(feed: Feed) -> bool:
    """Return whether a result is being delivered, or will be at once."""
    delivery = FeedDelivery.of(feed)
    return bool(delivery and delivery.due_at and not delivery.failures)


@require_POST
@login_required
def run(request: UserRequest, pk: UUID) -> HttpResponse:
    """Run a feed now."""
    found = _changeable(request, pk)
    if runs.start(found):
        messages.success(request, "Fetching the file.")
    else:
        messages.warning(request, "A run is under way. Wait until it has finished.")
    return redirect(found)


@require_POST
@login_required
def confirm(request: UserRequest, pk: UUID) -> HttpResponse:
    """Let a held run go on."""
    found = _changeable(request, pk)
    if runs.confirm(found):
        messages.success(request, "Run confirmed. latest.csv has its result.")
    else:
        messages.warning(request, "The last run is not held any more.")
    return redirect(found)


@require_POST
@login_required
def pause(request: UserRequest, pk: UUID) -> HttpResponse:
    """Stop the schedule of a feed."""
    return _switched(request, pk, enabled=False)


@require_POST
@login_required
def resume(request: UserRequest, pk: UUID) -> HttpResponse:
    """Go on with the schedule of a feed."""
    return _switched(request, pk, enabled=True)


@require_POST
@login_required
def rotate(request: UserRequest, pk: UUID) -> HttpResponse:
    """Make a new address of the latest result."""
    found = _changeable(request, pk)
    found.rotate_secret()
    messages.success(request, "New address made. The old one no longer works.")
    return redirect(found)


@require_POST
@login_required
def delete(request: UserRequest, pk: UUID) -> HttpResponse:
    """Delete a feed. Its requests stay."""
    found = get_permitted(_visible(request), Feed.objects.deletable_by(request.user), pk)
    found.delete()
    messages.success(request, f"{found.name} deleted.")
    return redirect("feeds")


def _switched(request: UserRequest, pk: UUID, *, enabled: bool) -> HttpResponse:
    found = _changeable(request, pk)
    save_settings(found, {"enabled": enabled})
    messages.success(request, "Schedule resumed." if enabled else "Schedule paused.")
    return redirect(found)


def _visible(request: UserRequest) -> QuerySet[Feed]:
    return Feed.objects.visible_to(request.user).with_last_run()


def _changeable(request: UserRequest, pk: UUID) -> Feed:
    return get_permitted(_visible(request), Feed.objects.changeable_by(request.user), pk)
