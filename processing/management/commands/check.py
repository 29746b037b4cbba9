"""Django's command, which also says how JPEGs are recompressed."""

from typing import Any

from django.core.management.commands import check

from processing.compress import jpeg_codec


class Command(check.Command):
    def handle(self, *app_labels: Any, **options: Any) -> None:
        super().handle(*app_labels, **options)
        if not options["list_tags"]:
            self.stdout.write(f"JPEG codec: {jpeg_codec()}")
