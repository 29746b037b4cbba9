import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection

from processing import runtime
from processing.workers import embedded


class Command(BaseCommand):
    help = "Runs the web server and, without REDIS_URL, the worker in the same process."
    requires_system_checks = ["sqlite"]

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--bind", default="127.0.0.1:8000", metavar="HOST:PORT", help="default: %(default)s"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Replace this process by gunicorn, which loads the settings again with SERVE_BIND."""
        bind = options["bind"]
        host, _, port = bind.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65_535:
            raise CommandError(f"--bind must be HOST:PORT, such as 127.0.0.1:8000, not {bind!r}.")
        if host in {"0.0.0.0", "[::]"} and "PUBLIC_URL" not in os.environ:  # noqa: S104 (only compared)
            self.stderr.write(
                f"Links begin with http://localhost:{port}, which other machines cannot open. Set PUBLIC_URL "
                "to the URL that people open: links begin with it, and requests for its host are accepted."
            )
        if runtime.current.worker_in_web_process:
            if not embedded.lock_data_dir():
                raise CommandError(
                    f"Another `serve` or `extract` is running in {settings.DATA_DIR}. "
                    "Set another DATA_DIR to run a second service."
                )
            try:
                connection.ensure_connection()
            except OperationalError as error:
                if connection.vendor == "sqlite":
                    raise
                raise CommandError(f"The database does not answer: {error}".strip()) from error
            embedded.migrate()
        gunicorn = [sys.executable, "-m", "gunicorn", "-c", "python:imageextractor.gunicorn_conf"]
        os.execve(  # noqa: S606 (our own interpreter, no shell)
            sys.executable, [*gunicorn, "imageextractor.wsgi"], os.environ | {"SERVE_BIND": bind}
        )
