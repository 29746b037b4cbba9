"""Polls of pages that follow the work while they are open."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render, resolve_url
from django_htmx.http import HttpResponseClientRefresh, reselect, reswap, retarget

from products.accounts.authentication import HtmxRequest
from products.models import Request


class LoggedOutMiddleware:
    """Reloads the page of a user who has logged out and whose htmx request needs a login.

    htmx would follow the redirect and put the login page in place of a part of the page.
    """

    def __init__(self, get_response: Callable[[HtmxRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HtmxRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if request.htmx and isinstance(response, HttpResponseRedirect):
            path = response.url.partition("?")[0]
            if path == resolve_url(settings.LOGIN_URL):
                return HttpResponseClientRefresh()
        return response


def mark_of(batch: Request) -> str:
    """Return a text that changes with the run, the status and the numbers of pictures, in all and settled.

    A page has it as `seen` in the address that it polls.
    """
    return f"{batch.run}.{batch.status}.{batch.images_total}.{batch.images_settled}"


def has_seen(request: HttpRequest, mark: str) -> bool:
    """Return whether a poll comes from a page made at the same mark, which is therefore up to date."""
    return request.GET.get("seen") == mark


#: Text of the notice for each kind of row that has been deleted.
DELETED = {
    "Request": "The request, its products and its results have been deleted.",
    "Feed": "The feed, its history and the address of its latest result have been deleted. "
    "Its requests stay.",
}


def notice(request: HttpRequest, title: str, text: str) -> HttpResponse:
    """Answer a poll with a notice in place of the page, which polls no more.

    A reload would cancel the navigation of a user who has just clicked Delete.
    """
    answer = render(request, "pages/_gone.html", {"title": title, "text": text})
    return reselect(reswap(retarget(answer, "#main"), "innerHTML"), "h1, p")


def polled(kind: str) -> Callable[[Callable[..., HttpResponse]], Callable[..., HttpResponse]]:
    """Decorate the view of a page that polls itself and shows a row of this kind, one of DELETED.

    It requires a login. A poll is answered with a notice if the row has been deleted.
    """

    def decorate(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        for_users = login_required(view)

        @wraps(view)
        def answer(request: HtmxRequest, pk: UUID, **more: Any) -> HttpResponse:
            is_poll = bool(request.htmx) and request.method == "GET"
            try:
                return for_users(request, pk, **more)
            except Http404:
                if not is_poll:
                    raise
            return notice(request, f"{kind} deleted", DELETED[kind])

        return answer

    return decorate
