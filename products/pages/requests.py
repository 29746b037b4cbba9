"""The list of requests, and the buttons of one or several of them."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Sum
from django.forms.models import model_to_dict
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from products import lifecycle
from products.accounts.authentication import UserRequest
from products.accounts.rights import get_permitted
from products.catalogue import CatalogueError
from products.lifecycle.quotas import check_open_work, count_upload
from products.models import Request
from products.models.ids import parse_uuid
from products.pages.forms import BulkForm, DetailsForm, RequestSearchForm, RetryForm, describe_problems
from products.pages.option_forms import OptionsForm
from products.pages.tabs import tab_context, visible
from products.results.week import BYTES_SAVED
from products.throttling import LimitReached

REQUESTS_PER_PAGE = 25
STILL_ACTIVE = "This request is still being processed. Wait until it has finished."


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
    total = own.aggregate(saved=Sum(BYTES_SAVED))["saved"] or 0
    own = own.select_related("feed_run__feed")
    sort = query.get("sort") or "newest"
    page = Paginator(own.order_by(*form.ORDERS[sort], "-id"), REQUESTS_PER_PAGE).get_page(
        request.GET.get("page")
    )
    context = {
        "form": form,
        "page": page,
        "is_search": bool(status or words),
        "sort": sort,
        "total_saved": total,
        "has_active": any(batch.is_active for batch in page),
    }
    return render(request, "pages/requests.html", context)


@require_POST
@login_required
def bulk(request: UserRequest) -> HttpResponse:
    """Cancel or delete the Requests that are ticked. A deletion is confirmed on a page of its own."""
    form = BulkForm(request.POST)
    ticked = list(filter(None, map(parse_uuid, request.POST.getlist("request")[:REQUESTS_PER_PAGE])))
    own = list(Request.objects.present().filter(owner=request.user.pk, pk__in=ticked))
    if not own or not form.is_valid():
        messages.error(request, "Nothing was selected. Tick requests first.")
        return redirect("requests")
    noun = f"{len(own)} request{'' if len(own) == 1 else 's'}"
    if form.cleaned_data["action"] == "cancel":
        count = sum(lifecycle.cancel(batch) for batch in own)
        messages.success(request, f"Canceled {count} of {noun}. Completed pictures are kept.")
        return redirect("requests")
    if not form.cleaned_data["confirmed"]:
        return render(request, "pages/bulk_delete.html", {"batches": own})
    for batch in own:
        lifecycle.delete(batch)
    messages.success(request, f"{noun} deleted.")
    return redirect("requests")


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


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def details(request: UserRequest, pk: UUID) -> HttpResponse:
    """Change the name and the note of a Request."""
    batch = changeable(request, pk) if request.method == "POST" else visible(request, pk)
    form = DetailsForm(request.POST) if request.method == "POST" else DetailsForm(instance=batch)
    if not form.is_bound or not form.is_valid():
        context = {**tab_context(request, batch, "details"), "form": form}
        return render(request, "pages/details.html", context, status=400 if form.errors else 200)
    Request.objects.filter(pk=batch.pk).update(**form.cleaned_data)
    messages.success(request, "Saved.")
    return redirect(batch)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def repeat(request: UserRequest, pk: UUID) -> HttpResponse:
    """Submit the file of a Request again with other options, and show the new Request."""
    batch = changeable(request, pk) if request.method == "POST" else visible(request, pk)
    if request.method != "POST":
        initial = model_to_dict(batch, list(OptionsForm.base_fields))
        return _repeat_page(request, batch, OptionsForm(initial=initial))
    form = OptionsForm(request.POST)
    try:
        count_upload(request.user)
        check_open_work(request.user)
        if form.is_valid():
            again = lifecycle.repeat(batch, **form.cleaned_options)
            messages.success(request, "This is a new request with the same file.")
            return redirect(again)
    except LimitReached as error:
        form.add_error(None, error.detail)
        return error.mark(_repeat_page(request, batch, form))
    except CatalogueError as error:
        for text in describe_problems(error.problems):
            form.add_error(None, text)
    return _repeat_page(request, batch, form, status=400)


def _repeat_page(
    request: UserRequest, batch: Request, form: OptionsForm, *, status: int = 200
) -> HttpResponse:
    form.focus_first_error()
    context: dict[str, Any] = {**tab_context(request, batch, "repeat"), "form": form}
    return render(request, "pages/repeat.html", context, status=status)


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
