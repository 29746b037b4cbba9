"""The preview of an uploaded catalogue: a Draft is corrected and becomes a Request."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias, cast
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.core.files import File
from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from products import lifecycle
from products.accounts.authentication import UserRequest
from products.catalogue import (
    ARCHIVE_URL,
    CatalogueError,
    Head,
    PictureArchive,
    Preview,
    Reading,
    read_head,
)
from products.catalogue.problems import shorten
from products.lifecycle import IdempotencyConflict, OptionsRefused, preview_catalogue
from products.lifecycle.quotas import check_open_work, count_upload
from products.models import Draft, Profile, Request
from products.models.files import storage_checked, uploads_storage
from products.pages.forms import describe_problems
from products.pages.profile_forms import SaveProfileForm, with_profile
from products.pages.profiles import header_and_columns
from products.pages.redirects import redirect_browser
from products.pages.upload_forms import ROLE, DraftForm
from products.throttling import LimitReached

#: Makes pictures of a catalogue: its owner, the file, the options.
MakeTrial: TypeAlias = Callable[[User, "File[bytes]", dict[str, Any]], Any]
#: Of the first rows of a file that is refused.
MAX_SHOWN_COLUMNS, MAX_SHOWN_CHARS = 50, 100


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def draft(request: UserRequest, pk: UUID, make_trial: MakeTrial) -> HttpResponse:
    """The preview of an uploaded catalogue, with a form to correct how it is read and to start the work.

    `make_trial` makes some pictures as the options say, to be shown beside them.

    Once the draft has been started, redirects to its Request; starting it twice creates one Request.
    Each preview counts as an upload, and so does the start; answers 429 above the limit.
    """
    draft = Draft.objects.filter(owner=request.user.pk, pk=pk).first()
    # A second click may find the file gone or the idempotency key taken by the first.
    with suppress(FileNotFoundError, IdempotencyConflict):
        if draft:
            try:
                count_upload(request.user)  # each preview reads as much as an upload
            except LimitReached as error:
                return error.mark(render(request, "pages/too_many.html", {"draft": draft, "limit": error}))
            with storage_checked(), draft.file.open("rb") as file:
                return _draft_page(request, draft, File(file, draft.filename), make_trial)
    if batch := Request.objects.filter(
        owner=request.user.pk, idempotency_key=lifecycle.idempotency_key(pk)
    ).first():
        return redirect_browser(request, batch)
    if draft is None:
        raise Http404
    draft.delete()
    messages.warning(request, f"The preview of {draft.filename} has expired. Upload the file again.")
    return redirect_browser(request, "home")


def _draft_page(
    request: UserRequest, draft: Draft, file: "File[bytes]", make_trial: MakeTrial
) -> HttpResponse:
    """Render the preview, or start the draft and redirect to its Request."""
    profile, data = _profile(request, draft, file)
    head, form, reading = _draft_form(request, draft, file, profile, data)
    is_saving = data.get("step") == "save"
    save_form = SaveProfileForm(request.user, data if is_saving else None)
    limit: LimitReached | None = None
    preview, trial, problems = None, None, []
    try:
        if not form.is_bound:
            preview = _preview(file, form, reading)
            form.initial = {**form.initial, **preview.columns}
        elif form.is_valid() and data.get("step") == "start":
            return redirect_browser(request, _start(request, draft, file, form, profile))
        elif form.is_valid() and save_form.is_valid() and (saved := _save_profile(file, form, save_form)):
            messages.success(request, f"Saved as the profile {saved}.")
            return redirect_browser(request, f"{draft.get_absolute_url()}?profile={saved.pk}")
        elif form.is_valid():
            preview = _preview(file, form, form.reading)
            if data.get("step") == "trial":
                options = {**form.cleaned_options, **form.reading, "archive": form.archive}
                trial = make_trial(request.user, file, options)
    except LimitReached as error:
        limit, problems = error, [error.detail]
    except CatalogueError as error:
        problems = describe_problems(error.problems)
    rows = [[shorten(cell, MAX_SHOWN_CHARS) for cell in row[:MAX_SHOWN_COLUMNS]] for row in head.rows]
    context = {
        "draft": draft,
        "form": form,
        "profile": profile,
        "save_form": save_form,
        "preview": preview,
        "archive_url": f"{ARCHIVE_URL}/" if form.archive else "",
        "trial": trial,
        "problems": problems,
        "raw_columns": form.roles(head.columns[:MAX_SHOWN_COLUMNS]),
        "raw_rows": rows,
        "has_more_columns": len(head.columns) > MAX_SHOWN_COLUMNS,
    }
    form.focus_first_error()
    is_refused = form.is_bound and (form.errors or problems or save_form.errors)
    response = render(request, "pages/draft.html", context, status=400 if is_refused else 200)
    return limit.mark(response) if limit else response


def _preview(file: "File[bytes]", form: DraftForm, reading: Reading) -> Preview:
    """Return how the catalogue is read, with the pictures that its ZIP lacks. Raises CatalogueError."""
    if not form.archive:
        return preview_catalogue(file, **reading)
    with uploads_storage().open(form.archive) as archive:
        return preview_catalogue(file, PictureArchive(archive), **reading)


def _draft_form(
    request: UserRequest, draft: Draft, file: "File[bytes]", profile: Profile | None, data: QueryDict
) -> tuple[Head, DraftForm, Reading]:
    """Return the head of the file, the form of its preview, and how it is read until that is sent.

    The form is not bound before it was sent, and where the columns chosen are those of another sheet: they
    are found again.
    """
    is_sent = request.method == "POST"
    options: dict[str, Any] = profile.options if profile else {}
    chosen: Any = data if is_sent else options
    sheet = chosen.get("sheet", "")
    try:
        head = read_head(file, encoding=chosen.get("encoding", ""), sheet=sheet)
    except (CatalogueError, LookupError, ValueError):  # a wrong encoding or sheet, which the form reports
        head = read_head(file)
    given = [data.get("serial", ""), data.get("name", ""), *data.getlist("images")]
    given += [key.removeprefix(ROLE) for key, role in data.items() if key.startswith(ROLE) and role]
    is_other_sheet = is_sent and sheet in head.sheets and not {*given} <= {"", *head.columns}
    shown = str(profile.pk) if profile else ""
    initial = {
        **(options if profile else lifecycle.usual_options(request.user)),
        **({} if request.GET.get("profile") else draft.options),
        **{"sheet": sheet, "profile": shown, "shown_profile": shown},
    }
    form = DraftForm(request.user, head, data if is_sent and not is_other_sheet else None, initial=initial)
    form.archive = draft.options.get("archive", "")
    names = [name for name in Reading.__annotations__ if name in options]
    reading = {"sheet": sheet} if is_other_sheet else {name: options[name] for name in names}
    if form.archive:
        reading["base_url"] = ARCHIVE_URL
    return head, form, cast(Reading, reading)


def _profile(request: UserRequest, draft: Draft, file: "File[bytes]") -> tuple[Profile | None, QueryDict]:
    """Return the profile whose options the preview shows, and the data of its form.

    It is the one that was chosen with the upload, until another one is chosen here: by the address, or in the
    form, whose data then has the options of that one and is not started.
    """
    is_sent = request.method == "POST"
    data: QueryDict = request.POST
    wanted = data.get("profile", "") if is_sent else request.GET.get("profile", draft.options.get("profile"))
    try:
        profile = lifecycle.choose_offered(request.user, file, wanted)
    except OptionsRefused:  # it has been deleted since
        profile = None
    if is_sent and wanted != data.get("shown_profile", wanted):
        data = with_profile(data, profile)
    return profile, data


def _save_profile(file: "File[bytes]", form: DraftForm, save_form: SaveProfileForm) -> Profile | None:
    """Save the options of the page as a profile, as `SaveProfileForm.save` does."""
    header, columns = header_and_columns(file, form.reading)
    return save_form.save({**form.cleaned_options, **form.reading, "columns": columns}, header)


def _start(
    request: UserRequest, draft: Draft, file: "File[bytes]", form: DraftForm, profile: Profile | None
) -> Request:
    """Submit the draft as a Request and delete it. Raises CatalogueError or LimitReached."""
    check_open_work(request.user)
    options = {**form.cleaned_options, **form.reading, "archive": form.archive}
    if profile and profile.webhook_url:
        options["webhook_url"] = profile.webhook_url
    key = lifecycle.idempotency_key(draft.pk)
    batch, _is_new = lifecycle.submit(request.user, file, idempotency_key=key, profile=profile, **options)
    lifecycle.discard_draft(draft)
    return batch
