"""Changes cells in the XML of a sheet, as a stream. Everything else of it stays byte for byte."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from products.catalogue.picture_urls import URL_START
from products.catalogue.xlsx.package import Attributes, Handler
from products.catalogue.xlsx.sheet import LINK_FORMULA, RANGE, References, next_row_number
from products.catalogue.xlsx.values import column_name, column_of, escape_text, unescape

#: Of a cell, in UTF-16 code units; Excel's limit.
MAX_EXCEL_CHARS = 32_767
#: Of a text in a formula; Excel's limit.
MAX_FORMULA_TEXT_CHARS = 255
TOO_LONG = "This is too long for a cell of a workbook. Download the results as CSV."

_SPANS = re.compile(r"\sspans\s*=\s*(?:\"[^\"]*\"|'[^']*')")
_REF = re.compile(r"\bref\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_RELATION = re.compile(r"<(?:[\w.-]{1,100}:)?Relationship\b[^<>]*+>")
_ID = re.compile(r"\bId\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_TARGET = re.compile(r"(\bTarget\s*=\s*)(?:\"[^\"]*\"|'[^']*')")


class RowEdit(NamedTuple):
    """The changes of a row. Columns are counted from 0.

    `written` are texts of cells that are made if they are missing; "" empties a cell. `replaced` are the text
    that was read from a cell, and the one that takes its place, for cells that have a text of their own.
    `urls` are the new targets of links in these cells, by the old ones. With `like_last`, new cells look like
    the last one that the row had.
    """

    number: int
    written: Mapping[int, str]
    replaced: Mapping[int, tuple[str, str]]
    like_last: bool = False
    urls: Mapping[str, str] = MappingProxyType({})


@dataclass(slots=True)
class _Cell:
    """A cell in the XML with its positions, its formula (its attributes, none without one) and its value."""

    column: int
    start: int
    attributes: Attributes
    end: int = 0
    formula_start: int = 0
    formula_end: int = 0
    formula: Attributes = field(default_factory=dict)
    formula_text: list[str] = field(default_factory=list)
    value: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _XmlRow:
    """A row in the XML. `prefix` is that of its namespace, such as `x:`."""

    number: int
    start: int
    prefix: str
    edit: RowEdit | None
    cells: list[_Cell] = field(default_factory=list)
    end: int = 0  # of its cells


class Extent(References):
    """Finds the last column with a text, and that of merged cells which reach below row `first`."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.width = self._column = 0
        self._first, self._is_value = first, False

    def attach(self, parser: expat.XMLParserType, max_elements: int) -> None:
        """Set the handlers of a parser."""
        super().attach(parser, max_elements)
        parser.CharacterDataHandler = self._data

    def start(self, name: str, attributes: Attributes) -> None:
        """Take note of a cell or a merged range."""
        super().start(name, attributes)
        self._is_value = name in {"v", "t", "f"}
        if name == "c":
            place = attributes.get("r", "").rstrip("0123456789")
            self._column = column_of(place) + 1 if place else self._column + 1
        elif name == "row":
            self._column = 0
        elif name == "mergeCell":
            found = RANGE.fullmatch(attributes.get("ref", ""))
            if found and found[4] and int(found[4]) >= self._first:
                self.width = max(self.width, column_of(found[3]) + 1)

    def _data(self, data: str) -> None:
        if self._is_value and self._column > self.width and data.strip():
            self.width = self._column


class SheetEditor(Handler):
    """Applies edits, which come in the order of rows, to the XML of a sheet.

    `links` are id and target of the links by row and column, `strings` the shared strings. Afterwards
    `targets` has the new targets of links by their id.
    """

    groups = frozenset({"row"})

    def __init__(
        self,
        edits: Iterator[RowEdit],
        links: Mapping[tuple[int, int], tuple[str, str]],
        strings: list[str],
        width: int,
    ) -> None:
        super().__init__()
        self.targets: dict[str, str] = {}
        self._edits, self._links, self._strings, self._width = edits, links, strings, width
        self._edit = next(edits, None)
        self._source = bytearray()
        self._position = 0  # of the first byte of the source
        self._encoding = "utf-8"
        self._finished: list[_XmlRow] = []
        self._row: _XmlRow | None = None
        self._row_number = self._next_column = 0
        self._into: list[str] | None = None
        self._dimension: tuple[int, int] | None = None  # start and end
        self._dropped: set[str] = set()  # shared formulas whose first cell has none any more

    def attach(self, parser: expat.XMLParserType, max_elements: int) -> None:
        """Set the handlers of a parser."""
        super().attach(parser, max_elements)
        parser.XmlDeclHandler = self._declaration
        parser.EndElementHandler, parser.CharacterDataHandler = self._end, self._data

    def edited(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the sheet with the edits. `blocks` are those that the handler has just been given."""
        for block in blocks:
            if not self._position and not self._source and block[:2] in {b"\xff\xfe", b"\xfe\xff"}:
                self._encoding = "utf-16-le" if block[0] == 0xFF else "utf-16-be"
            self._source += block
            written: list[bytes] = []
            if self._dimension and self._dimension[1]:
                start, end = self._dimension
                written += [self._cut(start), self._encode(self._widened(self._text(start, end)))]
                self._cut(end)
                self._dimension = None
            for row in self._finished:
                if row.edit or self._dropped:
                    written += [self._cut(row.start), self._encode("".join(self._pieces(row)))]
                    self._cut(row.end)
            self._finished.clear()
            if not self._row and not self._dimension:
                written.append(self._cut(self._parser.CurrentByteIndex))
            yield b"".join(written)
        yield bytes(self._source)

    def _text(self, start: int, end: int) -> str:
        return self._source[start - self._position : end - self._position].decode(self._encoding)

    def _encode(self, text: str) -> bytes:
        return text.encode(self._encoding, "xmlcharrefreplace")

    def _cut(self, end: int) -> bytes:
        """Remove the source up to `end` and return it."""
        count = max(end - self._position, 0)
        taken = bytes(self._source[:count])
        del self._source[:count]
        self._position += count
        return taken

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding and not encoding.lower().startswith("utf-16"):
            self._encoding = encoding

    def start(self, name: str, attributes: Attributes) -> None:
        """Begin a row, a cell or a part of one."""
        at = self._parser.CurrentByteIndex
        self._into = None
        if self._dimension and not self._dimension[1]:
            self._dimension = self._dimension[0], at
        if name == "c" and self._row:
            self._end_cell(at)
            place = attributes.get("r", "").rstrip("0123456789")
            column = column_of(place) if place else self._next_column
            self._next_column = max(self._next_column, column + 1)
            self._row.cells.append(_Cell(column, at, attributes))
        elif name == "row":
            self._row_number = next_row_number(self._row_number, attributes.get("r", ""))
            self._begin_row(at)
        elif name == "dimension":
            self._dimension = at, 0
        elif self._row and self._row.cells:
            cell = self._row.cells[-1]
            if name == "f":
                cell.formula, cell.formula_start = {"t": "normal", **attributes}, at
                self._into = cell.formula_text
            elif cell.formula and not cell.formula_end:
                cell.formula_end = at
            if name in {"v", "t"}:
                self._into = cell.value

    def _begin_row(self, at: int) -> None:
        while self._edit and self._edit.number < self._row_number:
            self._edit = next(self._edits, None)
        edit = self._edit if self._edit and self._edit.number == self._row_number else None
        self._row, self._next_column = _XmlRow(self._row_number, at, "", edit), 0

    def _data(self, data: str) -> None:
        if self._into is not None:
            self._into.append(data)

    def _end_cell(self, at: int) -> None:
        if self._row and self._row.cells:
            cell = self._row.cells[-1]
            cell.end = cell.end or at

    def _end(self, tag: str) -> None:
        self._into = None
        prefix, _, name = tag.rpartition(":")
        at = self._parser.CurrentByteIndex
        if name == "c" and self._row and self._row.cells:
            cell = self._row.cells[-1]
            cell.formula_end = cell.formula_end or at
        elif name == "row" and self._row:
            self._end_cell(at)
            if self._row.cells:
                self._row.end, self._row.prefix = at, f"{prefix}:" if prefix else ""
                self._finished.append(self._row)
            self._row = None

    def _widened(self, dimension: str) -> str:
        """Return the element `dimension` with all columns up to `width`."""
        found = _REF.search(dimension)
        if not found or not (place := RANGE.fullmatch(found[1] or found[2] or "")):
            return dimension
        last_column, last_row = place[3] or place[1], place[4] or place[2]
        if column_of(last_column) >= self._width - 1:
            return dimension
        ref = f'ref="{place[1]}{place[2]}:{column_name(self._width - 1)}{last_row}"'
        return dimension[: found.start()] + ref + dimension[found.end() :]

    def _pieces(self, row: _XmlRow) -> Iterator[str]:
        """Yield the XML of a row up to its last cell."""
        edit = row.edit or RowEdit(row.number, {}, {})
        head = self._text(row.start, row.cells[0].start)
        yield _SPANS.sub("", head) if edit.written else head
        style = row.cells[-1].attributes.get("s", "") if edit.like_last else ""
        missing = sorted(edit.written)
        for cell in row.cells:
            while missing and missing[0] < cell.column:
                column = missing.pop(0)
                yield _new_cell(row, column, edit.written[column], style)
            source = self._text(cell.start, cell.end)
            if missing and missing[0] == cell.column:
                self._drop_formula(cell)
                yield _new_cell(row, missing.pop(0), edit.written[cell.column], cell.attributes.get("s", ""))
            elif cell.column in edit.replaced and (cell.value or cell.formula):
                yield self._replaced(row, cell, source, edit)
            elif cell.formula.get("si") in self._dropped:
                yield self._text(cell.start, cell.formula_start) + self._text(cell.formula_end, cell.end)
            else:
                yield source
        for column in missing:
            yield _new_cell(row, column, edit.written[column], style)

    def _replaced(self, row: _XmlRow, cell: _Cell, source: str, edit: RowEdit) -> str:
        """Return a cell with a new text, which takes the place of the one that was read.

        That may be the target of a link, or a text in a formula.
        """
        old, new = edit.replaced[cell.column]
        own = "".join(cell.value)
        is_shared = bool(own) and cell.attributes.get("t") == "s"
        text = self._strings[int(own)] if is_shared else unescape(own)
        link_id, target = self._links.get((row.number, cell.column), ("", ""))
        if link_id:
            # A cell with several URLs leads to one of them.
            new_target = new if target.strip() == old.strip() else edit.urls.get(target.strip())
            if new_target:
                self.targets[link_id] = new_target
        is_url = bool(URL_START.match(text.strip()))
        if not is_url and target:
            return source
        formula = LINK_FORMULA.match("".join(cell.formula_text).strip())
        if not is_url and formula and len(new) <= MAX_FORMULA_TEXT_CHARS:
            before = self._text(cell.formula_start, cell.formula_end)
            after = before.replace(escape(formula[1]), escape(new.replace('"', '""')), 1)
            if after != before:
                return (
                    self._text(cell.start, cell.formula_start)
                    + after
                    + self._text(cell.formula_end, cell.end)
                )
        if _is_too_long(new):
            return source
        self._drop_formula(cell)
        return _new_cell(row, cell.column, new, cell.attributes.get("s", ""))

    def _drop_formula(self, cell: _Cell) -> None:
        if cell.formula.get("t") == "shared" and "ref" in cell.formula:
            self._dropped.add(cell.formula.get("si", ""))


def _new_cell(row: _XmlRow, column: int, text: str, style: str) -> str:
    prefix = row.prefix
    start = f'<{prefix}c r="{column_name(column)}{row.number}"' + (f" s={quoteattr(style)}" if style else "")
    if not text:
        return f"{start}/>" if style else ""
    content = escape_text(TOO_LONG if _is_too_long(text) else text)
    inner = f'<{prefix}is><{prefix}t xml:space="preserve">{content}</{prefix}t></{prefix}is>'
    return f'{start} t="inlineStr">{inner}</{prefix}c>'


def _is_too_long(text: str) -> bool:
    return len(text) > MAX_EXCEL_CHARS // 2 and len(text.encode("utf-16-le")) // 2 > MAX_EXCEL_CHARS


def retargeted(relations: str, targets: Mapping[str, str]) -> str:
    """Return the XML of relations with new targets by their id."""

    def change(found: re.Match[str]) -> str:
        name = _ID.search(found[0])
        target = targets.get(name[1] or name[2] or "") if name else None
        if target is None:
            return found[0]
        return _TARGET.sub(lambda old: old[1] + quoteattr(target), found[0], count=1)

    return _RELATION.sub(change, relations)
