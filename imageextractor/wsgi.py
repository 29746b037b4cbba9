"""The WSGI application."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "imageextractor.settings")
django_application = get_wsgi_application()

from django.conf import settings  # noqa: E402 (settings can be read only once they are named)

from imageextractor.uploads import largest_form  # noqa: E402 (reads settings)

if settings.EMBEDDED and not settings.SERVE_BIND:
    raise ImproperlyConfigured(
        "Without REDIS_URL the worker lives in the serving process: start it with `manage.py serve`, "
        "or set REDIS_URL and run `manage.py rundramatiq` beside gunicorn."
    )


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Django, told how much to read of a body that comes in chunks: by itself it would read nothing."""
    if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
        is_form = environ.get("CONTENT_TYPE", "").lower().startswith("multipart/form-data")
        limit = largest_form() if is_form else settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        environ["CONTENT_LENGTH"] = str(limit)
    return django_application(environ, start_response)
