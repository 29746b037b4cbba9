import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from processing import embedded


class Command(BaseCommand):
    help = "Runs the web server and, without REDIS_URL, the worker in the same process."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--bind", default="127.0.0.1:8000", metavar="HOST:PORT")

    def handle(self, *args: Any, **options: Any) -> None:
        """Become gunicorn: the address decides settings, which are read anew there."""
        bind = options["bind"]
        if not bind.rpartition(":")[2].isdigit():
            raise CommandError(f"--bind takes HOST:PORT, such as 127.0.0.1:8000, not {bind!r}.")
        if settings.EMBEDDED:
            if not embedded.lock_data_dir():
                raise CommandError(f"Another `serve` or `extract` is at work in {settings.DATA_DIR}.")
            embedded.migrate()
        gunicorn = [sys.executable, "-m", "gunicorn", "-c", "python:imageextractor.gunicorn_conf"]
        os.execve(  # noqa: S606 (our own interpreter, no shell)
            sys.executable, [*gunicorn, "imageextractor.wsgi"], os.environ | {"SERVE_BIND": bind}
        )
