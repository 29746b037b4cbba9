"""The page on which the failures of a Request are repaired."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Prefetch
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from products import lifecycle
from products.accounts.authentication import UserRequest
from products.accounts.rights import may
from products.catalogue import CatalogueError, server_of
from products.lifecycle.quotas import check_open_work, count_upload
from products.models import Image, ProductImage, Request
from products.models.ids import parse_uuid
from products.models.image import Causes
from products.pages.forms import CorrectionsForm, RepairForm, ReplaceForm, RetryForm, UrlForm
from products.pages.polling import has_seen, mark_of, polled
from products.pages.redirects import redirect_browser
from products.pages.requests import STILL_ACTIVE, changeable
from products.pages.tabs import tab_context, visible
from products.results.failures import FailureGroup, explain, failure_groups, failures_by_cause
from products.throttling import LimitReached

PICTURES_PER_PAGE = 50
#: Rows that are named for each picture, and groups on a page.
SHOWN_ROWS, SHOWN_GROUPS = 3, 200
#: Failed pictures whose rows are counted. For 100,000 of them that would take a second.
MAX_COUNTED_FAILURES = 10_000


@require_http_methods(["GET", "HEAD", "POST"])
@polled("Request")
def failures(request: UserRequest, pk: UUID) -> HttpResponse:
    """Failures by cause and host, and the pictures of one group. A POST repairs those that are ticked."""
    if request.method == "POST":
        return _repair(request, changeable(request, pk))
    batch = visible(request, pk)
    if has_seen(request, mark_of(batch)):
        return HttpResponse(status=204)
    return _page(request, batch)


@require_POST
@login_required
def fetch_from(request: UserRequest, pk: UUID, image: UUID) -> HttpResponse:
    """Fetch one failed picture from another URL."""
    batch, form = changeable(request, pk), UrlForm(request.POST)
    if not form.is_valid():
        messages.error(request, f"{form.data.get('url', '')}: {form.errors['url'][0]}")
        return _page(request, batch, status=400)
    return _start(request, batch, lambda: lifecycle.fetch_from(batch, {image: form.cleaned_data["url"]}))


@require_POST
@login_required
def replace(request: UserRequest, pk: UUID) -> HttpResponse:
    """Replace a text in the URLs of failed pictures; with `preview`, show what would change."""
    batch, form = changeable(request, pk), ReplaceForm(request.POST)
    if not form.is_valid():
        return _page(request, batch, status=400, replace_form=form)
    find, becomes, causes = form.cleaned_data["find"], form.cleaned_data["replacement"], form.causes
    if "preview" not in request.POST:
        return _start(request, batch, lambda: lifecycle.replace(batch, find, becomes, causes=causes).count)
    try:
        found = lifecycle.replace(batch, find, becomes, causes=causes, dry_run=True)
    except lifecycle.StillActive:
        return _still_active(request, batch)
    return _page(request, batch, replace_form=form, replacement=found)


@require_POST
@login_required
def corrections(request: UserRequest, pk: UUID) -> HttpResponse:
    """Take over the URLs of a corrected file; with `preview`, show what would change."""
    batch, form = changeable(request, pk), CorrectionsForm(request.POST, request.FILES)
    try:
        count_upload(request.user)
        if form.is_valid():
            if "preview" not in request.POST:
                file = form.cleaned_data["file"]
                return _start(request, batch, lambda: lifecycle.correct(batch, file).count)
            found = lifecycle.correct(batch, form.cleaned_data["file"], dry_run=True)
            return _page(request, batch, corrections_form=form, corrections=found)
    except CatalogueError as error:
        form.add_problems(error.problems)
    except LimitReached as error:
        form.add_error("file", error.detail)
        return error.mark(_page(request, batch, corrections_form=form))
    except lifecycle.StillActive:
        return _still_active(request, batch)
    return _page(request, batch, status=400, corrections_form=form)


def _repair(request: UserRequest, batch: Request) -> HttpResponse:
    """Retry or leave out the groups and pictures that are ticked."""
    # What is no id is left out.
    ticked = filter(None, map(parse_uuid, request.POST.getlist("image")[:PICTURES_PER_PAGE]))
    ids = [str(pk) for pk in batch.images.failed().filter(pk__in=ticked).values_list("pk", flat=True)]
    form = RepairForm([group.name for group in failure_groups(batch, with_rows=False)], ids, request.POST)
    if not form.is_valid() or not (form.cleaned_data["group"] or form.cleaned_data["image"]):
        messages.error(request, "Nothing was selected. Tick groups or pictures first.")
        return _page(request, batch, status=400)
    causes: Causes = [name.split(" ", 1) for name in form.cleaned_data["group"]]
    chosen = [UUID(pk) for pk in form.cleaned_data["image"]]
    if form.cleaned_data["action"] == "retry":
        return _start(request, batch, lambda: lifecycle.retry(batch, causes, None if causes else chosen))
    images = Image.objects.filter(pk__in=chosen) if chosen else batch.images.with_cause(causes)
    try:
        count = lifecycle.set_ignored(batch, images)
    except lifecycle.StillActive:
        return _still_active(request, batch)
    messages.success(request, f"Left out {count:,} picture{'' if count == 1 else 's'}.")
    return redirect(_back(request, batch))


def _start(request: UserRequest, batch: Request, repair: Any) -> HttpResponse:
    """Call `repair`, which returns the number of pictures in the run that it starts, and redirect."""
    try:
        check_open_work(request.user)
        count = repair()
    except LimitReached as error:
        messages.error(request, error.detail)
        return error.mark(_page(request, batch))
    except lifecycle.StillActive:
        return _still_active(request, batch)
    if count:
        messages.success(request, f"Fetching {count:,} picture{'' if count == 1 else 's'}.")
        return redirect(batch)
    messages.warning(request, "Nothing was changed: no failed picture matches.")
    return redirect(_back(request, batch))


def _still_active(request: UserRequest, batch: Request) -> HttpResponse:
    messages.warning(request, STILL_ACTIVE)
    return redirect_browser(request, batch)


def _back(request: UserRequest, batch: Request) -> str:
    """Return the address of the page with the group that the form was on."""
    query = request.GET.urlencode()
    return reverse("request-failures", args=[batch.pk]) + (f"?{query}" if query else "")


def _page(request: UserRequest, batch: Request, *, status: int = 200, **context: Any) -> HttpResponse:
    """Return the page, with forms and results of a preview in `context`."""
    groups = failure_groups(batch, with_rows=batch.images_failed <= MAX_COUNTED_FAILURES)
    form = RetryForm(request.GET)
    shown = form.cleaned_data if form.is_valid() else {}
    page = Paginator(groups, SHOWN_GROUPS).get_page(request.GET.get("page"))
    after = request.GET.get("after", "")
    query = request.GET.copy()
    query.pop("seen", None)  # of a poll
    may_repair = may(request.user, "change", batch) and not batch.is_active
    causes = failures_by_cause(batch)
    context |= {
        **tab_context(request, batch, "failures"),
        "failures": causes,
        "groups": page,
        "may_repair": may_repair,
        # A retry of a canceled Request would go on with what was canceled too.
        "can_retry_all": may_repair
        and batch.status != Request.Status.CANCELED
        and any(cause.retryable for cause in causes),
        "query": query.urlencode(),
        **_pictures(batch, groups, shown, int(after) if after.isdecimal() and len(after) < 10 else 0),
    }
    context.setdefault("replace_form", ReplaceForm(initial=shown))
    context.setdefault("corrections_form", CorrectionsForm())
    return render(request, "pages/failures.html", context, status=status)


def _pictures(
    batch: Request, groups: list[FailureGroup], shown: dict[str, str], after: int
) -> dict[str, Any]:
    """Return the pictures of the group that is open, with the rows that show them; nothing if none is."""
    code, host = shown.get("code", ""), shown.get("host", "")
    if not any(group.code == code and group.host == host for group in groups):
        return {}
    places = ProductImage.objects.select_related("product").defer("product__cells").order_by("pk")
    images = batch.images.failed().filter(error_code=code, host=host, number__gt=after).order_by("number")
    page = list(
        images.prefetch_related(Prefetch("places", places[:SHOWN_ROWS], to_attr="shown_places"))[
            : PICTURES_PER_PAGE + 1
        ]
    )
    has_more = len(page) > PICTURES_PER_PAGE
    return {
        "images": page[:PICTURES_PER_PAGE],
        "next_after": page[PICTURES_PER_PAGE - 1].number if has_more else None,
        "code": code,
        "host": host,
        "explanation": explain(code, host),
        "on_host": f" on {server}" if (server := server_of(host)) else "",
    }
