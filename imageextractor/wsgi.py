"""The WSGI application."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "imageextractor.settings")
application = get_wsgi_application()

from processing import runtime  # noqa: E402 (reads settings)

runtime.current.check_web_process()
