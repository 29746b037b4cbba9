"""ZIPs that have a catalogue and the pictures that it names by paths."""

import posixpath
import unicodedata
import zipfile
from typing import IO

from products.catalogue.problems import refusal
from products.catalogue.xlsx import open_archive

#: Base URL of the paths in such a catalogue. The name is reserved: no server can have it.
ARCHIVE_URL = "https://upload.invalid"
CATALOGUE_SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".xls", ".ods", ".xml", ".json")
#: Members of a ZIP that is itself a workbook.
_WORKBOOK_MEMBERS = frozenset(("[content_types].xml", "mimetype"))
_IS_ENCRYPTED = 0x1
_PIECE_BYTES = 256 * 1024


class MissingPicture(Exception):
    """The ZIP has no file with this path, or none that can be read. The message is a sentence for users."""


class PictureArchive:
    """A ZIP with one catalogue. Paths in that are relative to its folder, or to the top of the ZIP.

    Upper and lower case are the same. Creation raises CatalogueError if the ZIP cannot be used. Any number of
    threads may read from it.
    """

    def __init__(self, file: IO[bytes]) -> None:
        try:
            self._zip = open_archive(file)
        except zipfile.BadZipFile as error:
            raise refusal("unreadable_zip", f"The ZIP cannot be read: {error}.") from error
        members = [one for one in self._zip.infolist() if not one.is_dir() and _is_shown(one.filename)]
        self._members = {_normalised(one.filename): one for one in members}
        self._catalogue = _only_catalogue(members)
        self._folder = posixpath.dirname(_normalised(self._catalogue.filename))

    @property
    def catalogue_name(self) -> str:
        """The file name of the catalogue."""
        return posixpath.basename(self._catalogue.filename)

    def read_catalogue(self, target: IO[bytes], max_bytes: int) -> None:
        """Write the catalogue to a file. Raises CatalogueError if it is larger or cannot be read."""
        try:
            self._copy(self._catalogue, target, max_bytes)
        except MissingPicture as error:
            raise refusal("unreadable_zip", str(error)) from error

    def size_of(self, url: str) -> int:
        """Return the bytes of the picture with a URL below ARCHIVE_URL. Raises MissingPicture."""
        return self._member(url).file_size

    def read_picture(self, url: str, target: IO[bytes], max_bytes: int) -> None:
        """Write the picture with a URL below ARCHIVE_URL to a file. Raises MissingPicture."""
        self._copy(self._member(url), target, max_bytes)

    def _member(self, url: str) -> zipfile.ZipInfo:
        path = url.removeprefix(ARCHIVE_URL)
        name = _normalised(path)
        member = self._members.get(posixpath.join(self._folder, name)) or self._members.get(name)
        if member is None:
            raise MissingPicture(f"The ZIP has no file named {path.lstrip('/')}.")
        return member

    def _copy(self, member: zipfile.ZipInfo, target: IO[bytes], max_bytes: int) -> None:
        if member.flag_bits & _IS_ENCRYPTED:
            raise MissingPicture(f"{member.filename} is protected by a password.")
        too_large = MissingPicture(f"{member.filename} has more than {max_bytes:,} bytes.")
        if member.file_size > max_bytes:
            raise too_large
        try:
            with self._zip.open(member) as source:
                # It ends at the size that the ZIP states, however much more it would unpack to.
                while piece := source.read(_PIECE_BYTES):
                    target.write(piece)
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            raise MissingPicture(f"{member.filename} is damaged in the ZIP: {error}.") from error


def is_picture_archive(file: IO[bytes]) -> bool:
    """Return whether a file is a ZIP, and no workbook, which is a ZIP as well."""
    file.seek(0)
    if file.read(4) != b"PK\x03\x04":
        return False
    try:
        names = {name.lower() for name in open_archive(file).namelist()}
    except zipfile.BadZipFile:
        return False  # a damaged workbook says so better
    return not _WORKBOOK_MEMBERS & names


def _only_catalogue(members: list[zipfile.ZipInfo]) -> zipfile.ZipInfo:
    """Return the catalogue: of several, the only one that is in no folder. Raises CatalogueError."""
    found = [one for one in members if one.filename.lower().endswith(CATALOGUE_SUFFIXES)]
    outermost = [one for one in found if "/" not in _normalised(one.filename)]
    if len(found) > 1 and len(outermost) == 1:
        found = outermost
    if not found:
        detail = "The ZIP has no catalogue. Put a CSV or Excel file beside the pictures."
        raise refusal("no_catalogue_in_zip", detail)
    if len(found) > 1:
        names = ", ".join(one.filename for one in found[:5])
        detail = f"The ZIP has {len(found):,} catalogues: {names}. Keep one of them."
        raise refusal("several_catalogues_in_zip", detail)
    return found[0]


def _is_shown(name: str) -> bool:
    """Return whether a member is one that its user sees, and none that a file manager adds."""
    return not name.startswith("__MACOSX/") and not posixpath.basename(name).startswith(".")


def _normalised(path: str) -> str:
    path = posixpath.normpath(unicodedata.normalize("NFC", path).replace("\\", "/").lstrip("/"))
    return path.casefold()
