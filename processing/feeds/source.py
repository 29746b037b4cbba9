"""Catalogues at URLs: fetched by the guarded client, and unpacked from gzip or from a ZIP with one file."""

import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from django.conf import settings

from processing.work.fetch import Version, fetch_alone
from products.catalogue import CatalogueError, size_text
from products.catalogue.xlsx import ARCHIVE_ERRORS, open_archive

#: For a whole catalogue, redirects included; it may be much larger than a picture.
FETCH_SECONDS = 300
MAX_NAME_CHARACTERS = 100
PIECE_BYTES = 256 * 1024
#: The `Accept` header: catalogues, compressed ones too, before anything else.
ACCEPT_CATALOGUES = (
    "text/csv,text/tab-separated-values,application/vnd.openxmlformats-officedocument.spreadsheetml.sheet,"
    "application/vnd.ms-excel,application/vnd.oasis.opendocument.spreadsheet,application/xml,text/xml,"
    "application/rss+xml,application/atom+xml,application/json,application/gzip,application/zip,*/*;q=0.8"
)
#: What is given to zlib at once: it copies the rest of that at the end of each member.
BLOCK_BYTES = 4096
_GZIP_START, _ZIP_START = b"\x1f\x8b", b"PK\x03\x04"
#: Members of a ZIP that is a workbook.
_WORKBOOK_MEMBERS = frozenset(("[Content_Types].xml", "mimetype"))
_PACKED = re.compile(r"(?i)\.(gz|zip)$")


class UnpackError(Exception):
    """The archive cannot be unpacked. The message is a sentence for users."""


@dataclass(frozen=True, slots=True)
class FetchedCatalogue:
    """A catalogue with its file name. `data` is None if the host still has the known version."""

    data: bytes | None
    name: str
    version: Version


def fetch_catalogue(
    url: str, *, headers: Mapping[str, str] | None = None, known: Version | None = None
) -> FetchedCatalogue:
    """Fetch a catalogue of at most UPLOAD_MAX_BYTES, conditionally if a version of it is known.

    `headers` are sent to the host of `url` alone. Raises FetchError and UnpackError.
    """
    fetched = fetch_alone(
        url,
        timeout=FETCH_SECONDS,
        max_bytes=settings.UPLOAD_MAX_BYTES,
        accept=ACCEPT_CATALOGUES,
        known=known,
        private_headers=headers,
    )
    data = _unpacked(fetched.data, settings.UPLOAD_MAX_BYTES) if fetched.data else None
    return FetchedCatalogue(data, name_in_url(url), fetched.version)


def name_in_url(url: str) -> str:
    """Return the file name of the catalogue at a URL: the last part of its path, without .gz or .zip."""
    try:
        name = PurePosixPath(unquote(urlsplit(url).path)).name
    except ValueError:  # not a URL after all, which fetching it reports
        name = ""
    name = "".join(character if character.isprintable() else "_" for character in name)
    return _PACKED.sub("", name[-MAX_NAME_CHARACTERS:].lstrip(".")) or "catalogue.csv"


def _unpacked(data: bytes, max_bytes: int) -> bytes:
    """Return the file in a gzip or a ZIP with one file; anything else as it is. Raises UnpackError."""
    try:
        if data.startswith(_GZIP_START):
            return _limited(_gunzipped(data), max_bytes)
        if data.startswith(_ZIP_START) and (archive := _archive(data)):
            return _unzipped(archive, max_bytes)
    except ARCHIVE_ERRORS as error:
        raise UnpackError(f"The archive cannot be unpacked: {error}.") from error
    return data


def _gunzipped(data: bytes) -> Iterator[bytes]:
    """Yield the data of all members of a gzip file."""
    rest = memoryview(data)
    while rest[:2] == _GZIP_START:
        inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
        while not inflater.eof:
            block = rest[:BLOCK_BYTES]
            piece = inflater.decompress(block, PIECE_BYTES)
            rest = rest[len(block) - len(inflater.unconsumed_tail) - len(inflater.unused_data) :]
            if not (block or piece or inflater.eof):
                raise EOFError("it ends early")
            yield piece


def _archive(data: bytes) -> zipfile.ZipFile | None:
    """Return the ZIP; None if it is a workbook, which is read as it is."""
    try:
        archive = open_archive(BytesIO(data))
    except CatalogueError as error:
        raise UnpackError("The ZIP has too many files. It must have one.") from error
    return None if _WORKBOOK_MEMBERS & {*archive.namelist()} else archive


def _unzipped(archive: zipfile.ZipFile, max_bytes: int) -> bytes:
    members = [
        one for one in archive.infolist() if not one.is_dir() and not one.filename.startswith("__MACOSX/")
    ]
    if len(members) != 1:
        raise UnpackError(f"The ZIP has {len(members):,} files. It must have one.")
    with archive.open(members[0]) as file:
        return _limited(iter(lambda: file.read(PIECE_BYTES), b""), max_bytes)


def _limited(pieces: Iterator[bytes], max_bytes: int) -> bytes:
    """Join pieces. Raises UnpackError if they are more than `max_bytes`."""
    whole = BytesIO()
    for piece in pieces:
        whole.write(piece)
        if whole.tell() > max_bytes:
            raise UnpackError(f"The unpacked file is larger than the limit of {size_text(max_bytes)}.")
    return whole.getvalue()
