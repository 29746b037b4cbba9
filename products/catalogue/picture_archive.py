"""ZIPs that have a catalogue and the pictures that it names by paths."""

import posixpath
import unicodedata
import zipfile
from threading import Lock
from typing import IO

from products.catalogue.problems import refusal, size_text
from products.catalogue.xlsx import ARCHIVE_ERRORS, open_archive

#: Host and base URL of the paths in such a catalogue. The name is reserved: no server can have it.
ARCHIVE_HOST = "upload.invalid"
ARCHIVE_URL = f"https://{ARCHIVE_HOST}"
CATALOGUE_SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".xls", ".ods", ".xml", ".json")
#: Members of a ZIP that is itself a workbook.
_WORKBOOK_MEMBERS = frozenset(("[content_types].xml", "mimetype"))
_IS_ENCRYPTED = 0x1
_PIECE_BYTES = 256 * 1024


class ArchivedPictureError(Exception):
    """A picture of a ZIP cannot be read. `code` is its error code, `detail` a sentence for users."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class PictureArchive:
    """A ZIP with one catalogue. Paths in that are relative to its folder, or to the top of the ZIP.

    A path in other upper and lower case is found if only one file has it. Creation raises CatalogueError if
    the ZIP cannot be used, and errors of the file. Any number of threads may read from it, one at a time, so
    that a buffered file is read from the beginning of a picture to its end.
    """

    def __init__(self, file: IO[bytes]) -> None:
        try:
            self._zip = open_archive(file)
        except ARCHIVE_ERRORS as error:
            raise refusal("unreadable_zip", f"The ZIP cannot be read: {error}.") from error
        members = {_normalised(one.filename): one for one in self._zip.infolist() if not one.is_dir()}
        self._members = {path: one for path, one in members.items() if _is_shown(path)}
        self._any_case: dict[str, list[zipfile.ZipInfo]] = {}
        for path, member in self._members.items():
            self._any_case.setdefault(path.casefold(), []).append(member)
        path = _only_catalogue([*self._members])
        self._catalogue, self._folder = self._members[path], posixpath.dirname(path)
        self._reading = Lock()

    def __len__(self) -> int:
        """Return the number of files in the ZIP."""
        return len(self._members)

    @property
    def catalogue_name(self) -> str:
        """The file name of the catalogue."""
        return posixpath.basename(self._catalogue.filename)

    def read_catalogue(self, target: IO[bytes], max_bytes: int) -> None:
        """Write the catalogue to a file. Raises CatalogueError if it is larger or cannot be read."""
        try:
            self._copy(self._catalogue, target, max_bytes)
        except ArchivedPictureError as error:
            raise refusal("unreadable_zip", error.detail) from error

    def missing_path(self, url: str) -> str:
        """Return the path of the picture with a URL below ARCHIVE_URL if no file is that, else ""."""
        try:
            self._member(url)
        except ArchivedPictureError as error:
            if error.code == "http_404":
                return url.removeprefix(ARCHIVE_URL).lstrip("/")
        return ""

    def size_of(self, url: str) -> int:
        """Return the bytes of the picture with a URL below ARCHIVE_URL. Raises ArchivedPictureError."""
        return self._member(url).file_size

    def read_picture(self, url: str, target: IO[bytes], max_bytes: int) -> None:
        """Write the picture with a URL below ARCHIVE_URL to a file. Raises ArchivedPictureError."""
        self._copy(self._member(url), target, max_bytes)

    def _member(self, url: str) -> zipfile.ZipInfo:
        path = url.removeprefix(ARCHIVE_URL)
        name = _normalised(path)
        paths = (posixpath.join(self._folder, name), name)
        for one in paths:
            if one in self._members:
                return self._members[one]
        for one in paths:
            found = self._any_case.get(one.casefold(), [])
            if len(found) > 1:
                names = " and ".join(member.filename for member in found[:2])
                detail = f"The ZIP has no file named {path.lstrip('/')}, but {names}. Correct the path."
                raise ArchivedPictureError("invalid_url", detail)
            if found:
                return found[0]
        raise ArchivedPictureError("http_404", f"The ZIP has no file named {path.lstrip('/')}.")

    def _copy(self, member: zipfile.ZipInfo, target: IO[bytes], max_bytes: int) -> None:
        if member.flag_bits & _IS_ENCRYPTED:
            detail = f"{member.filename} is protected by a password."
            raise ArchivedPictureError("unsupported_format", detail)
        if member.file_size > max_bytes:
            detail = f"{member.filename} has more than {size_text(max_bytes)}."
            raise ArchivedPictureError("too_large", detail)
        try:
            with self._reading, self._zip.open(member) as source:
                # It ends at the size that the ZIP states, however much more it would unpack to.
                while piece := source.read(_PIECE_BYTES):
                    target.write(piece)
        except ARCHIVE_ERRORS as error:
            detail = f"{member.filename} is damaged in the ZIP: {error}."
            raise ArchivedPictureError("corrupt_image", detail) from error


def is_in_archive(url: str) -> bool:
    """Return whether a URL is that of a picture in a ZIP."""
    return url.startswith(f"{ARCHIVE_URL}/")


def server_of(host: str) -> str:
    """Return the host of pictures as users know it: "" for those of an uploaded ZIP, which have no server."""
    return "" if host == ARCHIVE_HOST else host


def is_picture_archive(file: IO[bytes]) -> bool:
    """Return whether a file is a ZIP, and no workbook, which is a ZIP as well."""
    file.seek(0)
    if file.read(4) != b"PK\x03\x04":
        return False
    try:
        names = {name.lower() for name in open_archive(file).namelist()}
    except ARCHIVE_ERRORS:
        return False  # a damaged workbook says so better
    return not _WORKBOOK_MEMBERS & names


def _only_catalogue(paths: list[str]) -> str:
    """Return the path of the catalogue. Raises CatalogueError.

    Of several it is the only one in the folder that has all files. A text file is one if there is no other.
    """
    found = [path for path in paths if path.lower().endswith(CATALOGUE_SUFFIXES)]
    found = [path for path in found if not path.lower().endswith(".txt")] or found
    if not found:
        detail = "The ZIP has no catalogue. Put a CSV or Excel file beside the pictures."
        raise refusal("no_catalogue_in_zip", detail)
    folder = posixpath.commonpath([posixpath.dirname(path) for path in paths])
    outermost = [path for path in found if posixpath.dirname(path) == folder]
    if len(found) > 1 and len(outermost) == 1:
        found = outermost
    if len(found) > 1:
        detail = f"The ZIP has {len(found):,} catalogues: {', '.join(found[:5])}. Keep one of them."
        raise refusal("several_catalogues_in_zip", detail)
    return found[0]


def _is_shown(path: str) -> bool:
    """Return whether a file is one that its user sees, and none that a file manager or a program adds."""
    parts = path.split("/")
    return "__MACOSX" not in parts and not any(part.startswith(".") and part != ".." for part in parts)


def _normalised(path: str) -> str:
    return posixpath.normpath(unicodedata.normalize("NFC", path).replace("\\", "/").lstrip("/"))
