"""The way of a catalogue from the upload form to a Request, by way of a draft that shows how it is read."""

from contextlib import suppress
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.files import File
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods
from django_htmx.http import HttpResponseClientRedirect

from products import lifecycle
from products.accounts.authentication import UserRequest
from products.catalogue import CatalogueError, read_header
from products.lifecycle.limits import check_open_work, count_upload
from products.lifecycle.submit import IdempotencyConflict, check_catalogue, preview_catalogue
from products.models import Draft, Request
from products.pages.forms import DraftForm, UploadForm, sentences
from products.rate_limit import LimitReached

LATEST_REQUESTS = 5


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
            url = _take(request, form).get_absolute_url()
            return HttpResponseClientRedirect(url) if request.htmx else redirect(url)
    except LimitReached as error:
        limit = error
        form.add_error("file", error.detail)
    except CatalogueError as error:
        form.refuse(error.problems)
    form.focus_error()
    own = Request.objects.visible_to(request.user).filter(owner=request.user.pk)
    context = {"form": form, "batches": own[:LATEST_REQUESTS], "max_bytes": settings.UPLOAD_MAX_BYTES}
    response = render(request, "pages/home.html", context, status=400 if form.errors else 200)
    return limit.mark(response) if limit else response


def _take(request: UserRequest, form: UploadForm) -> Draft | Request:
    """Keep the file as a draft where a preview is wanted; else make a Request of it at once."""
    file = form.cleaned_data["file"]
    if request.POST.get("step") != "preview":
        return lifecycle.submit(request.user, file, **form.cleaned_options)[0]
    try:
        check_catalogue(file)
    except CatalogueError as error:
        if any(problem.code != "missing_column" for problem in error.problems):
            raise  # only which columns matter can be said by hand
    file.seek(0)
    return lifecycle.keep_draft(request.user, file, **form.cleaned_options)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def draft(request: UserRequest, pk: UUID) -> HttpResponse:
    """How an uploaded catalogue is read, with a form to correct that and to start the work.

    Once it is started, however often that is clicked, it leads to the Request.
    """
    draft = Draft.objects.filter(owner=request.user.pk, pk=pk).first()
    # Another click may be starting it at this moment.
    with suppress(FileNotFoundError, IdempotencyConflict):
        if draft:
            with draft.file.open("rb") as file:
                return _read(request, draft, File(file, draft.filename))
    if batch := Request.objects.filter(owner=request.user.pk, idempotency_key=_key(pk)).first():
        return redirect(batch)
    if draft is None:
        raise Http404
    draft.delete()
    messages.warning(request, f"{draft.filename} was kept for a day only. Please upload it again.")
    return redirect("home")


def _key(pk: UUID) -> str:
    """What makes all starts of a draft one."""
    return f"draft {pk}"


def _read(request: UserRequest, draft: Draft, file: "File[bytes]") -> HttpResponse:
    header = _header(file, request.POST.get("encoding", ""))
    form = DraftForm(header, request.POST if request.method == "POST" else None, initial=draft.options)
    limit: LimitReached | None = None
    preview, problems = None, []
    try:
        if not form.is_bound:
            preview = preview_catalogue(file)
            form.initial = {**form.initial, **preview.columns}
        elif form.is_valid() and request.POST.get("step") == "start":
            return redirect(_start(request, draft, file, form))
        elif form.is_valid():
            preview = preview_catalogue(file, **form.reading)
    except LimitReached as error:
        limit, problems = error, [error.detail]
    except CatalogueError as error:
        problems = sentences(error.problems)
    context = {"draft": draft, "form": form, "preview": preview, "problems": problems}
    form.focus_error()
    is_refused = form.is_bound and (form.errors or problems)
    response = render(request, "pages/draft.html", context, status=400 if is_refused else 200)
    return limit.mark(response) if limit else response


def _header(file: "File[bytes]", encoding: str) -> list[str]:
    try:
        return read_header(file, encoding=encoding)
    except (CatalogueError, LookupError):  # it is not the file's, or none at all, as the form will say
        return read_header(file)


def _start(request: UserRequest, draft: Draft, file: "File[bytes]", form: DraftForm) -> Request:
    check_open_work(request.user)
    options = {**form.cleaned_options, **form.reading}
    batch, _is_new = lifecycle.submit(request.user, file, idempotency_key=_key(draft.pk), **options)
    lifecycle.discard_draft(draft)
    return batch
