"""The pages about webhooks."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from processing.webhooks.events import ping
from processing.webhooks.forms import EndpointForm, ReplayForm
from processing.webhooks.models import DeliveryStatus, WebhookDelivery, WebhookEndpoint
from products.accounts.authentication import UserRequest

LATEST_DELIVERIES = 10
DELIVERIES_PER_PAGE = 25
#: A page of deliveries follows those that are tried within this time.
SOON = timedelta(minutes=1)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def webhooks(request: UserRequest) -> HttpResponse:
    """The user's endpoints, a form for another, and what was delivered lately."""
    form = EndpointForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.instance.owner = request.user
        return _show_secret(request, form.save())
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
    """One endpoint, with a form to change it, and its deliveries in pages."""
    endpoint = _endpoint(request, pk)
    form = EndpointForm(request.POST or None, instance=endpoint)
    if request.method == "POST" and form.is_valid():
        # Only what the form has: the rest changes under a worker's hands.
        endpoint.save(update_fields=[*form.fields])
        messages.success(request, "Saved.")
        return redirect(endpoint)
    context = {
        **_deliveries(request, endpoint),
        "form": form,
        "replay_form": ReplayForm(),
        "missed": endpoint.deliveries.filter(status=DeliveryStatus.MISSED).count(),
    }
    return render(request, "webhooks/webhook.html", context, status=400 if form.errors else 200)


@require_safe
@login_required
def webhook_deliveries(request: UserRequest, pk: UUID) -> HttpResponse:
    """The part of an endpoint's page that changes by itself."""
    return render(request, "webhooks/_deliveries.html", _deliveries(request, _endpoint(request, pk)))


@require_POST
@login_required
def test(request: UserRequest, pk: UUID) -> HttpResponse:
    """Send a test event."""
    endpoint = _endpoint(request, pk)
    if ping(endpoint):
        messages.success(request, "A test is on its way; what comes of it appears below.")
    else:
        messages.warning(request, "The endpoint is disabled; enable it first.")
    return redirect(endpoint)


@require_POST
@login_required
def rotate(request: UserRequest, pk: UUID) -> HttpResponse:
    """Make a new secret, and show it this once."""
    endpoint = _endpoint(request, pk)
    endpoint.rotate()
    return _show_secret(request, endpoint)


@require_POST
@login_required
def enable(request: UserRequest, pk: UUID) -> HttpResponse:
    """Deliver from now on."""
    endpoint = _endpoint(request, pk)
    endpoint.enable()
    messages.success(request, "Enabled.")
    return redirect(endpoint)


@require_POST
@login_required
def disable(request: UserRequest, pk: UUID) -> HttpResponse:
    """Deliver nothing more."""
    endpoint = _endpoint(request, pk)
    endpoint.disable()
    messages.success(request, "Disabled. What it misses is kept, and can be delivered later.")
    return redirect(endpoint)


@require_POST
@login_required
def replay(request: UserRequest, pk: UUID) -> HttpResponse:
    """Deliver again what has failed or was missed."""
    endpoint, form = _endpoint(request, pk), ReplayForm(request.POST)
    if not form.is_valid():
        messages.error(request, "That is no time.")
    elif not endpoint.enabled:
        messages.warning(request, "The endpoint is disabled; enable it first.")
    else:
        count = endpoint.deliveries.settled(**form.cleaned_data).redeliver()
        messages.success(request, f"Deliveries that go out again: {count}.")
    return redirect(endpoint)


@require_POST
@login_required
def remove(request: UserRequest, pk: UUID) -> HttpResponse:
    """Delete an endpoint with its deliveries."""
    endpoint = _endpoint(request, pk)
    endpoint.remove()
    messages.success(request, f"{endpoint.url} is deleted.")
    return redirect("webhooks")


@require_safe
@login_required
def delivery(request: UserRequest, pk: UUID) -> HttpResponse:
    """One delivery: what is sent, and every attempt with its answer."""
    return render(request, "webhooks/delivery.html", {"delivery": _delivery(request, pk)})


@require_POST
@login_required
def redeliver(request: UserRequest, pk: UUID) -> HttpResponse:
    """Deliver once more, with the same id."""
    found = _delivery(request, pk)
    if found.redeliver():
        messages.success(request, "It goes out again.")
    else:
        messages.warning(request, "The endpoint is disabled; enable it first.")
    return redirect(found)


def _endpoint(request: UserRequest, pk: UUID) -> WebhookEndpoint:
    return get_object_or_404(WebhookEndpoint.objects.visible_to(request.user), pk=pk)


def _delivery(request: UserRequest, pk: UUID) -> WebhookDelivery:
    visible = WebhookDelivery.objects.visible_to(request.user).select_related("endpoint", "request")
    return get_object_or_404(visible, pk=pk)


def _deliveries(request: UserRequest, endpoint: WebhookEndpoint) -> dict[str, Any]:
    """A page of an endpoint's deliveries, and whether one of them is about to change."""
    page = Paginator(endpoint.deliveries.all(), DELIVERIES_PER_PAGE).get_page(request.GET.get("page"))
    soon = timezone.now() + SOON
    moving = [one for one in page if one.next_attempt_at and one.next_attempt_at < soon]
    return {"endpoint": endpoint, "page": page, "is_moving": bool(moving) and endpoint.enabled}


def _show_secret(request: UserRequest, endpoint: WebhookEndpoint) -> HttpResponse:
    """The answer to the very POST that made the secret: it is kept nowhere on the way to another page."""
    return render(request, "webhooks/webhook_secret.html", {"endpoint": endpoint})
