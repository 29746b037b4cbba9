"""Redirects that a browser follows itself, also from a form that htmx has sent."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, resolve_url
from django_htmx.http import HttpResponseClientRedirect

from products.accounts.authentication import UserRequest


def redirect_browser(request: UserRequest, to: Any) -> HttpResponse:
    """Redirect to a page, given as for `redirect`.

    htmx would follow a plain redirect and put that page in place of a part of the one that is shown.
    """
    return HttpResponseClientRedirect(resolve_url(to)) if request.htmx else redirect(to)
