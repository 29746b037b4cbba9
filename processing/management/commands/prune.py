from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from processing.workers.prune import prune
from products.models.files import STORAGE_ERRORS


class Command(BaseCommand):
    help = "Deletes requests that finished long ago, and stored files that no request uses."
    requires_migrations_checks = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--older-than", type=days, required=True, metavar="DAYS")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.stdout.write(str(prune(options["older_than"])))
        except STORAGE_ERRORS as error:
            raise CommandError(
                f"Some files could not be deleted because the storage failed: {error}"
            ) from error


def days(text: str) -> int:
    """Parse a number of days."""
    if not (text.isascii() and text.isdecimal()):
        raise ArgumentTypeError("a whole number of days from 0")
    return int(text)
