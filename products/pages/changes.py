"""The tab of changes, and pictures that changed, each as it was before and as it is now."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from products.accounts.authentication import UserRequest
from products.models import Image
from products.pages.forms import RunsForm
from products.pages.gallery import file_name
from products.pages.polling import has_seen, mark_of, polled
from products.pages.tabs import MAX_COUNTED_CHANGES, tab_context, visible
from products.results.changes import ChangedPicture, Kind, State, count_changes, first_pictures

#: Kinds of change that are shown as pictures.
SHOWN = (Kind.NEW, Kind.CHANGED, Kind.GONE)
#: Pictures of each kind on the tab of changes.
PICTURES_OF_A_KIND = 6


@dataclass(frozen=True, slots=True)
class Side:
    """A picture in one of the two runs."""

    page: str
    thumbnail: str  # "" without a stored output

    @classmethod
    def of(cls, request_id: UUID, url: str, *, has_output: bool) -> "Side":
        image = Image.id_for(request_id, url)
        return cls(
            reverse("picture", args=[request_id, image]),
            reverse("thumbnail", args=[image]) if has_output else "",
        )


@dataclass(frozen=True, slots=True)
class Pair:
    """A picture that changed, as it was before and as it is now; None where it was not or is not."""

    kind: str
    label: str
    name: str
    before: Side | None
    now: Side | None
    image: UUID  # of the picture now, or that it would have


def pairs_of(pictures: list[ChangedPicture], now: State, before: State) -> list[Pair]:
    """Return pictures with the addresses of both versions."""
    return [
        Pair(
            one.kind,
            str(Kind(one.kind).label),
            file_name(one.url),
            Side.of(before.batch.pk, one.url, has_output=one.had_output)
            if one.was_there and one.kind != Kind.NEW
            else None,
            None if one.kind == Kind.GONE else Side.of(now.batch.pk, one.url, has_output=one.has_output),
            Image.id_for(now.batch.pk, one.url),
        )
        for one in pictures
    ]


@require_safe
@polled("Request")
def changes(request: UserRequest, pk: UUID) -> HttpResponse:
    """Changes between the runs in the query string, or since the previous Request of the same catalogue.

    Without either, those of the last run.
    """
    batch = visible(request, pk)
    if has_seen(request, mark_of(batch)):
        return HttpResponse(status=204)
    form = RunsForm(batch.run, request.GET if "against_run" in request.GET else None)
    context: dict[str, Any] = {**tab_context(request, batch, "changes"), "runs_form": form}
    compared: tuple[int, int] | None = None
    states: tuple[State, State] | None = None
    if form.is_valid():
        compared = form.cleaned_data["run"], form.cleaned_data["against_run"]
    elif not batch.is_active and (earlier := batch.earlier):
        context["earlier"] = earlier
        states = State(batch), State(earlier)
    elif not batch.is_active and batch.run > 1 and not form.is_bound:
        compared = batch.run, batch.run - 1
    if compared:
        context |= {"compared_run": compared[0], "compared_with": compared[1]}
        states = State.after_run(batch, compared[0]), State.after_run(batch, compared[1])
    if states:
        counts = count_changes(*states)
        context |= {"changes": counts, "groups": _first_of_each(*states, dict(counts))}
    return render(request, "pages/changes.html", context)


def _first_of_each(now: State, before: State, counts: dict[str, int]) -> list[tuple[str, int, list[Pair]]]:
    """Return the first pictures of each kind of change with its label and count; none of large catalogues."""
    if now.batch.images_total + before.batch.images_total > MAX_COUNTED_CHANGES:
        return []
    pairs = pairs_of(first_pictures(now, before, [*SHOWN, Kind.FAILING], PICTURES_OF_A_KIND), now, before)
    return [
        (label, count, of_kind)
        for label, count in counts.items()
        if (of_kind := [pair for pair in pairs if pair.label == label])
    ]
