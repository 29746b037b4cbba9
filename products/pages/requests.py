"""Pages of requests: the list, one request with its parts that poll, and its buttons."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.core.paginator import Paginator
from django.forms.models import model_to_dict
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh, reselect, reswap, retarget

from products import lifecycle
from products.accounts.authentication import HtmxRequest, UserRequest
from products.accounts.rights import get_permitted, may
from products.catalogue import CatalogueError
from products.lifecycle.quotas import check_open_work, count_upload
from products.models import Request
from products.pages.forms import (
    DetailsForm,
    OptionsForm,
    RequestSearchForm,
    RetryForm,
    RunsForm,
    describe_problems,
)
from products.pages.products import products_context
from products.pages.profile_forms import SaveProfileForm
from products.results.changes import State, count_changes
from products.results.failures import failures_by_cause
from products.throttling import LimitReached

REQUESTS_PER_PAGE = 25
STILL_ACTIVE = "This request is still being processed. Wait until it has finished."
# Longer than an attempt and the longest pause before the next one together.
STALLED_AFTER = timedelta(minutes=2)
MIN_POLL_SECONDS, MAX_POLL_SECONDS = 1, 15


@require_safe
@login_required
def requests(request: UserRequest) -> HttpResponse:
    """The list of the user's own Requests, newest first, searched by file name and status."""
    own = Request.objects.visible_to(request.user).filter(owner=request.user.pk)
    form = RequestSearchForm(request.GET)
    query = form.cleaned_data if form.is_valid() else {}
    if status := query.get("status"):
        own = own.filter(status=status)
    if words := query.get("q"):
        own = own.filter(filename__icontains=words)
    page = Paginator(own, REQUESTS_PER_PAGE).get_page(request.GET.get("page"))
    context = {"form": form, "page": page, "is_search": any(query.values())}
    return render(request, "pages/requests.html", context)


@require_safe
@login_required
def request_page(request: UserRequest, pk: UUID) -> HttpResponse:
    """One Request: progress, results, failures and a page of its products."""
    batch = get_object_or_404(Request.objects.visible_to(request.user), pk=pk)
    return render(request, "pages/request.html", _page_context(request, batch))


@require_safe
def request_progress(request: HtmxRequest, pk: UUID) -> HttpResponse:
    """The progress section, which polls while the Request is active.

    A poll is answered with the whole page once the file has been read or the Request has finished, with a
    notice if the Request was deleted, and with a reload if the user has logged out.
    """
    if not request.user.is_authenticated:
        return HttpResponseClientRefresh() if request.htmx else redirect_to_login(request.path)
    batch = Request.objects.visible_to(request.user).filter(pk=pk).first()
    if batch is None:
        if request.htmx:
            # A reload would cancel the navigation of a user who has just clicked Delete.
            return reswap(retarget(render(request, "pages/_gone.html"), "#main"), "innerHTML")
        raise Http404
    was_just_read = "reading" in request.GET and batch.ingested
    if request.htmx and (was_just_read or not batch.is_active):
        page = render(request, "pages/request.html", _page_context(request, batch))
        return reselect(retarget(page, "#main"), "#main")
    return render(request, "pages/_progress.html", {**_progress_context(batch), "is_poll": request.htmx})


@require_safe
@login_required
def request_products(request: UserRequest, pk: UUID) -> HttpResponse:
    """The products section. Answers 204 if no picture has settled since the page's count `seen`."""
    batch = get_object_or_404(Request.objects.visible_to(request.user), pk=pk)
    if request.GET.get("seen") == str(batch.images_settled):
        return HttpResponse(status=204)
    return render(request, "pages/_products.html", {"batch": batch, **products_context(request, batch)})


@require_safe
@login_required
def request_causes(request: UserRequest, pk: UUID) -> HttpResponse:
    """The failures section. Answers 204 if no picture has failed since the page's count `seen`."""
    batch = get_object_or_404(Request.objects.visible_to(request.user), pk=pk)
    if request.GET.get("seen") == str(batch.images_failed):
        return HttpResponse(status=204)
    context = {
        "batch": batch,
        "failures": failures_by_cause(batch),
        "may_change": may(request.user, "change", batch),
    }
    return render(request, "pages/_failures.html", context)


@require_POST
@login_required
def retry(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Retry failed and canceled pictures, or only those that failed with one error `code` on one `host`."""
    batch = changeable(request, pk)
    form = RetryForm(request.POST)
    try:
        check_open_work(request.user)
    except LimitReached as error:
        messages.error(request, error.detail)
        return redirect(batch)
    try:
        count = lifecycle.retry(batch, form.causes) if form.is_valid() else 0
    except lifecycle.StillActive:
        messages.warning(request, STILL_ACTIVE)
        return redirect(batch)
    batch.refresh_from_db()
    if count or batch.is_active:
        messages.success(request, "Retry started.")
    else:
        messages.warning(request, "Nothing to retry.")
    return redirect(batch)


@require_POST
@login_required
def cancel(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Cancel a Request. Completed pictures are kept."""
    batch = changeable(request, pk)
    if lifecycle.cancel(batch):
        messages.success(request, "Request canceled. Completed pictures are kept.")
    else:
        messages.warning(request, "This request has already finished.")
    return redirect(batch)


@require_POST
@login_required
def details(request: UserRequest, pk: UUID) -> HttpResponse:
    """Change the name and the note of a Request."""
    batch = changeable(request, pk)
    form = DetailsForm(request.POST)
    if not form.is_valid():
        context = {**_page_context(request, batch), "details_form": form}
        return render(request, "pages/request.html", context, status=400)
    Request.objects.filter(pk=batch.pk).update(**form.cleaned_data)
    messages.success(request, "Saved.")
    return redirect(batch)


@require_POST
@login_required
def repeat(request: UserRequest, pk: UUID) -> HttpResponse:
    """Submit the file of a Request again with other options, and show the new Request."""
    batch, form = changeable(request, pk), OptionsForm(request.POST)
    limit: LimitReached | None = None
    try:
        count_upload(request.user)
        check_open_work(request.user)
        if form.is_valid():
            again = lifecycle.repeat(batch, **form.cleaned_options)
            messages.success(request, "This is a new request with the same file.")
            return redirect(again)
    except LimitReached as error:
        limit = error
        form.add_error(None, error.detail)
    except CatalogueError as error:
        for text in describe_problems(error.problems):
            form.add_error(None, text)
    context = {**_page_context(request, batch), "options_form": form}
    response = render(request, "pages/request.html", context, status=400)
    return limit.mark(response) if limit else response


@require_POST
@login_required
def delete(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Delete a Request with its products and pictures."""
    requests = Request.objects
    batch = get_permitted(requests.visible_to(request.user), requests.deletable_by(request.user), pk)
    lifecycle.delete(batch)
    messages.success(request, f"{batch.filename} deleted.")
    return redirect("home")


def changeable(request: HttpRequest, pk: UUID) -> Request:
    """Return a Request. Raises Http404 or PermissionDenied unless the user may change it."""
    requests = Request.objects
    return get_permitted(requests.visible_to(request.user), requests.changeable_by(request.user), pk)


def _page_context(request: HttpRequest, batch: Request) -> dict[str, Any]:
    """Return the template context of the whole page."""
    products = products_context(request, batch)
    has_missing = batch.images_failed or batch.images_canceled or not batch.ingested
    context = {
        **_progress_context(batch),
        **products,
        "retryable": has_missing and not batch.is_active,
        "failures": failures_by_cause(batch),
        "may_change": may(request.user, "change", batch),
        "may_delete": may(request.user, "delete", batch),
        "details_form": DetailsForm(instance=batch),
        "save_form": SaveProfileForm(request.user),
        "options_form": OptionsForm(initial=model_to_dict(batch, list(OptionsForm.base_fields))),
    }
    is_first_page = not (products["is_search"] or products["has_previous"])
    return context | _changes_context(request, batch, is_first_page=is_first_page)


def _changes_context(request: HttpRequest, batch: Request, *, is_first_page: bool) -> dict[str, Any]:
    """Return the template context of the changes: between two runs if the query string names them."""
    is_chosen = "against_run" in request.GET
    form = RunsForm(batch.run, request.GET if is_chosen else None)
    context: dict[str, Any] = {"runs_form": form}
    if form.is_valid():
        run, against_run = form.cleaned_data["run"], form.cleaned_data["against_run"]
        states = State.after_run(batch, run), State.after_run(batch, against_run)
        context |= {"compared_run": run, "compared_with": against_run, "changes": count_changes(*states)}
    # Counting changes reads two whole catalogues, so searches and later pages do without.
    elif is_first_page and not batch.is_active and (earlier := batch.earlier):
        context |= {"earlier": earlier, "changes": count_changes(State(batch), State(earlier))}
    return context


def _progress_context(batch: Request) -> dict[str, Any]:
    """Return the template context of the progress section.

    `done_at` is the estimated end or None, `quiet_since` the time of the last progress if that is long ago,
    `pace` a text such as “12 pictures per second”. Pages poll less often the longer nothing has moved.
    """
    now = timezone.now()
    seconds = batch.eta_seconds
    moved_at = max(filter(None, [batch.created_at, batch.started_at, batch.last_progress_at]))
    quiet = now - moved_at
    poll_seconds = round(quiet.total_seconds() / 10)
    return {
        "batch": batch,
        "done_at": None if seconds is None else now + timedelta(seconds=seconds),
        "quiet_since": moved_at if batch.is_active and quiet > STALLED_AFTER else None,
        "pace": _format_pace(batch.per_second),
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
