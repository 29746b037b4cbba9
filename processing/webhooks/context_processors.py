"""Template variables about webhooks."""

from typing import Any

from django.http import HttpRequest

from processing.webhooks.models import WebhookEndpoint


def webhooks(request: HttpRequest) -> dict[str, Any]:
    """Add `disabled_endpoints`: the user's endpoints that were not disabled by the user."""
    if not request.user.is_authenticated:
        return {}
    endpoints = WebhookEndpoint.objects.disabled_by_system()
    return {"disabled_endpoints": endpoints.filter(owner=request.user.pk)}
