"""Gunicorn's settings, for `manage.py serve` and for `gunicorn -c python:imageextractor.gunicorn_conf`."""

import os
import signal
import sys
from typing import Any

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "imageextractor.settings")
django.setup()

from imageextractor.settings import is_loopback  # noqa: E402 (needs what setup() has read)
from processing import runtime  # noqa: E402 (reads settings)
from processing.storage.outputs import require_bucket  # noqa: E402 (reads settings)
from processing.workers import embedded  # noqa: E402 (has models)
from products.accounts.first_account import make_first_account  # noqa: E402 (has models)

runtime.current.check_web_process()

worker_class = "imageextractor.server.worker.BufferingWorker"
threads = 8
worker_connections = 400  # in each process
workers = runtime.current.web_processes
timeout = 120  # seconds after which a stuck process is killed; an upload may take longer
graceful_timeout = 25  # seconds for uploads in progress at a stop; less than the 30 s that compose.yaml gives
keepalive = 75  # seconds; longer than proxies keep idle connections, so that none writes to a closed one
control_socket_disable = True
# The process writes its heartbeats to a file, which should not be on a disk that may be busy.
_memory = "/dev/shm"  # noqa: S108 (gunicorn makes a file of a random name there)
worker_tmp_dir = _memory if os.access(_memory, os.W_OK) else None

# Gunicorn's own log lines look like all others.
logconfig_dict = settings.LOGGING | {
    "loggers": settings.LOGGING["loggers"] | {"gunicorn.error": {"handlers": ["console"], "propagate": False}}
}

if settings.SERVE_BIND:
    bind = settings.SERVE_BIND


def on_starting(server: Any) -> None:
    """End the start where the bucket cannot be used, or DEBUG is on and other machines can connect.

    Only gunicorn knows its address where `manage.py serve` did not choose it. Also make the first account.
    """
    hosts = [address[0] for address in server.cfg.address if isinstance(address, tuple)]
    if settings.DEBUG and not all(map(is_loopback, hosts)):
        sys.exit("Error: DEBUG is accepted only on a loopback address, not with --bind {}.".format(*hosts))
    try:
        require_bucket()
        if not settings.OPEN_ACCESS:
            _make_first_account(server.log)
    except ImproperlyConfigured as error:
        sys.exit(f"Error: {error}")


def _make_first_account(log: Any) -> None:
    """Make the first account, or log a link that does. If the database is down, a later start does."""
    try:
        if path := make_first_account():
            log.info(
                "Nobody can log in yet. Choose a password within 3 days: %s%s", settings.PUBLIC_URL, path
            )
    except DatabaseError as error:
        log.warning("The first account could not be looked for: %s", str(error).strip())
    finally:
        connection.close()  # processes that are forked from here may not share it


def when_ready(server: Any) -> None:
    """Log the address to open."""
    server.log.info("Open %s", settings.PUBLIC_URL)


def post_worker_init(worker: Any) -> None:
    """Start the worker's threads where they run in the web process."""
    # Ctrl-C in a terminal reaches this process too. A second signal, from the arbiter, would hang it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if runtime.current.worker_in_web_process:
        embedded.start()


def worker_exit(server: Any, worker: Any) -> None:
    """Let the worker's threads finish their pictures."""
    embedded.stop()
