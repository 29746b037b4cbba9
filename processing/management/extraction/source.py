"""Catalogues for `extract`: a file, standard input or a URL."""

import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from django.conf import settings
from django.core.files import File

from processing.feeds.source import UnpackError, fetch_catalogue, name_in_url
from processing.work.fetch import FetchError

STANDARD_INPUT = "-"
PIECE_BYTES = 65_536


class SourceError(Exception):
    """The source cannot be read. The message is a sentence for users."""


@contextmanager
def open_source(source: str) -> Iterator["File[bytes]"]:
    """Open a catalogue for reading and seeking. Raises SourceError.

    Of standard input and other pipes, at most one byte more than UPLOAD_MAX_BYTES is read.
    """
    with ExitStack() as stack:
        try:
            if is_url(source):
                file: IO[bytes] = _fetched(source)
            elif source == STANDARD_INPUT:
                file = stack.enter_context(_copied(sys.stdin.buffer))
            else:
                file = stack.enter_context(Path(source).open("rb"))
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    file = stack.enter_context(_copied(file))
        except OSError as error:
            name = "standard input" if source == STANDARD_INPUT else source
            raise SourceError(f"{name}: {error.strerror or error}") from error
        yield File(file, source_name(source))


def is_url(source: str) -> bool:
    return bool(re.match("https?://", source, re.IGNORECASE))


def source_name(source: str) -> str:
    """Return the file name of a catalogue: of a URL, the last part of its path."""
    if source == STANDARD_INPUT:
        return "stdin.csv"
    if not is_url(source):
        # The bytes of a file's name may be in any encoding, but only text can be stored.
        return Path(source).name.encode(errors="surrogateescape").decode(errors="replace")
    return name_in_url(source)


def _fetched(url: str) -> BytesIO:
    try:
        return BytesIO(fetch_catalogue(url).data or b"")
    except FetchError as error:
        raise SourceError(f"{url}: {error.detail}") from error
    except UnpackError as error:
        raise SourceError(f"{url}: {error}") from error


@contextmanager
def _copied(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    """Copy a stream that cannot seek into a temporary file."""
    left = settings.UPLOAD_MAX_BYTES + 1
    with TemporaryFile() as copy:
        while piece := stream.read(min(PIECE_BYTES, left)):
            copy.write(piece)
            left -= len(piece)
        copy.seek(0)
        yield copy
