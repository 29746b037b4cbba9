from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from products.accounts.models import ApiToken


class Command(BaseCommand):
    help = "Creates an API token for a user and prints it. It is shown only once."
    requires_migrations_checks = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", help="user name")
        parser.add_argument("--name", default="", help="what the token is for")

    def handle(self, *args: Any, **options: Any) -> None:
        user = get_user_model().objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(
                f"There is no user {options['user']!r}. Create one with `manage.py createsuperuser`."
            )
        self.stdout.write(ApiToken.objects.issue(user, options["name"]))
