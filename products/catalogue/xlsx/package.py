"""The parts of an XLSX file: a ZIP of XML, read as a stream by expat.

A few kilobytes of ZIP can unpack to XML that takes minutes and gigabytes, so everything is counted on the way
and refused where it exceeds a limit. Namespaces are ignored, so that Strict workbooks are read like others.
"""

import codecs
import copy
import io
import posixpath
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, cast
from xml.parsers import expat

from products.catalogue.problems import CatalogueError, refusal

#: The ZIP's list of files. Each takes at least 46 bytes there, and some 500 in memory.
MAX_DIRECTORY_BYTES = 2_000_000
#: The parts that are read, together. A sheet of real rows unpacks to 5 to 40 times its size.
MAX_UNPACKED_BYTES = 500_000_000
FREE_UNPACKED_BYTES, MAX_UNPACKED_RATIO = 20_000_000, 100
#: Elements of the parts that are read, together. A cell has one to three and takes at least as many bytes.
FREE_ELEMENTS, MAX_ELEMENTS_PER_BYTE = 1_000_000, 4
#: Rows or shared strings in one part.
MAX_GROUPS = 2_000_000
#: Elements and bytes of one row or shared string, or of a part without any, which are in memory together. A
#: cell has up to three elements, a row in Excel at most 16,384 cells.
MAX_GROUP_ELEMENTS, MAX_GROUP_BYTES = 100_000, 16_000_000
#: A tag or comment. expat before 2.6 starts again at its beginning with each block that it is given.
MAX_TOKEN_BYTES = 256 * 1024
BLOCK_BYTES = 64 * 1024

#: A list of relations or content types.
MAX_TEXT_BYTES = 50_000_000
CONTENT_TYPES = "[content_types].xml"
XML_DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>\s*")
_ENTRY = re.compile(
    r"<(?:[\w.-]{1,100}:)?(?:Override|Relationship)\b[^<>]*+(?:(?<=/)>|>\s*+</[\w.:-]++\s*+>)"
)
#: Exceptions of zipfile for damaged ZIPs, and for those that it cannot read.
ARCHIVE_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError),
    *(ArithmeticError, RuntimeError, ValueError),  # with UnicodeError and NotImplementedError
)
_METHODS = frozenset((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
#: The flag of parts whose sizes stand after them.
_HAS_DATA_DESCRIPTOR = 0x08

Attributes = dict[str, str]


class Handler:
    """Handles the elements of a part, and counts them. Raises CatalogueError where they are too many."""

    #: Elements that are counted as groups, whose contents are in memory together.
    groups: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.elements = self.group_start = self._group_count = self._group_elements = 0
        self._max_elements = 0

    def attach(self, parser: expat.XMLParserType, max_elements: int) -> None:
        """Set the handlers of a parser."""
        self._parser, self._max_elements = parser, max_elements
        parser.StartElementHandler = self._start

    def _start(self, tag: str, attributes: Attributes) -> None:
        name = tag.rpartition(":")[2]
        self.elements += 1
        self._group_elements += 1
        if name in self.groups:
            self._group_count += 1
            self.group_start, self._group_elements = self._parser.CurrentByteIndex, 0
        too_many = self.elements > self._max_elements or self._group_count > MAX_GROUPS
        if too_many or self._group_elements > MAX_GROUP_ELEMENTS:
            raise too_large()
        self.start(name, attributes)

    def start(self, name: str, attributes: Attributes) -> None:
        """Handle the start of an element, given by its name without a namespace."""
        raise NotImplementedError


class Collector(Handler):
    """Calls a function for each element."""

    def __init__(self, start: Callable[[str, Attributes], None]) -> None:
        super().__init__()
        self._call = start

    def start(self, name: str, attributes: Attributes) -> None:
        """Call the function."""
        self._call(name, attributes)


class Package:
    """The parts of a workbook by their names in lower case.

    Creation raises BadZipFile if parts overlap, so that copies of all parts are no larger than the file.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.archive = open_archive(file)
        self.parts = {_part_name(info.filename): info for info in reversed(self.archive.infolist())}
        size = file.seek(0, io.SEEK_END)
        if sum(info.compress_size for info in self.archive.infolist()) > size:
            raise zipfile.BadZipFile("Parts overlap.")
        self._bytes_left = min(MAX_UNPACKED_BYTES, FREE_UNPACKED_BYTES + MAX_UNPACKED_RATIO * size)
        self._elements_left = FREE_ELEMENTS + MAX_ELEMENTS_PER_BYTE * size
        self._opened: set[str] = set()  # parts whose bytes are counted
        self._elements: dict[str, int] = {}  # those of each part that was parsed to its end

    def relations(self, part: str) -> dict[str, tuple[str, str]]:
        """Return kind and target of each relation of a part, by its id."""
        folder = posixpath.dirname(part)
        found: dict[str, tuple[str, str]] = {}

        def start(element: str, attributes: Attributes) -> None:
            if element == "Relationship":
                target = attributes.get("Target", "")
                if attributes.get("TargetMode") != "External":
                    target = _part_name(posixpath.join("/", folder, target.replace("\\", "/")))
                kind = attributes.get("Type", "").rpartition("/")[2].lower()
                found[attributes.get("Id", "")] = kind, target

        if (relations := relations_part(part)) in self.parts:
            self.parse(relations, Collector(start))
        return found

    def parse(self, part: str, handler: Handler) -> None:
        """Give a whole part to the handler."""
        for _block in self.parsed(part, handler):
            pass

    def parsed(self, part: str, handler: Handler) -> Iterator[bytes]:
        """Give a part to the handler. Yields each block once it has been handled, and b"" at the end."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = _refuse_doctype
        # A part that is parsed again counts once.
        handler.attach(parser, self._elements_left + self._elements.get(part, 0))
        given = 0
        with self.open(part) as source:
            while block := source.read(BLOCK_BYTES):
                parser.Parse(block)
                given += len(block)
                if (
                    given - parser.CurrentByteIndex > MAX_TOKEN_BYTES
                    or given - handler.group_start > MAX_GROUP_BYTES
                ):
                    raise too_large()
                yield block
        parser.Parse(b"", True)
        yield b""
        self._elements_left -= handler.elements - self._elements.get(part, 0)
        self._elements[part] = handler.elements

    def open(self, part: str) -> IO[bytes]:
        """Open a part for reading. Raise CatalogueError if the parts that are read become too much."""
        info = self.parts[part]
        if part not in self._opened:
            # The sizes given in the file can be relied on: zipfile reads no further than that.
            self._bytes_left -= info.file_size
            if self._bytes_left < 0:
                raise too_large()
            self._opened.add(part)
        return self.archive.open(info)

    def text(self, part: str) -> str:
        """Return the XML of a small part, without its declaration of an encoding."""
        with self.open(part) as source:
            data = source.read(MAX_TEXT_BYTES + 1)
        if len(data) > MAX_TEXT_BYTES:
            raise too_large()
        is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return _DECLARATION.sub("", data.decode("utf-16" if is_utf16 else "utf-8-sig"))

    def new_entry(self, part: str) -> zipfile.ZipInfo:
        """Return an entry for another ZIP in which a part is written anew."""
        entry = zipfile.ZipInfo(self.parts[part].filename, self.parts[part].date_time)
        entry.compress_type = zipfile.ZIP_DEFLATED
        return entry

    def write_text(self, part: str, text: str, target: zipfile.ZipFile) -> None:
        """Write the XML of a part anew."""
        target.writestr(self.new_entry(part), XML_DECLARATION + text)

    def copy_part(self, info: zipfile.ZipInfo, target: zipfile.ZipFile) -> Iterator[None]:
        """Copy a part as it is in the file, without unpacking it. Yields after each block.

        zipfile cannot do that, so the entry is made here.
        """
        source, output = cast(IO[bytes], self.archive.fp), cast(IO[bytes], target.fp)
        source.seek(info.header_offset)
        lengths = struct.unpack("<26x2H", source.read(zipfile.sizeFileHeader))  # type: ignore[attr-defined]
        position = source.tell() + sum(lengths)
        entry = copy.copy(info)
        entry.extra, entry.flag_bits = b"", info.flag_bits & ~_HAS_DATA_DESCRIPTOR
        entry.header_offset = output.tell()
        output.write(entry.FileHeader())
        left = info.compress_size
        while left:
            source.seek(position)  # other parts are read in between
            block = source.read(min(left, BLOCK_BYTES))
            if not block:
                raise zipfile.BadZipFile("A part ends early.")
            position, left = position + len(block), left - len(block)
            output.write(block)
            yield
        target.filelist.append(entry)
        target.NameToInfo[entry.filename] = entry
        target.start_dir = output.tell()
        target._didModify = True  # type: ignore[attr-defined]


def too_large() -> CatalogueError:
    """Return the error for a workbook that exceeds a limit."""
    return refusal("workbook_too_large", "The workbook is too large once unpacked. Save it as CSV.")


def relations_part(part: str) -> str:
    """Return the name of the part with the relations of a part."""
    folder, name = posixpath.split(part)
    return posixpath.join(folder, "_rels", f"{name}.rels")


def without_calculation_chain(xml: str) -> str:
    """Return relations or content types without the list of cells with formulas."""
    return _ENTRY.sub(lambda found: "" if "/calcchain" in found[0].lower() else found[0], xml)


def relation_of(attributes: Attributes) -> str:
    """Return the id of the relation that an element names, "" if none."""
    return next((value for name, value in attributes.items() if name.endswith(":id")), "")


def _refuse_doctype(*_declaration: object) -> None:
    detail = "The workbook contains a DOCTYPE, which no program writes. Save it again, or as CSV."
    raise refusal("unreadable_workbook", detail)


def open_archive(file: IO[bytes]) -> zipfile.ZipFile:
    """Open a ZIP whose files can be read in bounded memory.

    Raises CatalogueError if it lists too many files, one of ARCHIVE_ERRORS if it is damaged, BadZipFile if a
    file is compressed by another method than Deflate: zipfile unpacks whole blocks of those at once, of any
    size.
    """
    end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    if end and end[zipfile._ECD_SIZE] > MAX_DIRECTORY_BYTES:  # type: ignore[attr-defined]
        raise too_large()
    archive = zipfile.ZipFile(file)
    if any(info.header_offset < 0 for info in archive.infolist()):
        raise zipfile.BadZipFile("Bad offset of a file")  # which would be an OSError where it is read
    if any(info.compress_type not in _METHODS for info in archive.infolist()):
        raise zipfile.BadZipFile("it is compressed by another method than Deflate")
    return archive


def _part_name(name: str) -> str:
    """Return the name of a part as they are compared: some programs write other cases and backslashes."""
    return posixpath.normpath(name.replace("\\", "/")).lstrip("/").lower()
