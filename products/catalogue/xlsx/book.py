"""An XLSX workbook: its sheets, shared strings and number formats.

Only what a catalogue needs is read. All else may be damaged or odd.
"""

import re
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, TYPE_CHECKING, NamedTuple
from xml.parsers import expat

from products.catalogue.xlsx.editing import Extent, RowEdit, SheetEditor, retargeted
from products.catalogue.xlsx.package import (
    BLOCK_BYTES,
    CONTENT_TYPES,
    Attributes,
    Collector,
    Handler,
    Package,
    relation_of,
    relations_part,
    without_calculation_chain,
)
from products.catalogue.xlsx.sheet import References, SheetReader, SheetRow
from products.catalogue.xlsx.values import unescape

if TYPE_CHECKING:
    from products.catalogue.xlsx.formats import Formats

MAX_SHEETS, MAX_FORMAT_CHARS = 1_000, 255
_REFERENCES = re.compile(rb"(?:mergeCell|hyperlink)[\s/>]")


class Sheet(NamedTuple):
    """A sheet with the name of its part."""

    name: str
    part: str
    is_visible: bool


class Xlsx:
    """A workbook whose sheets, texts and formats have been read.

    Reading raises CatalogueError where a limit is exceeded, and ValueError, LookupError, OSError, ExpatError
    or an error of zipfile and zlib where the file is damaged.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.package = Package(file)
        self._main = next(
            (target for kind, target in self.package.relations("").values() if kind == "officedocument"),
            "xl/workbook.xml",
        )
        relations = self.package.relations(self._main)
        by_kind = dict(reversed([*relations.values()]))
        self._calculation_chain = by_kind.get("calcchain", "")
        self.sheets, since_1904 = self._read_sheets(self._main, relations)
        styles = by_kind.get("styles", "xl/styles.xml")
        self._formats = self._read_formats(styles, since_1904=since_1904)
        self._strings = self._read_strings(by_kind.get("sharedstrings", "xl/sharedstrings.xml"))

    def rows(self, sheet: Sheet) -> Iterator[SheetRow]:
        """Yield the rows of a sheet that have cells. Merged cells have their value in each merged row."""
        references = References()
        if self._mentions_references(sheet.part):
            self.package.parse(sheet.part, references)
        links = {place: target for place, (_id, target) in self._links(sheet, references).items()}
        reader = SheetReader(self._strings, self._formats, links, references.merged)
        for _block in self.package.parsed(sheet.part, reader):
            yield from reader.finished
            reader.finished.clear()

    def _links(self, sheet: Sheet, references: References) -> dict[tuple[int, int], tuple[str, str]]:
        """Return the id of its relation ("" if it has none) and the target of each link of a sheet."""
        relations = self.package.relations(sheet.part)
        return {
            place: (link, relations[link][1]) if link in relations else ("", link)
            for place, link in references.links.items()
        }

    def width(self, sheet: Sheet, first: int) -> int:
        """Return the number of columns up to the last one with a text, or merged below row `first`."""
        extent = Extent(first)
        self.package.parse(sheet.part, extent)
        return extent.width

    def has_tables(self, sheet: Sheet) -> bool:
        """Return whether there are tables on a sheet, whose columns are named in a part of their own."""
        return any(kind == "table" for kind, _target in self.package.relations(sheet.part).values())

    def write(
        self,
        target: zipfile.ZipFile,
        sheet: Sheet,
        edits: Iterator[RowEdit],
        width: int,
        *,
        keeps_formulas: bool,
    ) -> Iterator[None]:
        """Write the workbook with the edits of a sheet, which reach to `width`. Yields after each block.

        Unless it `keeps_formulas`, the list of cells with formulas (the calculation chain) is left out, since
        Excel takes a workbook for damaged where such a cell has none. Excel makes it anew.
        """
        package, references = self.package, References()
        package.parse(sheet.part, references)
        editor = SheetEditor(edits, self._links(sheet, references), self._strings, width)
        links = relations_part(sheet.part)
        lists = [name for name in (relations_part(self._main), CONTENT_TYPES) if name in package.parts]
        chain = self._calculation_chain
        if keeps_formulas or chain not in package.parts:
            chain, lists = "", []
        changed = {
            id(package.parts[name]) for name in {sheet.part, links, chain, *lists} & package.parts.keys()
        }
        for info in package.archive.infolist():
            if id(info) not in changed:
                yield from package.copy_part(info, target)
        for name in lists:
            package.write_text(name, without_calculation_chain(package.text(name)), target)
        with target.open(package.new_entry(sheet.part), "w") as output:
            for piece in editor.edited(package.parsed(sheet.part, editor)):
                output.write(piece)
                yield
        if editor.targets:
            package.write_text(links, retargeted(package.text(links), editor.targets), target)
        elif links in package.parts:
            yield from package.copy_part(package.parts[links], target)
        yield

    def _read_sheets(self, main: str, relations: dict[str, tuple[str, str]]) -> tuple[list[Sheet], bool]:
        """Return the sheets, and whether days are counted from 1904 on."""
        found: list[Attributes] = []
        since_1904 = False

        def start(name: str, attributes: Attributes) -> None:
            nonlocal since_1904
            if name == "sheet":
                found.append(attributes)
            elif name == "workbookPr" and attributes.get("date1904") in {"1", "true"}:
                since_1904 = True

        self.package.parse(main, Collector(start))
        sheets = []
        for attributes in found[:MAX_SHEETS]:
            kind, part = relations.get(relation_of(attributes), ("", ""))
            if kind == "worksheet" and part in self.package.parts:
                visible = attributes.get("state", "visible") == "visible"
                sheets.append(Sheet(attributes.get("name", ""), part, visible))
        return sheets, since_1904

    def _read_formats(self, part: str, *, since_1904: bool) -> "Formats":
        from products.catalogue.xlsx.formats import Formats  # noqa: PLC0415  # imports openpyxl

        codes: dict[int, str] = {}
        used: list[int] = []
        is_cell_style = False

        def start(name: str, attributes: Attributes) -> None:
            nonlocal is_cell_style
            if name == "numFmt" and attributes.get("numFmtId", "").isdecimal():
                codes[int(attributes["numFmtId"])] = attributes.get("formatCode", "")[:MAX_FORMAT_CHARS]
            elif name in {"cellXfs", "cellStyleXfs"}:
                is_cell_style = name == "cellXfs"
            elif name == "xf" and is_cell_style:
                number = attributes.get("numFmtId", "")
                used.append(int(number) if number.isdecimal() else 0)

        if part in self.package.parts:
            with suppress(expat.ExpatError):  # a format is no reason to refuse a file
                self.package.parse(part, Collector(start))
        return Formats(codes, used, since_1904=since_1904)

    def _read_strings(self, part: str) -> list[str]:
        strings = _Strings()
        if part in self.package.parts:
            self.package.parse(part, strings)
        return strings.found

    def _mentions_references(self, part: str) -> bool:
        """Return whether a sheet may have links or merged cells, which stand after its rows."""
        before = b""
        with self.package.open(part) as source:
            while block := source.read(BLOCK_BYTES):
                if _REFERENCES.search(before + block):
                    return True
                before = block[-20:]
        return False


class _Strings(Handler):
    """Collects shared strings, without the phonetic readings of East Asian texts."""

    groups = frozenset({"si"})

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._texts: list[str] = []
        self._is_text = self._is_phonetic = False

    def attach(self, parser: expat.XMLParserType, max_elements: int) -> None:
        """Set the handlers of a parser."""
        super().attach(parser, max_elements)
        parser.EndElementHandler, parser.CharacterDataHandler = self._end, self._data

    def start(self, name: str, attributes: Attributes) -> None:
        """Begin a string or a part of one."""
        if name == "si":
            self._texts.clear()
        elif name == "rPh":
            self._is_phonetic = True
        self._is_text = name == "t" and not self._is_phonetic

    def _data(self, data: str) -> None:
        if self._is_text:
            self._texts.append(data)

    def _end(self, tag: str) -> None:
        name = tag.rpartition(":")[2]
        self._is_text = False
        if name == "rPh":
            self._is_phonetic = False
        elif name == "si":
            self.found.append(unescape("".join(self._texts)))
