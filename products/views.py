"""The pages."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh
from django_htmx.middleware import HtmxDetails

from products.catalogue import CatalogueError
from products.forms import PageForm, RetryForm, UploadForm
from products.limits import LimitReached, check_open_work, count_upload
from products.models import Product, Request

LATEST_REQUESTS = 20
PRODUCTS_PER_PAGE = 25
FAILURES_PER_CODE = 3
# Longer than an attempt and the longest pause before the next one take together.
STALLED_AFTER = timedelta(minutes=2)


class UserRequest(HttpRequest):
    """As `login_required` lets it through."""

    user: User


class HtmxRequest(HttpRequest):
    """As django-htmx's middleware leaves it."""

    htmx: HtmxDetails


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 while the process answers at all."""
    return HttpResponse("ok", content_type="text/plain")


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def home(request: UserRequest) -> HttpResponse:
    """The upload form, and the user's latest requests.

    A file that is refused is answered with 400, one too many with 429.
    """
    form = UploadForm(request.POST, request.FILES) if request.method == "POST" else UploadForm()
    limit: LimitReached | None = None
    try:
        if form.is_bound:
            count_upload(request.user)
            check_open_work(request.user)
        if form.is_valid():
            return redirect(Request.objects.submit(request.user, **form.cleaned_data)[0])
    except LimitReached as error:
        limit = error
        form.add_error("file", error.detail)
    except CatalogueError as error:
        form.refuse(error.problems)
    latest = Request.objects.visible_to(request.user).filter(owner=request.user.pk)[:LATEST_REQUESTS]
    context = {"form": form, "latest": latest}
    response = render(request, "home.html", context, status=400 if form.errors else 200)
    return limit.mark(response) if limit else response


@require_safe
@login_required
def request_page(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Everything about one Request, its products in pages of 25."""
    batch = get_object_or_404(Request.objects.visible_to(request.user), pk=pk)
    page = PageForm(request.GET)
    after = page.cleaned_data["after"] or 0 if page.is_valid() else 0
    context = {
        **_progress(batch),
        "retryable": not batch.is_active
        and (batch.images_failed or batch.images_canceled or not batch.ingested),
        "failures": _failures(batch),
        "products": _products(batch, after),
        "previous": max(after - PRODUCTS_PER_PAGE, 0) if after else None,
    }
    return render(request, "request.html", context)


@require_safe
def request_progress(request: HtmxRequest, pk: UUID) -> HttpResponse:
    """The part of the request page that changes.

    A page that polls is loaded again as a whole where more than that changes: the file has been read, the
    Request has finished or is gone, or the user has logged out.
    """
    if not request.user.is_authenticated:
        return HttpResponseClientRefresh() if request.htmx else redirect_to_login(request.path)
    batch = Request.objects.visible_to(request.user).filter(pk=pk).first()
    has_read = "reading" in request.GET and batch is not None and batch.ingested
    if request.htmx and (batch is None or not batch.is_active or has_read):
        return HttpResponseClientRefresh()
    if batch is None:
        raise Http404
    return render(request, "_progress.html", _progress(batch))


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
        batch.retry(form.cleaned_data["code"] or None)
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
    if batch.cancel():
        messages.success(request, "Canceled. What was done by then is kept.")
    else:
        messages.warning(request, "It had finished already.")
    return redirect(batch)


@require_POST
@login_required
def delete(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Remove the Request with its rows."""
    batch = get_object_or_404(Request.objects.visible_to(request.user), pk=pk)
    batch.remove()
    messages.success(request, f"{batch.filename} is deleted.")
    return redirect("home")


def _progress(batch: Request) -> dict[str, Any]:
    """What the progress shows: the Request, when it will be done (None: unknown), whether nothing moves."""
    now = timezone.now()
    seconds = batch.eta_seconds
    quiet_since = max(filter(None, [batch.created_at, batch.started_at, batch.last_progress_at]))
    return {
        "batch": batch,
        "done_at": None if seconds is None else now + timedelta(seconds=seconds),
        "quiet_since": quiet_since if batch.is_active and now - quiet_since > STALLED_AFTER else None,
    }


def _failures(batch: Request) -> list[dict[str, Any]]:
    """The failures by error code, the most frequent first: how many, and the first images."""
    failed = batch.images.failed()
    counts = failed.values_list("error_code").annotate(count=Count("pk")).order_by("-count", "error_code")
    return [
        {
            "code": code,
            "count": count,
            "images": failed.filter(error_code=code).order_by("number")[:FAILURES_PER_CODE],
        }
        for code, count in counts
    ]


def _products(batch: Request, after: int) -> list[Product]:
    """The page of products that follows the row `after`."""
    rows = batch.products.with_images().filter(row_number__gt=after).order_by("row_number")
    return list(rows[:PRODUCTS_PER_PAGE])
