"""Polls of pages that follow the work while they are open."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django_htmx.http import HttpResponseClientRefresh, reselect, reswap, retarget

from products.accounts.authentication import HtmxRequest
from products.models import Request


def mark_of(batch: Request) -> str:
    """Return a text that changes whenever pages of the Request do: with its run, status and pictures.

    A page has it as `seen` in the address that it polls.
    """
    return f"{batch.run}.{batch.status}.{batch.images_total}.{batch.images_settled}"


def has_seen(request: HttpRequest, mark: str) -> bool:
    """Return whether a poll comes from a page made at the same mark, which is therefore up to date."""
    return request.GET.get("seen") == mark


def polled(kind: str) -> Callable[[Callable[..., HttpResponse]], Callable[..., HttpResponse]]:
    """Decorate the view of a page that polls itself and shows a row of this kind, such as “Request”.

    It requires a login. A poll is answered with a reload if the user has logged out, and with a notice if the
    row has been deleted.
    """

    def decorate(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        for_users = login_required(view)

        @wraps(view)
        def answer(request: HtmxRequest, pk: UUID, **more: Any) -> HttpResponse:
            is_poll = bool(request.htmx) and request.method == "GET"
            if is_poll and not request.user.is_authenticated:
                return HttpResponseClientRefresh()
            try:
                return for_users(request, pk, **more)
            except Http404:
                if not is_poll:
                    raise
            # A reload would cancel the navigation of a user who has just clicked Delete.
            notice = render(request, "pages/_gone.html", {"kind": kind})
            return reselect(reswap(retarget(notice, "#main"), "innerHTML"), "h1, p")

        return answer

    return decorate
