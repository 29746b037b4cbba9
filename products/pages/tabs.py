"""The tabs of a Request's page, each with an address of its own, and their parts that poll."""

import time
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe
from django_htmx.http import reselect, retarget

from products.accounts.authentication import UserRequest
from products.accounts.rights import may
from products.models import Request
from products.models.request import PACE_SECONDS, PACE_STEP_SECONDS
from products.pages.forms import ProductSearchForm, RunsForm
from products.pages.polling import has_seen, mark_of, polled
from products.pages.products import products_context
from products.results.changes import Kind, State, count_changes
from products.results.failures import failures_by_cause
from products.results.savings import savings_by_format

# Longer than an attempt and the longest pause before the next one together.
STALLED_AFTER = timedelta(minutes=2)
MIN_POLL_SECONDS, MAX_POLL_SECONDS = 3, 15
#: Causes of failures that the overview lists.
SHOWN_CAUSES = 5
#: Pictures of both catalogues up to which every tab counts their changes, which takes some 20 ms.
MAX_COUNTED_CHANGES = 10_000


@require_safe
@polled("Request")
def overview(request: UserRequest, pk: UUID) -> HttpResponse:
    """Progress, sizes, savings and failures. Query strings of the page that had all tabs in one lead on."""
    batch = visible(request, pk)
    for fields, tab in (
        (ProductSearchForm.base_fields, "request-products"),
        (RunsForm.base_fields, "request-changes"),
    ):
        if query := {name: request.GET[name] for name in fields if name in request.GET}:
            return redirect(f"{reverse(tab, args=[pk])}?{urlencode(query)}")
    return render(request, "pages/overview.html", _overview_context(request, batch))


@require_safe
@polled("Request")
def progress(request: UserRequest, pk: UUID) -> HttpResponse:
    """The progress section, which polls while the Request is active.

    The answer to a poll has savings and failures too, if there are others than the page has `seen`, so that
    figures and tables agree. It is the whole page once the file has been read or the Request has finished.
    """
    batch = visible(request, pk)
    was_just_read = "reading" in request.GET and batch.ingested
    if request.htmx and (was_just_read or not batch.is_active):
        context = {**_overview_context(request, batch), "is_poll": False}
        page = render(request, "pages/overview.html", context)
        return reselect(retarget(page, "#main"), "#main")
    context = {**tab_context(request, batch, "overview"), **progress_context(batch), "is_poll": request.htmx}
    if request.htmx and not has_seen(request, context["seen"]):
        context |= _outcomes(batch)
    return render(request, "pages/_progress.html", context)


@require_safe
@polled("Request")
def products(request: UserRequest, pk: UUID) -> HttpResponse:
    """The rows of the catalogue with their pictures."""
    batch = visible(request, pk)
    if has_seen(request, mark_of(batch)):
        return HttpResponse(status=204)
    context = {**tab_context(request, batch, "pictures"), **products_context(request.GET, batch)}
    return render(request, "pages/products.html", context)


@require_safe
@polled("Request")
def runs(request: UserRequest, pk: UUID) -> HttpResponse:
    """Every run with its times and counts."""
    batch = visible(request, pk)
    if has_seen(request, mark_of(batch)):
        return HttpResponse(status=204)
    return render(request, "pages/runs.html", tab_context(request, batch, "runs"))


def visible(request: HttpRequest, pk: UUID) -> Request:
    """Return a Request that the user may see, with the feed that fetched it. Raises Http404."""
    batches = Request.objects.visible_to(request.user).select_related("feed_run__feed")
    return get_object_or_404(batches, pk=pk)


def tab_context(request: UserRequest, batch: Request, tab: str) -> dict[str, Any]:
    """Return the template context of what all tabs share: head, tabs and menus.

    The answer to a poll has the tabs with their counts beside the part that it asks for.
    """
    has_missing = batch.images_failed or batch.images_canceled or not batch.ingested
    return {
        "batch": batch,
        "tab": tab,
        "seen": mark_of(batch),
        "is_poll": "seen" in request.GET and bool(request.htmx),
        "changes_total": None if batch.is_active else _changes_total(batch),
        "retryable": has_missing and not batch.is_active,
        "may_change": may(request.user, "change", batch),
        "may_delete": may(request.user, "delete", batch),
    }


def _changes_total(batch: Request) -> int | None:
    """Return how many pictures have changed since the earlier catalogue; None if that is not counted here."""
    earlier = batch.earlier
    if earlier is None or batch.images_total + earlier.images_total > MAX_COUNTED_CHANGES:
        return None
    counts = count_changes(State(batch), State(earlier))
    return sum(count for kind, count in counts if kind != Kind.UNCHANGED.label)


def _overview_context(request: UserRequest, batch: Request) -> dict[str, Any]:
    return {**tab_context(request, batch, "overview"), **progress_context(batch), **_outcomes(batch)}


def _outcomes(batch: Request) -> dict[str, Any]:
    """Return the template context of the tables of savings and failures."""
    found = failures_by_cause(batch)
    return {
        "failures": found[:SHOWN_CAUSES],
        "more_causes": len(found) - SHOWN_CAUSES,
        "savings": savings_by_format(batch),
    }


def progress_context(batch: Request) -> dict[str, Any]:
    """Return the template context of the progress section.

    `done_at` is the estimated end or None, `quiet_since` the time of the last progress if that is long ago,
    `pace` a text such as “12 pictures per second”. Pages poll less often the longer nothing has moved.
    """
    now = timezone.now()
    seconds = batch.eta_seconds
    moved_at = max(filter(None, [batch.created_at, batch.started_at, batch.last_progress_at]))
    quiet = now - moved_at
    poll_seconds = round(quiet.total_seconds() / 10)
    bars, last_pace = _sparkline(batch) if batch.is_active else ([], "")
    return {
        "batch": batch,
        "done_at": None if seconds is None else now + timedelta(seconds=seconds),
        "quiet_since": moved_at if batch.is_active and quiet > STALLED_AFTER else None,
        "pace": _format_pace(batch.per_second),
        "sparkline": bars,
        "last_pace": last_pace,
        "waiting": batch.images.waiting_by_host() if batch.is_active else [],
        "poll_seconds": min(max(poll_seconds, MIN_POLL_SECONDS), MAX_POLL_SECONDS),
    }


def _format_pace(per_second: float) -> str:
    """Return a rate in the smallest unit in which it is at least one picture, or an empty string."""
    for seconds, unit in ((1, "second"), (60, "minute"), (3600, "hour")):
        count = per_second * seconds
        if count >= 1:
            return f"{count:,.0f} picture{'s' if count >= 1.5 else ''} per {unit}"
    return ""


def _sparkline(batch: Request) -> tuple[list[tuple[int, float]], str]:
    """Return the pace in each step of the last PACE_SECONDS as bars: places from 0, heights up to 20.

    The text is the number of pictures per second in the last of them.
    """
    latest = int(time.time()) // PACE_STEP_SECONDS * PACE_STEP_SECONDS
    counts = dict(batch.recent_progress)
    steps = range(latest - PACE_SECONDS, latest, PACE_STEP_SECONDS)  # the latest is not over yet
    most = max(counts.values(), default=1)
    bars = [(place, round(20 * counts.get(step, 0) / most, 1)) for place, step in enumerate(steps)]
    return bars, f"{round(counts.get(steps[-1], 0) / PACE_STEP_SECONDS, 1):,g}"
