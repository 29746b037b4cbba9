"""The start page: uploads of files and of pasted URLs, drafts, recent requests."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.core.files import File
from django.core.files.base import ContentFile
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.datastructures import MultiValueDict
from django.views.decorators.http import require_http_methods

from products import lifecycle
from products.accounts.authentication import UserRequest
from products.catalogue import (
    ARCHIVE_URL,
    CatalogueError,
    Reading,
    Summary,
    is_picture_archive,
    read_head,
    size_text,
)
from products.lifecycle import check_catalogue
from products.lifecycle.quotas import check_open_work, count_upload
from products.models import Draft, Request
from products.models.files import StorageUnavailable
from products.pages.redirects import redirect_browser
from products.pages.upload_forms import UploadForm
from products.results.week import week_of
from products.throttling import LimitReached

RECENT_REQUESTS = 5
#: Files that the form takes at once, a request each.
MAX_FILES = 50
PASTED_NAME = "pasted-urls.csv"


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def home(request: UserRequest) -> HttpResponse:
    """The upload form, the user's drafts and recent requests.

    Each file that is sent becomes a Request, or a Draft where a preview is wanted. Answers 400 if one is
    refused, 429 if the user has reached a limit; the other files are saved all the same.
    """
    usual = lifecycle.usual_options(request.user)
    if request.method != "POST":
        initial = {} if "defaults" in request.GET else usual
        return home_page(request, UploadForm(request.user, initial=initial))
    files: list[File[bytes]] = [*request.FILES.getlist("file"), *pasted(request.POST.get("urls", ""))]
    form = UploadForm(request.user, request.POST, request.FILES, initial=usual)
    if url := request.POST.get("url", "").strip():
        if not files:
            return redirect_browser(request, f"{reverse('feeds')}?{urlencode({'url': url})}")
        form.add_error("url", "Enter a URL or choose files, not both.")
        form.keep_files()
    if not files or url:
        return home_page(request, form, files)
    if problem := _too_many(request, len(files)):
        form.add_error("file", problem)
        return home_page(request, form, files)
    done = _save_all(request, files, usual)
    if len(files) > 1:
        _say_what_was_saved(request, done.saved)
    if done.refused:
        form = _with_all_errors(done.refused) if len(files) > 1 else done.refused[0]
        if not done.saved and "file" not in form.errors:
            form.keep_files()
        response = home_page(request, form, done.unsaved)
        return done.limit.mark(response) if done.limit else response
    if len(files) == 1:
        url = done.saved[0].get_absolute_url()
    elif drafts := [("draft", one.pk) for one in done.saved if isinstance(one, Draft)]:
        url = f"{reverse('home')}?{urlencode(drafts)}#drafts"
    else:
        url = reverse("requests")
    return redirect_browser(request, url)


def _too_many(request: UserRequest, count: int) -> str:
    """Return a sentence if these are more files than may be uploaded, or previewed, at once."""
    if count > MAX_FILES:
        return f"Upload at most {MAX_FILES} files at a time."
    room = lifecycle.room_for_drafts(request.user)
    if count > max(1, room) and request.POST.get("step") == "preview":  # one may replace the oldest
        return (
            f"These are {count} files, and there is room for {room} more drafts. Choose fewer files, start "
            "them without a preview, or discard drafts."
        )
    return ""


@dataclass
class _Saved:
    """The files of an upload: what was made of them, the forms of refused ones, and all not saved."""

    saved: list[Draft | Request] = field(default_factory=list)
    refused: list[UploadForm] = field(default_factory=list)
    unsaved: "list[File[bytes]]" = field(default_factory=list)
    limit: LimitReached | None = None


def _save_all(request: UserRequest, files: "list[File[bytes]]", usual: dict[str, Any]) -> _Saved:
    """Save each file. Where one fails as the others would, those that follow are not tried.

    Raises StorageUnavailable if it is the only file.
    """
    done = _Saved()
    for number, file in enumerate(files, 1):
        form = UploadForm(request.user, request.POST, MultiValueDict({"file": [file]}), initial=usual)
        is_last_try = False
        try:
            count_upload(request.user)
            check_open_work(request.user)
            if form.is_valid():
                done.saved.append(_save(request, form, is_alone=len(files) == 1))
                continue
        except LimitReached as error:
            done.limit, is_last_try = error, True
            form.add_error("file", error.detail)
        except StorageUnavailable as error:
            if len(files) == 1:
                raise
            is_last_try = True
            form.add_error("file", f"{error.title}. This file was not saved.")
        except CatalogueError as error:
            form.add_problems(error.problems)
        done.refused.append(form)
        done.unsaved.append(file)
        if is_last_try or form.errors.keys() - {"file"}:
            done.unsaved += files[number:]
            break
    return done


def pasted(text: str) -> "list[ContentFile[bytes]]":
    """Return the catalogue that pasted URLs make: a numbered row for each line. Nothing if there is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return []
    table = io.StringIO(newline="")
    rows = [("Serial Number", "Input Image Urls"), *enumerate(lines, 1)]
    csv.writer(table).writerows(rows)
    return [ContentFile(table.getvalue().encode(), PASTED_NAME)]


def _save(request: UserRequest, form: UploadForm, *, is_alone: bool) -> Draft | Request:
    """Create a Request, or a Draft if the user wants a preview or has to choose columns.

    Of a ZIP with a catalogue and its pictures, both are stored. Raises CatalogueError.
    """
    file: File[bytes] = form.cleaned_data["file"]
    if not is_picture_archive(file):
        return _save_catalogue(request, form, file, is_alone=is_alone)
    with lifecycle.stored_archive(file) as (catalogue, archive):
        return _save_catalogue(request, form, catalogue, archive, is_alone=is_alone)


def _save_catalogue(
    request: UserRequest, form: UploadForm, file: "File[bytes]", archive: str = "", *, is_alone: bool
) -> Draft | Request:
    is_preview = request.POST.get("step") == "preview"
    base: Reading = {"base_url": ARCHIVE_URL} if archive else {}
    stored = {"archive": archive, **base} if archive else {}
    summary = None
    try:
        if not is_preview:
            options = {**form.cleaned_options, **stored}
            return lifecycle.submit(request.user, file, profile=form.chosen, **options)[0]
        summary = _check(file, form.reading, base)
    except CatalogueError as error:
        if any(problem.code != "missing_column" for problem in error.problems):
            raise  # the draft's form can correct nothing but the choice of columns
        if not is_preview and not read_head(file).rows:
            raise
        if not is_alone and not lifecycle.room_for_drafts(request.user):
            raise
    file.seek(0)
    wanted = {} if form.wanted is None else {"profile": form.wanted}
    return lifecycle.keep_draft(request.user, file, summary, **form.given, **wanted, **stored)


def _check(file: "File[bytes]", reading: Reading, base: Reading) -> Summary | None:
    """Return what a file has, read with the options of its profile and these of its ZIP.

    None if only those of the profile are wrong for it, which the preview can correct. Raises CatalogueError.
    """
    try:
        return check_catalogue(file, **reading | base)
    except CatalogueError:
        if not reading:
            raise
    check_catalogue(file, **base)
    return None


def _say_what_was_saved(request: UserRequest, saved: list[Draft | Request]) -> None:
    say_started(request, [one for one in saved if isinstance(one, Request)])
    if drafts := [one.filename for one in saved if isinstance(one, Draft)]:
        messages.warning(request, f"Kept as drafts, not started yet: {', '.join(drafts)}.")


def say_started(request: UserRequest, batches: list[Request]) -> None:
    """Name the Requests that were started, if any."""
    if batches:
        messages.success(request, f"Started {', '.join(batch.filename for batch in batches)}.")


def _with_all_errors(refused: list[UploadForm]) -> UploadForm:
    """Return the first of several forms with the errors of all files, each with the name of its file."""
    first = refused[0]
    errors = [
        f"{getattr(form.files['file'], 'name', '')}: {text}"
        for form in refused
        for text in form.errors.get("file", [])
    ]
    if errors:
        first.errors["file"].data[:] = [ValidationError(text) for text in errors]
    return first


def home_page(
    request: UserRequest,
    form: UploadForm,
    unsaved: "Sequence[File[bytes]]" = (),
    refused: Mapping[UUID, str] | None = None,
) -> HttpResponse:
    """Render the page.

    `unsaved` are the files that have to be chosen again, `refused` the reasons why drafts were not started.
    """
    refused = refused or {}
    chosen = {*request.GET.getlist("draft"), *map(str, refused)}
    drafts = Draft.objects.current().filter(owner=request.user.pk)
    form.focus_first_error()
    own = Request.objects.visible_to(request.user).filter(owner=request.user.pk)
    batches = list(own.select_related("feed_run__feed")[:RECENT_REQUESTS])
    context = {
        "form": form,
        "drafts": [(draft, str(draft.pk) in chosen, refused.get(draft.pk, "")) for draft in drafts],
        "keeps_files": bool(request.htmx) and form.keeps_files,
        "unsaved": [file.name for file in unsaved if file.name != PASTED_NAME],
        "batches": batches,
        "has_active": any(batch.is_active for batch in batches),
        "are_last_used": not form.is_bound and not form.has_defaults,
        "week": week_of(request.user),
        "max_bytes": settings.UPLOAD_MAX_BYTES,
        "max_size": size_text(settings.UPLOAD_MAX_BYTES),
        "max_files": MAX_FILES,
    }
    return render(request, "pages/home.html", context, status=400 if form.errors or refused else 200)
