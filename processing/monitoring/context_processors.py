"""What every template may ask of processing, so that those of products need not know it."""

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from processing.monitoring.health import no_worker_since


def workers(request: HttpRequest) -> dict[str, Any]:
    """`no_worker_since`, which costs its query only where a template uses it."""
    return {"no_worker_since": SimpleLazyObject(no_worker_since)}
