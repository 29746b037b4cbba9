"""The command line: Django's, with our commands first and errors of an installation as one sentence."""

import os
import sys
import traceback
from argparse import ArgumentParser

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import ManagementUtility, get_commands, load_command_class
from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError

#: Apps whose commands are listed first.
OUR_APPS = {"imageextractor", "processing", "products", "django_dramatiq"}


class CommandLine(ManagementUtility):
    """Django's command line with our commands listed first. Embedded, the database needs no preparation."""

    def execute(self) -> None:
        """Run the command. Settings depend on the address of `serve`, so it is read before them."""
        if self.argv[1:2] == ["serve"]:
            parser = CommandParser(add_help=False)
            add_bind_argument(parser)
            bind = parser.parse_known_args(self.argv[2:])[0].bind
            if is_bindable(bind):  # else the command says so
                os.environ["SERVE_BIND"] = bind
        super().execute()

    def main_help_text(self, commands_only: bool = False) -> str:
        """Return the list of commands. Programs that complete names ask for `commands_only`."""
        text = super().main_help_text(commands_only)
        ours = {name: app for name, app in get_commands().items() if app.split(".")[0] in OUR_APPS}
        if commands_only or not ours:  # none where the settings cannot be loaded
            return text
        width = max(map(len, ours))
        lines = [f"  {name:<{width}}  {_first_sentence(name, app)}" for name, app in sorted(ours.items())]
        return "\n".join(["", "Image Extractor:", *lines, "", "All commands:", text])

    def fetch_command(self, subcommand: str) -> BaseCommand:
        """Load a command. Embedded, create or migrate the database before it if it needs one."""
        command = super().fetch_command(subcommand)
        is_to_run = subcommand == self.argv[1]  # and is not the subject of `help`
        if is_to_run and command.requires_migrations_checks and settings.EMBEDDED:
            # Not at the top: importing it reads the settings, whose errors `main` reports.
            from processing.workers.embedded import migrate_unless_running  # noqa: PLC0415

            migrate_unless_running()
        return command


def add_bind_argument(parser: ArgumentParser) -> None:
    """Add the option of `serve` for the address that it listens on."""
    parser.add_argument("--bind", default="127.0.0.1:8000", metavar="HOST:PORT", help="default: %(default)s")


def is_bindable(address: str) -> bool:
    """Return whether `address` is a host and a port number."""
    host, _, port = address.rpartition(":")
    return bool(host) and port.isdecimal() and int(port) <= 65_535


def main(argv: list[str]) -> int:
    """Run a command and return the exit status: of `extract` 3 if it fails, because 1 means failed images."""
    failed = 3 if argv[1:2] == ["extract"] else 1
    try:
        CommandLine(argv).execute()
    except ImproperlyConfigured as error:
        print(f"Error: {error}", file=sys.stderr)
        return failed
    except DatabaseError as error:
        from imageextractor.checks import database_problem  # noqa: PLC0415  # reads the settings

        if sentence := database_problem(error):
            print(f"Error: {sentence}", file=sys.stderr)
        else:
            traceback.print_exc()
        return failed
    except Exception:
        traceback.print_exc()
        return failed
    return 0


def _first_sentence(name: str, app: str) -> str:
    return load_command_class(app, name).help.partition(". ")[0].rstrip(".") + "."
