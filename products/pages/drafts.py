"""The drafts of the start page: started together, discarded, and made of the sample."""

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.files.base import ContentFile
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from products import lifecycle
from products.accounts.authentication import UserRequest
from products.catalogue import CatalogueError
from products.lifecycle import IdempotencyConflict, OptionsRefused
from products.lifecycle.quotas import check_open_work, count_upload
from products.models import Draft, Request
from products.models.files import StorageUnavailable
from products.pages.forms import describe_problems
from products.pages.home import home_page, say_started
from products.pages.upload_forms import UploadForm
from products.sample import FILENAME, sample_catalogue
from products.throttling import LimitReached

#: Problems of a draft that the start page lists.
MAX_REASONS = 3


@require_POST
@login_required
def start_drafts(request: UserRequest) -> HttpResponse:
    """Start the chosen drafts as they were uploaded. One that cannot be started stays, with the reason.

    Answers 400 then, and 429 if the user has reached a limit; the other drafts are started all the same.
    """
    current = Draft.objects.current().filter(owner=request.user.pk).select_related("owner")
    chosen = [draft for draft in current if str(draft.pk) in request.POST.getlist("draft")]
    if not chosen:
        messages.warning(request, "Select the drafts to start.")
        return redirect("home")
    usual = lifecycle.usual_options(request.user)  # a draft that is started must not change those of the next
    started: list[Request] = []
    refused: dict[UUID, str] = {}
    limit: LimitReached | None = None
    for draft in reversed(chosen):  # the oldest first
        try:
            if limit:
                raise limit
            count_upload(request.user)
            check_open_work(request.user)
            started.append(lifecycle.start_draft(draft, usual))
        except LimitReached as error:
            limit, refused[draft.pk] = error, error.detail
        except (CatalogueError, OptionsRefused, StorageUnavailable, OSError, IdempotencyConflict) as error:
            refused[draft.pk] = _reason(error)
    say_started(request, started)
    if refused:
        form = UploadForm(request.user, initial=usual)
        response = home_page(request, form, refused=refused)
        return limit.mark(response) if limit else response
    return redirect(started[0] if len(started) == 1 else "requests")


def _reason(error: Exception) -> str:
    """Return why a draft was not started, as sentences."""
    match error:
        case CatalogueError():
            return " ".join(describe_problems(error.problems[:MAX_REASONS]))
        case OptionsRefused():
            return " ".join(error.problems.values())
        case StorageUnavailable():
            return f"{error.title}. Try again later."
        case FileNotFoundError():
            return "The file has expired. Upload it again."
        case IdempotencyConflict():
            return "It was started already."
    raise error


@require_POST
@login_required
def start_sample(request: UserRequest) -> HttpResponse:
    """Show the preview of the sample, as if it had been uploaded."""
    try:
        count_upload(request.user)
    except LimitReached as error:
        messages.error(request, error.detail)
        return redirect("home")
    file = ContentFile(sample_catalogue(), FILENAME)
    return redirect(lifecycle.keep_draft(request.user, file, lifecycle.check_catalogue(file)))


@require_POST
@login_required
def discard_draft(request: UserRequest, pk: UUID) -> HttpResponse:
    """Delete a draft with its file."""
    found = get_object_or_404(Draft, owner=request.user.pk, pk=pk)
    lifecycle.discard_draft(found)
    messages.success(request, f"The draft of {found.filename} was discarded.")
    return redirect(f"{reverse('home')}#drafts")
