"""Gunicorn's settings, for `manage.py serve` and for `gunicorn -c python:imageextractor.gunicorn_conf`."""

import os
import signal
from typing import Any

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "imageextractor.settings")
django.setup()

from imageextractor.settings import is_loopback  # noqa: E402 (needs what setup() has read)
from processing.storage.outputs import require_bucket  # noqa: E402 (reads settings)
from processing.workers import embedded  # noqa: E402 (has models)

worker_class = "gthread"
threads = 8
# Embedded there is one process, since the broker lives in it.
workers = 1 if settings.EMBEDDED else 2
timeout = 120  # of a process that is stuck; an upload may take as long as it needs
graceful_timeout = 25  # for uploads under way at a stop; below the 30 s that compose.yaml gives
keepalive = 75  # longer than proxies keep idle connections, so that none sends into one that is closing
control_socket_disable = True

# Gunicorn's own lines look like all others.
logconfig_dict = settings.LOGGING | {
    "loggers": settings.LOGGING["loggers"] | {"gunicorn.error": {"handlers": ["console"], "propagate": False}}
}

if settings.SERVE_BIND:
    bind = settings.SERVE_BIND


def on_starting(server: Any) -> None:
    """Refuse a bucket that cannot be used, and DEBUG on an address that others reach: without `serve` only
    gunicorn knows it."""
    hosts = [address[0] for address in server.cfg.address if isinstance(address, tuple)]
    if settings.DEBUG and not all(map(is_loopback, hosts)):
        raise ImproperlyConfigured("DEBUG is for a loopback address alone, not for --bind {}.".format(*hosts))
    require_bucket()


def when_ready(server: Any) -> None:
    """Say where to look."""
    server.log.info("Open %s", settings.PUBLIC_URL)


def post_worker_init(worker: Any) -> None:
    """Embedded, start the worker's threads in the process that serves."""
    # Ctrl-C in a terminal reaches this process, too; a second signal, the arbiter's, would hang its shutdown.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if settings.EMBEDDED:
        embedded.start()


def worker_exit(server: Any, worker: Any) -> None:
    """Let them finish what they have in hand."""
    embedded.stop()
