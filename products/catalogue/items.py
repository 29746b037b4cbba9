"""Product feeds in XML (RSS 2.0 and Atom, as Google Merchant takes them) and JSON as records.

Both are read as a stream, twice: for the names of all fields, which become the header, and for the items.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterator, Sized
from typing import IO, Any
from xml.parsers import expat

from products.catalogue.encoding import BLOCK_BYTES, Encoding
from products.catalogue.problems import refusal
from products.catalogue.records import (
    MAX_CELL_CHARS,
    MAX_ROW_CHARS,
    Record,
    cell_too_long,
    quote_cell,
    readable,
    row_too_long,
)
from products.catalogue.xlsx import MAX_TOKEN_BYTES

MAX_FIELDS, MAX_FIELD_NAME = 1_000, 200
#: Between the values of a field that an item has several times. No URL has it.
SEPARATOR = "|"
_ITEMS = frozenset({"item", "entry"})
_WHITE_SPACE = re.compile(r"[ \t\r\n]*+")
# Numbers stay as they are written: 19.90 is a price, and one of thousands of digits may be a serial number.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)

Item = dict[str, str]


def items_kind(file: IO[bytes]) -> str:
    """Return "xml" or "json" for a file that starts like one, else "". Raise CatalogueError for HTML."""
    file.seek(0)
    start = file.read(1000).decode("utf-8", "ignore").lstrip("\ufeff \t\r\n").lower()
    if start.startswith(("<!doctype html", "<html")):
        raise refusal("unsupported_file", "This is an HTML page, not a catalogue.")
    if start.startswith(("<?xml", "<rss", "<feed", "<!--", "<!doctype")):
        return "xml"
    return "json" if re.match(r"\[\s*[{\]]|\{\s*[\"}]", start) else ""


class ItemFile:
    """The records of a feed: a header of all fields, then the items. Their text is CSV with commas, in UTF-8.

    Lines are those of that text: 1 for the header, 2 for the first item. `kind` is xml or json.
    """

    encoding = Encoding("utf-8")
    delimiter = ","
    declares_delimiter = False

    def __init__(self, file: IO[bytes], kind: str) -> None:
        self._file, self.kind = file, kind
        self._items: Callable[[IO[bytes]], Iterator[Item]] = _xml_items if kind == "xml" else _json_items
        fields: dict[str, None] = {}
        for item in self._items(file):
            fields.update(dict.fromkeys(item))
            _check_fields(fields)
        if not fields:
            place = "<item> or <entry>" if kind == "xml" else "list of objects"
            detail = f"This is {_NAMES[kind]} file, but no product feed: it has no {place} with fields."
            raise refusal("unsupported_file", detail)
        self._header = list(fields)

    def records(self) -> Iterator[Record]:
        """Yield the header and the items."""
        yield _record(1, self._header)
        for line, item in enumerate(self._items(self._file), 2):
            yield _record(line, [item.get(name, "") for name in self._header])


_NAMES = {"xml": "an XML", "json": "a JSON"}


def _check_fields(fields: Sized) -> None:
    if len(fields) > MAX_FIELDS:
        raise refusal("too_many_columns", f"The items have more than {MAX_FIELDS:,} fields.")


def _record(line: int, cells: list[str]) -> Record:
    if max(map(len, cells)) > MAX_CELL_CHARS:
        raise cell_too_long(line)
    if sum(map(len, cells)) > MAX_ROW_CHARS:
        raise row_too_long(line)
    return Record(line, cells, ",".join([quote_cell(cell, ",") for cell in cells]) + "\r\n")


def _xml_items(file: IO[bytes]) -> Iterator[Item]:
    """Yield the items of an RSS or Atom feed. Raise CatalogueError where it is no such file."""
    reader = _FeedReader()
    given = 0
    file.seek(0)
    try:
        while block := file.read(64 * 1024):
            reader.parser.Parse(block)
            given += len(block)
            # expat before 2.6 starts again at the beginning of a tag or comment with each block.
            if given - reader.parser.CurrentByteIndex > MAX_TOKEN_BYTES:
                raise refusal("line_too_long", f"A tag or comment is longer than {MAX_TOKEN_BYTES:,} bytes.")
            yield from reader.finished
            reader.finished.clear()
        reader.parser.Parse(b"", True)
    except expat.ExpatError as error:
        detail = f"This is an XML file with an error in line {error.lineno}: {expat.ErrorString(error.code)}."
        raise refusal("unsupported_file", detail, error.lineno) from None
    yield from reader.finished


class _FeedReader:
    """Makes items of the elements of a feed. A field is named as its element, without the namespace."""

    def __init__(self) -> None:
        self.finished: list[Item] = []
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse_doctype
        self.parser.StartElementHandler, self.parser.EndElementHandler = self._start, self._end
        self.parser.CharacterDataHandler = self._data
        self._item: dict[str, list[str]] | None = None  # the values of each field
        self._depth = self._size = 0  # of elements within the item; characters of the item, names included
        self._field = ""
        self._texts: list[str] = []

    def _refuse_doctype(self, *_declaration: object) -> None:
        raise refusal("unsupported_file", "The XML file contains a DOCTYPE, which is not allowed in feeds.")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        if self._item is None:
            if name in _ITEMS:
                self._item, self._depth, self._size = {}, 0, 0
            return
        self._depth += 1
        self._count(name)
        if self._depth == 1:
            self._field, self._texts = name[:MAX_FIELD_NAME], []
            self._item.setdefault(self._field, [])
            _check_fields(self._item)
            if "href" in attributes:  # Atom's link
                self._data(attributes["href"])
        elif self._texts:
            self._texts.append(" ")

    def _data(self, data: str) -> None:
        if self._depth:
            self._count(data)
            self._texts.append(data)

    def _count(self, text: str) -> None:
        self._size += len(text)
        if self._size > MAX_ROW_CHARS:
            raise row_too_long(self.parser.CurrentLineNumber)

    def _end(self, _tag: str) -> None:
        if self._item is None:
            return
        if self._depth == 0:
            self.finished.append({name: SEPARATOR.join(values) for name, values in self._item.items()})
            self._item = None
            return
        self._depth -= 1
        if self._depth == 0 and (value := "".join(self._texts).strip()):
            self._item[self._field].append(value)


def _json_items(file: IO[bytes]) -> Iterator[Item]:
    """Yield the objects of a list, or of the first list of objects in an object."""
    text = _JsonText(file)
    try:
        if text.next() == "{":
            _skip_to_list(text)
        yield from _objects(text)
    except (ValueError, RecursionError) as error:
        raise refusal("unsupported_file", "This is a JSON file that is not valid.") from error


def _skip_to_list(text: "_JsonText") -> None:
    """Go to the first list of objects among the values of an object, or to the end."""
    text.skip("{")
    while text.next() == '"':
        text.value()
        text.skip(":")
        if text.next() == "[" and text.next(1) in {"{", ""}:
            return
        text.value()
        if text.next() == ",":
            text.skip(",")


def _objects(text: "_JsonText") -> Iterator[Item]:
    if text.next() != "[":
        return
    text.skip("[")
    while text.next() not in {"]", ""}:
        value = text.value()
        if isinstance(value, dict):
            yield {readable(name[:MAX_FIELD_NAME]): _json_text(one) for name, one in value.items()}
        if text.next() != "]":
            text.skip(",")
    text.skip("]")


def _json_text(value: Any) -> str:
    """Return a value as the text of a cell. Lists of texts and numbers are joined, objects stay JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return readable(SEPARATOR.join(value))
    return readable(json.dumps(value, ensure_ascii=False))


class _JsonText:
    """JSON that is read as far as it is needed."""

    def __init__(self, file: IO[bytes]) -> None:
        file.seek(0)
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
        self._text, self._at, self._is_complete = "", 0, False

    def next(self, further: int = 0) -> str:
        """Return the next character that is no white space, "" at the end.

        With `further`, return the one so many characters behind it.
        """
        while True:
            at = self._at = self._white_space_end(self._at)
            for _ in range(further):
                at = self._white_space_end(at + 1)
            if at < len(self._text) or self._is_complete:
                return self._text[at : at + 1]
            self._read()

    def skip(self, character: str) -> None:
        """Go behind the next character. Raise JSONDecodeError if it is another one."""
        if self.next() != character:
            raise json.JSONDecodeError(f"{character} is missing", "", 0)
        self._at += 1

    def value(self) -> Any:
        """Return the next value and go behind it."""
        while True:
            self.next()
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError:
                if self._is_complete:
                    raise
            else:
                if end < len(self._text) or self._is_complete:  # else a number may go on
                    self._at = end
                    return value
            self._read()

    def _read(self) -> None:
        """Read as much again as is in memory, so that the time stays linear."""
        rest = self._text[self._at :]
        if len(rest) > 2 * MAX_ROW_CHARS:
            detail = f"A value is longer than {2 * MAX_ROW_CHARS:,} characters, or it is not valid JSON."
            raise refusal("line_too_long", detail)
        block = self._file.read(max(BLOCK_BYTES, len(rest)))
        self._is_complete = not block
        self._text, self._at = rest + self._decode(block, final=not block), 0

    def _white_space_end(self, at: int) -> int:
        found = _WHITE_SPACE.match(self._text, at)
        return found.end() if found else at
