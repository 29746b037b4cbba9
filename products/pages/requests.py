"""The pages of Requests."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh, reselect, reswap, retarget

from products import lifecycle
from products.accounts.authentication import HtmxRequest, UserRequest
from products.lifecycle.limits import check_open_work
from products.models import Request
from products.pages.forms import RequestSearchForm, RetryForm
from products.pages.products import product_page
from products.rate_limit import LimitReached
from products.results.changes import count_changes
from products.results.failures import grouped

REQUESTS_PER_PAGE = 25
# Longer than an attempt and the longest pause before the next one take together.
STALLED_AFTER = timedelta(minutes=2)
#: Seconds between two looks of a page at a Request that moves, and at one that has long not moved.
FASTEST_POLL, SLOWEST_POLL = 1, 15


@require_safe
@login_required
def requests(request: UserRequest) -> HttpResponse:
    """The user's own Requests, the newest first: all of them, or those that are looked for."""
    own = Request.objects.visible_to(request.user).filter(owner=request.user.pk)
    form = RequestSearchForm(request.GET)
    wanted = form.cleaned_data if form.is_valid() else {}
    if status := wanted.get("status"):
        own = own.filter(status=status)
    if words := wanted.get("q"):
        own = own.filter(filename__icontains=words)
    page = Paginator(own, REQUESTS_PER_PAGE).get_page(request.GET.get("page"))
    return render(
        request, "pages/requests.html", {"form": form, "page": page, "is_search": any(wanted.values())}
    )


@require_safe
@login_required
def request_page(request: UserRequest, pk: UUID) -> HttpResponse:
    """Everything about one Request, its products in pages of 25."""
    batch = get_object_or_404(Request.objects.visible_to(request.user), pk=pk)
    return render(request, "pages/request.html", _whole(request, batch))


@require_safe
def request_progress(request: HtmxRequest, pk: UUID) -> HttpResponse:
    """The part of the request page that changes all the time.

    A page that polls gets more where more changes: everything once the file has been read or the Request has
    finished, a last word where the Request is gone, itself anew where the user has logged out.
    """
    if not request.user.is_authenticated:
        return HttpResponseClientRefresh() if request.htmx else redirect_to_login(request.path)
    batch = Request.objects.visible_to(request.user).filter(pk=pk).first()
    if batch is None:
        if request.htmx:
            # Not a reload: that would break off the way to the next page of whoever has just deleted it.
            return reswap(retarget(render(request, "pages/_gone.html"), "#main"), "innerHTML")
        raise Http404
    has_read = "reading" in request.GET and batch.ingested
    if request.htmx and (has_read or not batch.is_active):
        return reselect(
            retarget(render(request, "pages/request.html", _whole(request, batch)), "#main"), "#main"
        )
    return render(request, "pages/_progress.html", _progress(batch))


@require_safe
@login_required
def request_products(request: UserRequest, pk: UUID) -> HttpResponse:
    """A page of products alone; 204 while as many pictures are settled as in the page that asks."""
    batch = get_object_or_404(Request.objects.visible_to(request.user), pk=pk)
    if request.GET.get("seen") == str(batch.images_settled):
        return HttpResponse(status=204)
    return render(request, "pages/_products.html", {"batch": batch, **product_page(request, batch)})


@require_safe
@login_required
def request_failures(request: UserRequest, pk: UUID) -> HttpResponse:
    """The failures alone; 204 while there are as many as in the page that asks."""
    batch = get_object_or_404(Request.objects.visible_to(request.user), pk=pk)
    if request.GET.get("seen") == str(batch.images_failed):
        return HttpResponse(status=204)
    return render(request, "pages/_failures.html", {"batch": batch, "failures": grouped(batch)})


@require_POST
@login_required
def retry(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Try what failed again: all of it, or one error `code`."""
    batch = get_object_or_404(Request.objects.visible_to(request.user), pk=pk)
    form = RetryForm(request.POST)
    try:
        check_open_work(request.user)
    except LimitReached as error:
        messages.error(request, error.detail)
        return redirect(batch)
    if form.is_valid():
        lifecycle.retry(batch, form.cleaned_data["code"] or None, form.cleaned_data["host"] or None)
        batch.refresh_from_db()
    if batch.is_active:
        messages.success(request, "Trying again.")
    else:
        messages.warning(request, "There was nothing to try again.")
    return redirect(batch)


@require_POST
@login_required
def cancel(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Stop the work and keep what is done."""
    batch = get_object_or_404(Request.objects.visible_to(request.user), pk=pk)
    if lifecycle.cancel(batch):
        messages.success(request, "Canceled. What was done by then is kept.")
    else:
        messages.warning(request, "It had finished already.")
    return redirect(batch)


@require_POST
@login_required
def delete(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Remove the Request with its rows."""
    batch = get_object_or_404(Request.objects.visible_to(request.user), pk=pk)
    lifecycle.delete(batch)
    messages.success(request, f"{batch.filename} is deleted.")
    return redirect("home")


def _whole(request: HttpRequest, batch: Request) -> dict[str, Any]:
    """What the whole page shows."""
    page = product_page(request, batch)
    # Two whole catalogues are compared: not again for each search and further page.
    is_first = not (page["is_search"] or page["has_previous"])
    return {
        **_progress(batch),
        **page,
        "retryable": not batch.is_active
        and (batch.images_failed or batch.images_canceled or not batch.ingested),
        "failures": grouped(batch),
        **(_changes(batch) if is_first else {}),
    }


def _changes(batch: Request) -> dict[str, Any]:
    """What a finished Request has changed, against which earlier one; nothing if there is none."""
    earlier = None if batch.is_active else batch.earlier
    return {"earlier": earlier, "changes": count_changes(batch, earlier)} if earlier else {}


def _progress(batch: Request) -> dict[str, Any]:
    """What the progress shows: the Request, when it will be done (None: unknown), since when nothing moves
    (None: it does), its pace, and after how many seconds to look again."""
    now = timezone.now()
    seconds = batch.eta_seconds
    moved_at = max(filter(None, [batch.created_at, batch.started_at, batch.last_progress_at]))
    quiet = now - moved_at
    return {
        "batch": batch,
        "done_at": None if seconds is None else now + timedelta(seconds=seconds),
        "quiet_since": moved_at if batch.is_active and quiet > STALLED_AFTER else None,
        "pace": _shown_pace(batch.pace),
        "poll_seconds": min(max(round(quiet.total_seconds() / 10), FASTEST_POLL), SLOWEST_POLL),
    }


def _shown_pace(pace: float | None) -> str:
    """So many pictures a second, as people say it."""
    for seconds, unit in ((1, "second"), (60, "minute"), (3600, "hour")):
        if pace and pace * seconds >= 1:
            return f"{pace * seconds:,.0f} picture{'s'[: pace * seconds >= 1.5]} a {unit}"
    return ""
