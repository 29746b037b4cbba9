"""Results of `extract`: a file or standard output, and the pictures in a folder."""

import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from django.core.files.storage import default_storage
from django.core.management.base import CommandError

from products.models import Request
from products.models.files import STORAGE_ERRORS
from products.results.changes import State, changes_csv
from products.results.result_csv import result_csv
from products.results.zip_archive import named_outputs

STYLES = ("result", "replace", "failed", "changes")
#: Exit status where a result cannot be written.
FAILED = 3


class Output:
    """Where the result goes: a file that appears complete or not at all, or standard output (`path` None).

    A file is tried on entering, before any work is done. Raises CommandError.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._partial = path.with_name(path.name + ".part") if path else None

    def __enter__(self) -> Self:
        if self._partial:
            with _explained(str(self.path)):
                self._partial.touch()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._partial:
            with suppress(OSError):
                self._partial.unlink(missing_ok=True)

    def write(self, pieces: Iterable[bytes]) -> None:
        if self.path and self._partial:
            with _explained(str(self.path)):
                with self._partial.open("wb") as file:
                    file.writelines(pieces)
                self._partial.replace(self.path)
            return
        with _explained("standard output"):
            try:
                sys.stdout.buffer.writelines(pieces)
                sys.stdout.buffer.flush()
            except BrokenPipeError:
                # Python would flush the rest at its end and print a second error.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise


def result(batch: Request, style: str, *, for_excel: bool) -> Iterator[bytes]:
    """Yield the result of a Request in one of STYLES. Raises CommandError."""
    with _explained("The stored catalogue cannot be read"):
        if style == "changes":
            earlier = batch.earlier
            yield from changes_csv(State(batch), State(earlier) if earlier else None, for_excel=for_excel)
        else:
            is_replacing, only_failed = style == "replace", style == "failed"
            yield from result_csv(batch, replace=is_replacing, only_failed=only_failed, for_excel=for_excel)


def make_folder(folder: Path) -> None:
    """Create a folder for pictures unless it exists. Raises CommandError."""
    with _explained(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise CommandError(f"{folder}: files cannot be written there.", returncode=FAILED)


def save_images(batch: Request, folder: Path) -> int:
    """Write the output pictures into a folder, named as in the ZIP, and return their number.

    Each file appears complete or not at all; one of the same name is overwritten. Raises CommandError.
    """
    count = 0
    with _explained(str(folder)):
        for count, (name, key) in enumerate(named_outputs(batch), 1):  # noqa: B007 (the number of the last)
            partial = folder / f"{name}.part"
            try:
                with default_storage.open(key) as source, partial.open("wb") as target:
                    shutil.copyfileobj(source, target)
                partial.replace(folder / name)
            finally:
                partial.unlink(missing_ok=True)
    return count


@contextmanager
def _explained(place: str) -> Iterator[None]:
    """Raise errors of a disk or of the storage as CommandError that names the place."""
    try:
        yield
    except STORAGE_ERRORS as error:
        reason = getattr(error, "strerror", None) or error
        raise CommandError(f"{place}: {reason}", returncode=FAILED) from error
