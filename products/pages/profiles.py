"""Pages of profiles: the list, one profile with its options, and its buttons."""

from contextlib import suppress
from itertools import chain, count
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.files import File
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from products.accounts.authentication import UserRequest
from products.accounts.rights import get_permitted
from products.catalogue import Catalogue, CatalogueError, Reading, read_head
from products.lifecycle.ready_made import READY_MADE
from products.models import Profile
from products.models.files import storage_checked
from products.models.owned import is_granted
from products.models.profile import MAX_PROFILES, NO_PUBLISHED_WEBHOOK, TOO_MANY_PROFILES, NameTaken
from products.pages.profile_forms import ProfileForm, SaveProfileForm
from products.pages.requests import changeable
from products.pages.tabs import tab_context, visible


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def profiles(request: UserRequest) -> HttpResponse:
    """The profiles that the user can choose, and ready-made ones, of which a POST copies one."""
    wanted = request.POST.get("ready_made")
    if found := next((one for one in READY_MADE if one.slug == wanted), None):
        return _copied(request, found.name, options=found.options)
    context = {"profiles": Profile.objects.usable_by(request.user), "ready_made": READY_MADE}
    return render(request, "pages/profiles.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def profile(request: UserRequest, pk: UUID) -> HttpResponse:
    """One profile. Whoever may change it sees its options in a form."""
    rows, user = Profile.objects, request.user
    if request.method == "POST":
        found = get_permitted(rows.visible_to(user), rows.changeable_by(user), pk)
    else:
        found = get_object_or_404(rows.visible_to(user), pk=pk)
    form = ProfileForm(found, request.POST or None)
    if request.method == "POST" and form.is_valid() and form.save():
        messages.success(request, "Profile saved.")
        return redirect(found)
    form.focus_first_error()
    context = {
        "profile": found,
        "form": form,
        "may_change": rows.changeable_by(user).contains(found),
        "may_delete": rows.deletable_by(user).contains(found),
        "may_publish": is_granted(user, Profile, "change"),
    }
    return render(request, "pages/profile.html", context, status=400 if form.errors else 200)


@require_POST
@login_required
def copy(request: UserRequest, pk: UUID) -> HttpResponse:
    """Copy a profile to one of the user's own."""
    found = get_object_or_404(Profile.objects.visible_to(request.user), pk=pk)
    return _copied(request, found.name, options=found.options, header=found.header)


@require_POST
@login_required
def delete(request: UserRequest, pk: UUID) -> HttpResponse:
    """Delete a profile. Requests keep the options that they got from it."""
    rows = Profile.objects
    found = get_permitted(rows.visible_to(request.user), rows.deletable_by(request.user), pk)
    found.delete()
    messages.success(request, f"{found.name} deleted.")
    return redirect("profiles")


@require_POST
@login_required
def publish(request: UserRequest, pk: UUID) -> HttpResponse:
    """Publish a profile to all users, or with `stop` end that. For staff who may change all profiles."""
    rows = Profile.objects
    permitted = rows.all() if is_granted(request.user, Profile, "change") else rows.none()
    found = get_permitted(rows.visible_to(request.user), permitted, pk)
    wanted = "stop" not in request.POST
    # A webhook URL that was set meanwhile is refused as well.
    if rows.filter(pk=pk, webhook_url="").update(is_published=wanted):
        messages.success(request, "All users can choose it." if wanted else "Only its owner can choose it.")
    else:
        messages.warning(request, NO_PUBLISHED_WEBHOOK)
    return redirect(found)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def save_from_request(request: UserRequest, pk: UUID) -> HttpResponse:
    """Save the options of a Request as a profile."""
    batch = changeable(request, pk) if request.method == "POST" else visible(request, pk)
    form = SaveProfileForm(request.user, request.POST if request.method == "POST" else None)
    if form.is_valid():
        header: list[str] | None = None
        columns: dict[str, Any] = batch.columns
        try:
            with storage_checked(), batch.source.open("rb") as source:
                header, columns = header_and_columns(File(source, batch.filename), batch.reading)
        except (CatalogueError, FileNotFoundError):  # the options alone are saved
            pass
        if saved := form.save({**batch.options, "columns": columns}, header):
            messages.success(request, "Saved as a profile.")
            return redirect(saved)
    context = {**tab_context(request, batch, "profile"), "save_form": form}
    return render(request, "pages/request_profile.html", context, status=400 if form.errors else 200)


def header_and_columns(file: "File[bytes]", reading: Reading) -> tuple[list[str], dict[str, Any]]:
    """Return the header of a catalogue, and the columns that have to be named to be read like this.

    Columns that would be found without being named are not among them. Raises CatalogueError.
    """
    encoding, sheet = reading.get("encoding", ""), reading.get("sheet", "")
    header = read_head(file, encoding=encoding, sheet=sheet).columns
    named = {name: value for name, value in reading.get("columns", {}).items() if value}
    try:
        catalogue = Catalogue(file, encoding=encoding, sheet=sheet, base_url=reading.get("base_url", ""))
    except CatalogueError:  # they would not be found
        return header, named
    found = catalogue.columns.names(catalogue.header)
    return header, {} if all(found.get(name) == value for name, value in named.items()) else named


def _copied(request: UserRequest, name: str, **fields: Any) -> HttpResponse:
    """Make a profile of the user's own, under a name that is free, and show it."""
    own = Profile.objects.owned_by(request.user)
    if own.count() >= MAX_PROFILES:
        messages.error(request, TOO_MANY_PROFILES)
        return redirect("profiles")
    names = {*own.values_list("name", flat=True)}
    numbered = (f"{name[:90]} {number}" for number in count(2))
    for free in (one for one in chain([name], numbered) if one not in names):
        with suppress(NameTaken):  # since then
            made = Profile.objects.create(owner=request.user, name=free, **fields)
            break
    messages.success(request, f"{made} is your own profile now. Change it as you like.")
    return redirect(made)
