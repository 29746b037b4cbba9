import json
import logging
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from django.core.files import File
from django.core.management.base import BaseCommand, CommandError
from rest_framework.exceptions import ValidationError
from rest_framework.fields import Field
from tqdm import tqdm

from processing import runtime
from processing.monitoring.health import no_worker_sentence, no_worker_since
from processing.workers import embedded
from products import lifecycle
from products.accounts.authentication import local_user
from products.api.serializers import BaseUrlField, ColumnsField, EncodingField
from products.catalogue import CatalogueError, Reading
from products.models import Format, Request
from products.models.image import WaitingHost
from products.results.result_csv import result_csv

POLL_SECONDS = 0.2
#: Seconds between two lines of progress where there is no terminal for a bar.
LINE_SECONDS = 5
#: Seconds between two queries for what is waited for, and hosts that are named.
WAITING_SECONDS = 1
MAX_WAITING_HOSTS = 3


class Command(BaseCommand):
    help = (
        "Processes one catalogue. Exit status: 0 all images completed, 1 some failed, 2 the file was refused."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("-o", "--output", type=Path, metavar="OUT.csv", help="default: FILE.result.csv")
        parser.add_argument("--quality", type=quality, default=50, metavar="1-95", help="default: 50")
        parser.add_argument("--format", choices=Format.values, default=Format.JPEG)
        parser.add_argument("--max-width", type=pixels, metavar="PIXELS")
        parser.add_argument("--max-height", type=pixels, metavar="PIXELS")
        parser.add_argument("--strict", action="store_true", help="refuse the file if any row or cell is bad")
        parser.add_argument("--force", action="store_true", help="fetch unchanged images again")
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
        logging.getLogger("processing").setLevel(logging.WARNING)  # Progress shows what INFO would log
        output = options["output"] or options["file"].with_suffix(".result.csv")
        partial = output.with_name(output.name + ".part")
        try:
            partial.touch()
        except OSError as error:
            raise CommandError(f"{output}: {error.strerror}", returncode=3) from error
        try:
            batch = self._run(options)
            try:
                with partial.open("wb") as file:
                    file.writelines(result_csv(batch))
                partial.replace(output)  # the result appears complete or not at all
            except OSError as error:
                raise CommandError(f"{output}: {error.strerror}", returncode=3) from error
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        self._report(batch, output)
        if batch.status != Request.Status.COMPLETED:
            sys.exit(1)

    def _run(self, options: dict[str, Any]) -> Request:
        works_here = runtime.current.worker_in_web_process and embedded.lock_data_dir()
        if works_here:
            embedded.migrate()
        batch = self._submit(options)
        # In a cluster, or without the lock, other processes do the work and this one only follows.
        with embedded.worker() if works_here else nullcontext():
            try:
                Progress(batch, follows_others=not works_here).follow()
            except KeyboardInterrupt:
                lifecycle.cancel(batch)
                raise CommandError("Canceled. No result was written.", returncode=130) from None
        return batch

    def _submit(self, options: dict[str, Any]) -> Request:
        names = ("quality", "format", "max_width", "max_height", "strict", "force")
        chosen = {name: options[name] for name in names}
        chosen |= {name: options[name] for name in Reading.__annotations__ if options[name]}
        # The bytes of a file's name may be in any encoding, but only text can be stored.
        filename = options["file"].name.encode(errors="surrogateescape").decode(errors="replace")
        try:
            with options["file"].open("rb") as file:
                batch, _is_new = lifecycle.submit(local_user(), File(file, filename), **chosen)
        except OSError as error:
            raise CommandError(f"{options['file']}: {error.strerror}", returncode=2) from error
        except CatalogueError as error:
            for problem in error.problems:
                place = f"line {problem.line}: " if problem.line else ""
                self.stderr.write(f"{place}{problem.detail}")
            sys.exit(2)
        return batch

    def _report(self, batch: Request, output: Path) -> None:
        if batch.error:
            self.stderr.write(batch.error)
        counts = (
            f"{batch.images_completed} of {batch.images_total} images completed, {batch.images_failed} failed"
        )
        self.stdout.write(f"{counts}; {batch.bytes_source:,} bytes became {batch.bytes_output:,}")
        for image in batch.images.failed()[:20]:
            self.stdout.write(f"  {image.error_code}  {image.url}\n    {image.error_detail}")
        if batch.images_failed > 20:
            self.stdout.write(f"  … and {batch.images_failed - 20} more, all in the result")
        self.stdout.write(f"result: {output}")


def quality(text: str) -> int:
    """Parse a quality."""
    if not text.isdecimal() or not 1 <= int(text) <= 95:
        raise ArgumentTypeError("a whole number from 1 to 95")
    return int(text)


def pixels(text: str) -> int:
    """Parse a width or height."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError("a whole number of pixels from 1")
    return int(text)


def checked_by(field: Field[Any, Any, Any, Any]) -> Callable[[str], Any]:
    """Return a parser of arguments that accepts what a field of the API accepts."""

    def convert(text: str) -> Any:
        try:
            return field.run_validation(text)
        except ValidationError as error:
            detail = error.detail if isinstance(error.detail, list) else [json.dumps(error.detail)]
            raise ArgumentTypeError(" ".join(map(str, detail))) from error

    return convert


def waiting_text(host: WaitingHost) -> str:
    """Return what is waited for, how many images wait, and in how many seconds the next try is."""
    images = "1 image waits" if host.images == 1 else f"{host.images:,} images wait"
    return f"{images} for {host.host}, next try in {host.seconds:,} s"


class Progress:
    """Shows the progress of a Request on stderr: a bar in a terminal, plain lines elsewhere.

    With `follows_others` it also warns when none of the other worker processes is alive.
    """

    def __init__(self, batch: Request, *, follows_others: bool) -> None:
        self._batch = batch
        self._follows_others = follows_others
        self._warned = False
        self._printed_at = 0.0
        self._waiting, self._asked_at = "", 0.0

    def follow(self) -> None:
        """Return when the Request has finished."""
        batch = self._batch
        with tqdm(unit="img", disable=not sys.stderr.isatty(), dynamic_ncols=True) as bar:
            while batch.is_active:
                time.sleep(POLL_SECONDS)
                batch.refresh_from_db()
                bar.total = batch.images_total
                self._look_for_waiting()
                facts = filter(None, [f"failed={batch.images_failed}", self._waiting])
                bar.set_postfix_str("; ".join(facts), refresh=bool(self._waiting))
                bar.update(batch.images_settled - bar.n)
                if bar.disable:
                    self._print()
                if self._follows_others and batch.is_active:
                    self._warn()

    def _print(self) -> None:
        batch, now = self._batch, time.monotonic()
        if now - self._printed_at >= LINE_SECONDS or not batch.is_active:
            self._printed_at = now
            counts = (
                f"{batch.images_settled} of {batch.images_total} images done, {batch.images_failed} failed"
            )
            print(*filter(None, [counts, self._waiting]), sep="; ", file=sys.stderr, flush=True)

    def _look_for_waiting(self) -> None:
        """Name the hosts that images wait for, a second after the last time."""
        now = time.monotonic()
        if now - self._asked_at >= WAITING_SECONDS:
            self._asked_at = now
            hosts = self._batch.images.waiting_by_host() if self._batch.is_active else []
            self._waiting = "; ".join(map(waiting_text, hosts[:MAX_WAITING_HOSTS]))

    def _warn(self) -> None:
        """Warn once each time no worker is left, with the command that starts one."""
        since = no_worker_since()
        if since and not self._warned:
            command = f"python manage.py {runtime.current.worker_command}"
            advice = f"Start one with `{command}`; this command then continues by itself."
            tqdm.write(f"{no_worker_sentence(since)} {advice}", file=sys.stderr)
        self._warned = since is not None
