"""What every template may ask of processing, so that those of products need not know it."""

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from processing.health import no_worker_since
from processing.models import WebhookEndpoint


def workers(request: HttpRequest) -> dict[str, Any]:
    """`no_worker_since`, which costs its query only where a template uses it."""
    return {"no_worker_since": SimpleLazyObject(no_worker_since)}


def webhooks(request: HttpRequest) -> dict[str, Any]:
    """`webhooks_given_up`: the visitor's endpoints that were disabled without their doing."""
    if not request.user.is_authenticated:
        return {}
    return {"webhooks_given_up": WebhookEndpoint.objects.given_up().filter(owner=request.user.pk)}
