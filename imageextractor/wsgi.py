"""The WSGI application."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "imageextractor.settings")
django_application = get_wsgi_application()

from django.conf import settings  # noqa: E402 (settings can be read only once they are named)

from imageextractor.uploads import max_form_bytes  # noqa: E402 (reads settings)
from processing import runtime  # noqa: E402 (reads settings)

runtime.current.check_web_process()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Call Django. It would read nothing of a chunked body, so such a body gets its limit as its length."""
    if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
        is_form = environ.get("CONTENT_TYPE", "").lower().startswith("multipart/form-data")
        limit = max_form_bytes() if is_form else settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        environ["CONTENT_LENGTH"] = str(limit)
    return django_application(environ, start_response)
