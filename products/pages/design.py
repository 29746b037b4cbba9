"""The gallery of all parts of pages, for those who change them."""

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from products.models import RequestStatus

COLOURS = (
    *("back", "card", "raised", "sunken", "line", "text", "quiet", "ink", "accent", "accent-soft"),
    *("good", "good-soft", "good-fill", "bad", "bad-soft", "bad-fill", "warn", "warn-soft"),
)


@require_safe
@login_required
def design(request: HttpRequest) -> HttpResponse:
    """Show every part in every state. Only with DEBUG."""
    if not settings.DEBUG:
        raise Http404
    return render(request, "pages/design.html", {"colours": COLOURS, "statuses": RequestStatus})
