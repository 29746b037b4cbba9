import logging
import sys
from argparse import ArgumentParser
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from processing import runtime
from processing.management.extraction.arguments import add_recipe_arguments, checked_by
from processing.management.extraction.progress import Progress, summary
from processing.management.extraction.result import (
    FAILED,
    STYLES,
    Output,
    make_folder,
    result,
    save_images,
)
from processing.management.extraction.source import (
    STANDARD_INPUT,
    SourceError,
    is_url,
    open_source,
    source_name,
)
from processing.workers import embedded
from products import lifecycle
from products.accounts.authentication import local_user
from products.api.options import BaseUrlField, ColumnsField, EncodingField
from products.catalogue import CatalogueError, Reading
from products.lifecycle import OptionsRefused
from products.models import Request
from products.models.files import StorageUnavailable
from products.models.recipes import RECIPE_OPTIONS

STANDARD_OUTPUT = "-"
#: The same command goes on with a request that was interrupted within this time.
RESUME_WITHIN = timedelta(hours=24)
REFUSED, INTERRUPTED = 2, 130


class Command(BaseCommand):
    help = (
        "Processes one catalogue. Exit status: 0 all images completed, 1 some failed, 2 the source cannot be "
        "read or was refused, 3 anything else, 130 interrupted."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "source", metavar="SOURCE", help="a file, - for standard input, or an http(s) URL"
        )
        parser.add_argument(
            "-o",
            "--output",
            metavar="OUT.csv",
            help="- for standard output; default: SOURCE.result.csv beside a file, or in this folder for a "
            "URL; standard output for -",
        )
        parser.add_argument(
            "--style",
            choices=STYLES,
            default=STYLES[0],
            help="result: the catalogue with more columns (default); replace: with the new URLs in place of "
            "the old ones; failed: rows with failures; changes: what differs from the latest earlier request",
        )
        parser.add_argument("--excel", action="store_true", help="a result for Excel; no cell is a formula")
        parser.add_argument(
            "--images", type=Path, metavar="DIR", help="also write the pictures there, named by serial number"
        )
        add_recipe_arguments(parser)
        parser.add_argument(
            "--strict", action="store_true", default=None, help="refuse the file if any row or cell is bad"
        )
        parser.add_argument(
            "--force",
            action="store_true",
            default=None,
            help="fetch unchanged images again, and do not go on with an interrupted request",
        )
        parser.add_argument(
            "--profile",
            metavar="NAME",
            help='name or id of a profile, whose options apply where none are given here; "" for none; '
            "default: the newest with the header of the file",
        )
        parser.add_argument("--encoding", type=checked_by(EncodingField()), help="default: detected")
        parser.add_argument(
            "--columns",
            type=checked_by(ColumnsField()),
            metavar="JSON",
            help='names of columns instead of detection: {"serial": "…", "name": "…", "images": ["…"]}',
        )
        parser.add_argument(
            "--base-url", type=checked_by(BaseUrlField()), help="base of relative image paths"
        )
        parser.add_argument(
            "--sheet", help="sheet of a workbook, by name or number; default: the first with known columns"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self._batch: Request | None = None
        self._works_here = False
        logger = logging.getLogger("processing")
        level = logger.level
        logger.setLevel(logging.WARNING)  # Progress shows what INFO would log
        try:
            status = self._extract(options)
        except KeyboardInterrupt:
            self._say(self._stopped(force=bool(options["force"])))
            status = INTERRUPTED
        except StorageUnavailable as error:
            raise CommandError(error.detail, returncode=FAILED) from error
        finally:
            logger.setLevel(level)
        if status:
            sys.exit(status)

    def _extract(self, options: dict[str, Any]) -> int:
        """Do the whole job, and return the exit status."""
        folder, style = options["images"], options["style"]
        if folder:
            make_folder(folder)
        with Output(output_path(options)) as output:
            batch = self._run(options)
            output.write(result(batch, style, for_excel=options["excel"]))
        saved = save_images(batch, folder) if folder else 0
        for line in summary(batch):
            self._say(line)
        if output.path:
            self._say(f"result: {output.path}")
        if folder:
            self._say(f"pictures: {saved:,} in {folder}")
        if self._works_here and batch.images_completed and not settings.AWS_STORAGE_BUCKET_NAME:
            self._say(
                f"The new URLs begin with {settings.PUBLIC_URL} and open only while a service runs there: "
                "`python manage.py serve`. PUBLIC_URL sets another address"
                + ("." if folder else "; --images DIR writes the pictures into a folder.")
            )
        if batch.error or batch.status == Request.Status.CANCELED:
            return FAILED
        return int(batch.status != Request.Status.COMPLETED)

    def _run(self, options: dict[str, Any]) -> Request:
        self._works_here = runtime.current.worker_in_web_process and embedded.lock_data_dir()
        if self._works_here:
            embedded.migrate()
        self._batch = batch = self._submit(options)
        # In a cluster, or without the lock, other processes do the work and this one only follows.
        try:
            with embedded.worker() if self._works_here else nullcontext():
                Progress(batch, follows_others=not self._works_here).follow()
        except KeyboardInterrupt:
            batch.refresh_from_db()
            if batch.is_active:  # its last images may have finished while the worker stopped
                raise
        return batch

    def _submit(self, options: dict[str, Any]) -> Request:
        names = (*RECIPE_OPTIONS, "strict", "force", *Reading.__annotations__)
        given = {name: options[name] for name in names if options[name] is not None}
        resume_since = None if options["force"] else timezone.now() - RESUME_WITHIN
        owner, wanted = local_user(), options["profile"]
        try:
            with open_source(options["source"]) as file:
                profile, chosen = lifecycle.choose_options(owner, file, given, wanted)
                batch, is_new = lifecycle.submit(
                    owner,
                    file,
                    resume_since=resume_since,
                    profile=profile,
                    said={**given, "profile": wanted},
                    **chosen,
                )
        except OptionsRefused as error:
            ((name, sentence), *_others) = error.problems.items()
            flag = f"--{name.replace('_', '-')}"
            raise CommandError(f"argument {flag}: {sentence}", returncode=REFUSED) from error
        except SourceError as error:
            raise CommandError(str(error), returncode=REFUSED) from error
        except CatalogueError as error:
            for problem in error.problems:
                place = f"line {problem.line}: " if problem.line else ""
                self.stderr.write(f"{place}{problem.detail}")
            sys.exit(REFUSED)
        if profile:
            self._say(f"profile: {profile.name}")
        if not is_new:
            counts = f"{batch.images_settled:,} of {batch.images_total:,} images done"
            self._say(f"Going on with the unfinished request of the same catalogue: {counts}.")
        return batch

    def _stopped(self, *, force: bool) -> str:
        """Return what an interrupt has left. With `force` nobody would go on with a request, so cancel it."""
        if self._batch is None:
            return "Interrupted before anything was submitted."
        if not self._works_here:
            url = f"{settings.PUBLIC_URL}{self._batch.get_absolute_url()}"
            return (
                f"Stopped following. The work goes on: {url}. No result was written; until the work is done, "
                "the same command follows it again."
            )
        if force:
            lifecycle.cancel(self._batch)
            return "Canceled. No result was written; with --force the same command starts anew."
        return (
            "Interrupted. No result was written. Within 24 hours the same command goes on where this one "
            "stopped; with --force it starts anew."
        )

    def _say(self, message: str) -> None:
        """Write a message that is no error, to stderr: stdout may be the result."""
        self.stderr.write(message, str)


def output_path(options: dict[str, Any]) -> Path | None:
    """Return the file of the result; None for standard output."""
    source, output = options["source"], options["output"]
    if output == STANDARD_OUTPUT or (source == STANDARD_INPUT and not output):
        return None
    if output:
        return Path(output)
    path = Path(source_name(source)) if is_url(source) else Path(source)
    if not path.name or path.name == "..":
        raise CommandError(f"{source!r} is not a file.", returncode=REFUSED)
    return path.with_suffix(f".{options['style']}.csv")
