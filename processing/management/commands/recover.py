from typing import Any

from django.core.management.base import BaseCommand

from processing.workers.recovery import recover


class Command(BaseCommand):
    help = "Runs recovery once: releases images of dead workers and sends lost messages again."
    requires_migrations_checks = True

    def handle(self, *args: Any, **options: Any) -> None:
        done = recover()
        self.stdout.write(
            f"images released: {done.images_released}, requests sent again: {done.requests_sent}, "
            f"webhook endpoints enqueued: {done.endpoints_sent}"
        )
