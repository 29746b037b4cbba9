import platform
from typing import Any

import django
from django.conf import settings
from django.core.management.base import BaseCommand

from imageextractor import __version__


class Command(BaseCommand):
    help = "Prints the version of Image Extractor, and in which mode it runs."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"Image Extractor {__version__}")
        mode = "embedded" if settings.EMBEDDED else "cluster"
        self.stdout.write(f"Python {platform.python_version()}, Django {django.get_version()}, {mode}")
