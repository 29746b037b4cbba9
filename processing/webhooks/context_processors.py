"""Template variables about webhooks."""

from typing import Any

from django.http import HttpRequest

from processing.webhooks.models import WebhookEndpoint


def webhooks(request: HttpRequest) -> dict[str, Any]:
    """`webhooks_given_up`: the visitor's endpoints that were disabled without their doing."""
    if not request.user.is_authenticated:
        return {}
    return {"webhooks_given_up": WebhookEndpoint.objects.given_up().filter(owner=request.user.pk)}
