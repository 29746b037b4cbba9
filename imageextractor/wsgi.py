"""The WSGI application."""

import os

from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "imageextractor.settings")
application = get_wsgi_application()

from django.conf import settings  # noqa: E402 (settings can be read only once they are named)

if settings.EMBEDDED and not settings.SERVE_BIND:
    raise ImproperlyConfigured(
        "Without REDIS_URL the worker lives in the serving process: start it with `manage.py serve`, "
        "or set REDIS_URL and run `manage.py rundramatiq` beside gunicorn."
    )
