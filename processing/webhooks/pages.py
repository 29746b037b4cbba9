"""Pages of webhook endpoints and deliveries."""

import hashlib
import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from processing.webhooks import events
from processing.webhooks.forms import EndpointForm, ReplayForm
from processing.webhooks.models import (
    TOO_MANY_ENDPOINTS,
    DeliveryStatus,
    Kind,
    WebhookDelivery,
    WebhookEndpoint,
)
from products.accounts.authentication import UserRequest
from products.accounts.rights import get_permitted
from products.models.owned import save_fields
from products.pages.polling import has_seen, mark_of, polled
from products.pages.tabs import tab_context, visible

LATEST_DELIVERIES = 10
DELIVERIES_PER_PAGE = 25
#: A list of deliveries refreshes itself while an attempt is due within this time.
REFRESH_WITHIN = timedelta(minutes=1)
DISABLED = "This endpoint is disabled. Enable it first."


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def webhooks(request: UserRequest) -> HttpResponse:
    """The user's endpoints, a form to add one, and the latest deliveries."""
    form = EndpointForm(request.POST or None)
    if form.is_bound and WebhookEndpoint.objects.has_reached_limit(request.user):
        form.add_error("url", TOO_MANY_ENDPOINTS)
    if request.method == "POST" and form.is_valid():
        form.instance.owner = request.user
        endpoint = form.save()
        if endpoint.kind != Kind.STANDARD:
            messages.success(request, "Endpoint added.")
            return redirect(endpoint)
        return _secret_page(request, endpoint)
    latest = WebhookDelivery.objects.filter(endpoint__owner=request.user.pk).select_related("endpoint")
    context = {
        "form": form,
        "endpoints": WebhookEndpoint.objects.registered().filter(owner=request.user.pk),
        "deliveries": latest[:LATEST_DELIVERIES],
    }
    return render(request, "webhooks/webhooks.html", context, status=400 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def webhook(request: UserRequest, pk: UUID) -> HttpResponse:
    """One endpoint with its settings and deliveries."""
    endpoint = _changeable(request, pk) if request.method == "POST" else _endpoint(request, pk)
    form = EndpointForm(request.POST or None, instance=endpoint)
    if request.method == "POST" and form.is_valid():
        # Only the form's fields, since workers change others at the same time.
        save_fields(endpoint, form.fields)
        messages.success(request, "Endpoint saved.")
        return redirect(endpoint)
    endpoints, user = WebhookEndpoint.objects, request.user
    context = {
        **_deliveries(request, endpoint),
        "may_change": endpoints.changeable_by(user).contains(endpoint),
        "may_delete": endpoints.deletable_by(user).contains(endpoint),
        "may_replay": endpoints.replayable_by(user).contains(endpoint),
        "may_rotate": endpoint.kind == Kind.STANDARD and endpoints.owned_by(user).contains(endpoint),
        "form": form,
        "replay_form": ReplayForm(),
        "missed": endpoint.deliveries.filter(status=DeliveryStatus.MISSED).count(),
    }
    return render(request, "webhooks/webhook.html", context, status=400 if form.errors else 200)


@require_safe
@login_required
def webhook_deliveries(request: UserRequest, pk: UUID) -> HttpResponse:
    """The list of deliveries on an endpoint's page, which refreshes itself."""
    return render(request, "webhooks/_deliveries.html", _deliveries(request, _endpoint(request, pk)))


@require_safe
@polled("Request")
def request_deliveries(request: UserRequest, pk: UUID) -> HttpResponse:
    """The tab with the latest deliveries of a Request, which refreshes itself while they change."""
    batch = visible(request, pk)
    of_request = WebhookDelivery.objects.visible_to(request.user).filter(request=batch)
    shown = list(of_request.select_related("endpoint")[:LATEST_DELIVERIES])
    states = [f"{one.pk.hex}.{one.status}.{len(one.attempts)}" for one in shown]
    seen = hashlib.md5("_".join([mark_of(batch), *states]).encode(), usedforsecurity=False).hexdigest()
    follows = batch.is_active or has_due(shown)
    if follows and has_seen(request, seen):
        return HttpResponse(status=204)
    context = {
        **tab_context(request, batch, "deliveries"),
        "seen": seen,
        "deliveries": shown,
        "follows": follows,
    }
    return render(request, "pages/deliveries.html", context)


@require_POST
@login_required
def test(request: UserRequest, pk: UUID) -> HttpResponse:
    """Send a test event."""
    endpoint = _changeable(request, pk)
    if events.send_test_event(endpoint):
        messages.success(request, "Test event sent. See the result below.")
    else:
        messages.warning(request, DISABLED)
    return redirect(endpoint)


@require_POST
@login_required
def rotate(request: UserRequest, pk: UUID) -> HttpResponse:
    """Rotate the secret and show the new one once."""
    endpoint = _permitted(request, WebhookEndpoint.objects.owned_by(request.user), pk)
    endpoint.rotate_secret()
    return _secret_page(request, endpoint)


@require_POST
@login_required
def enable(request: UserRequest, pk: UUID) -> HttpResponse:
    """Enable an endpoint."""
    endpoint = _changeable(request, pk)
    endpoint.enable()
    messages.success(request, "Endpoint enabled.")
    return redirect(endpoint)


@require_POST
@login_required
def disable(request: UserRequest, pk: UUID) -> HttpResponse:
    """Disable an endpoint."""
    endpoint = _changeable(request, pk)
    endpoint.disable()
    messages.success(
        request, "Endpoint disabled. You can redeliver the events that it misses after you enable it again."
    )
    return redirect(endpoint)


@require_POST
@login_required
def replay(request: UserRequest, pk: UUID) -> HttpResponse:
    """Redeliver failed or missed events."""
    endpoint = _permitted(request, WebhookEndpoint.objects.replayable_by(request.user), pk)
    form = ReplayForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Enter a valid date and time.")
    elif not endpoint.enabled:
        messages.warning(request, DISABLED)
    else:
        count = events.redeliver_all(endpoint.deliveries.with_status(**form.cleaned_data))
        text = "Redelivering 1 event." if count == 1 else f"Redelivering {count:,} events."
        messages.success(request, text)
    return redirect(endpoint)


@require_POST
@login_required
def delete(request: UserRequest, pk: UUID) -> HttpResponse:
    """Delete an endpoint with its deliveries."""
    endpoint = _permitted(request, WebhookEndpoint.objects.deletable_by(request.user), pk)
    endpoint.delete()
    messages.success(request, f"Endpoint {endpoint.url} deleted.")
    return redirect("webhooks")


@require_safe
@login_required
def delivery(request: UserRequest, pk: UUID) -> HttpResponse:
    """One delivery with its payload and every attempt."""
    found = get_object_or_404(_visible_deliveries(request), pk=pk)
    may_change = WebhookDelivery.objects.changeable_by(request.user).contains(found)
    context = {
        "delivery": found,
        "payload": json.dumps(json.loads(found.payload), indent=2, ensure_ascii=False),
        "may_change": may_change,
    }
    return render(request, "webhooks/delivery.html", context)


@require_POST
@login_required
def redeliver(request: UserRequest, pk: UUID) -> HttpResponse:
    """Redeliver one event."""
    changeable = WebhookDelivery.objects.changeable_by(request.user)
    found = get_permitted(_visible_deliveries(request), changeable, pk)
    if events.redeliver(found):
        messages.success(request, "Redelivering the event.")
    else:
        messages.warning(request, DISABLED)
    return redirect(found)


def _endpoint(request: UserRequest, pk: UUID) -> WebhookEndpoint:
    return get_object_or_404(WebhookEndpoint.objects.visible_to(request.user), pk=pk)


def _permitted(request: UserRequest, permitted: QuerySet[WebhookEndpoint], pk: UUID) -> WebhookEndpoint:
    return get_permitted(WebhookEndpoint.objects.visible_to(request.user), permitted, pk)


def _changeable(request: UserRequest, pk: UUID) -> WebhookEndpoint:
    return _permitted(request, WebhookEndpoint.objects.changeable_by(request.user), pk)


def _visible_deliveries(request: UserRequest) -> QuerySet[WebhookDelivery]:
    return WebhookDelivery.objects.visible_to(request.user).select_related("endpoint", "request")


def _deliveries(request: UserRequest, endpoint: WebhookEndpoint) -> dict[str, Any]:
    """Return a page of an endpoint's deliveries, and whether to refresh it."""
    visible = endpoint.deliveries.visible_to(request.user)
    page = Paginator(visible, DELIVERIES_PER_PAGE).get_page(request.GET.get("page"))
    return {"endpoint": endpoint, "page": page, "refreshes": has_due(page) and endpoint.enabled}


def has_due(deliveries: Iterable[WebhookDelivery]) -> bool:
    """Return whether a list of deliveries is about to change: an attempt is due within REFRESH_WITHIN.

    None is made while the endpoint is paused.
    """
    soon = timezone.now() + REFRESH_WITHIN
    return any(
        one.next_attempt_at and max(one.next_attempt_at, one.endpoint.resume_at or one.next_attempt_at) < soon
        for one in deliveries
    )


def _secret_page(request: UserRequest, endpoint: WebhookEndpoint) -> HttpResponse:
    """Show the secret in the response to the POST that created it, without a redirect that would store it."""
    return render(request, "webhooks/webhook_secret.html", {"endpoint": endpoint})
