"""How the bytes of a catalogue become text, and text becomes bytes again."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from products.catalogue.problems import CatalogueError, refusal

BLOCK = 256 * 1024
#: What a caller may name, in Python's spelling. In all but UTF-16 the bytes of ASCII stand for nothing else.
ENCODINGS = frozenset(
    [
        *("utf-8", "utf-16", "utf-16-le", "utf-16-be"),
        *(f"cp125{number}" for number in range(9)),
        *("iso8859-1", "iso8859-2", "iso8859-5", "iso8859-7", "iso8859-9", "iso8859-15"),
        *("mac-roman", "mac-latin2", "mac-cyrillic", "mac-greek", "mac-turkish"),
        *("koi8-r", "koi8-u", "cp437", "cp850", "cp852", "cp866"),
        *("gbk", "gb18030", "big5", "cp950", "cp932", "shift_jis", "euc_jp", "cp949", "euc_kr"),
    ]
)

_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_BINARY = bytes(set(range(0x20)) - set(b"\t\n\r\f"))


@dataclass(frozen=True, slots=True)
class Encoding:
    """An encoding by Python's name, and the byte order mark that the file starts with; b"" if it has none."""

    name: str
    mark: bytes = b""

    def decoder(self) -> codecs.IncrementalDecoder:
        """Decodes what follows the mark. Five bytes mean nothing in cp1252 and are kept nevertheless."""
        return codecs.getincrementaldecoder(self.name)(_KEEP_UNDEFINED if self.name == "cp1252" else "strict")

    def encode(self, text: str) -> bytes:
        """Text as the file has it. What the encoding does not know becomes `?`."""
        return text.encode(self.name, _KEEP_UNDEFINED if self.name == "cp1252" else "replace")


def known_encoding(name: str) -> str:
    """Python's name of an encoding, whichever name it is known by. ValueError for all but ENCODINGS."""
    try:
        found = codecs.lookup(name.strip()).name.removesuffix("-sig")
    except (LookupError, ValueError):
        found = ""
    if found not in ENCODINGS:
        raise ValueError(
            "There is no such encoding. Known are utf-8, utf-16, cp1252, gbk, mac-roman and others."
        )
    return found


def find_encoding(file: IO[bytes], wanted: str = "") -> Encoding:
    """Tells in one pass how the text is encoded: as `wanted`, else by its mark, else UTF-8 or cp1252.

    What is not UTF-8 from end to end is taken for cp1252, the commonest code page of Excel. Raises
    CatalogueError where the bytes are no text, or not of the encoding that is wanted or marked.
    """
    file.seek(0)
    start = file.read(3)
    if wanted:
        encoding = _named(wanted, start)
        _check(file, encoding, f"The file is not encoded as {wanted}.")
        return encoding
    for mark, name in _MARKS.items():
        if start.startswith(mark):
            _check(file, Encoding(name, mark), f"The file is marked as {name.upper()} but is not.")
            return Encoding(name, mark)
    try:
        _check(file, Encoding("utf-8"))
    except UnicodeDecodeError:
        _check(file, Encoding("cp1252"))
        return Encoding("cp1252")
    return Encoding("utf-8")


def _named(wanted: str, start: bytes) -> Encoding:
    """The encoding of that name, with its mark if the file has it. UTF-16 is little-endian without."""
    for mark, name in _MARKS.items():
        if start.startswith(mark) and name.startswith(wanted):
            return Encoding(name, mark)
    return Encoding("utf-16-le" if wanted == "utf-16" else wanted)


def _check(file: IO[bytes], encoding: Encoding, refused: str = "") -> None:
    """Raises CatalogueError where the file is no text.

    Where it cannot be decoded, too, with the sentence `refused`; UnicodeDecodeError if there is none.
    """
    decoder, line = encoding.decoder(), 1
    for block in _blocks(file, len(encoding.mark)):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            if not refused:
                raise
            line += error.object[: error.start].count(b"\n")
            raise refusal("unsupported_encoding", f"{refused} See line {line}.", line) from None
        written = text.encode() if encoding.name.startswith("utf-16") else block
        if len(written.translate(None, _BINARY)) < len(written):
            raise _not_text(written, line)
        line += written.count(b"\n")


def _blocks(file: IO[bytes], start: int) -> Iterator[bytes]:
    """Yields the bytes of a file from `start`, and nothing at last."""
    file.seek(start)
    while block := file.read(BLOCK):
        yield block
    yield b""


def _not_text(block: bytes, line: int) -> CatalogueError:
    place = min(found for control in _BINARY if (found := block.find(control)) >= 0)
    line += block.count(b"\n", 0, place)
    byte = f"0x{block[place]:02X}"
    detail = f"This is not a CSV file: line {line} contains the byte {byte}, which no text does."
    return refusal("not_text", detail, line)


def _keep_undefined(error: UnicodeError) -> tuple[str | bytes, int]:
    """Five bytes mean nothing in cp1252. They become the control characters of the same number, as in
    browsers, and bytes again on output; U+FFFD would lose them."""
    if isinstance(error, UnicodeDecodeError):
        return error.object[error.start : error.end].decode("latin-1"), error.end
    if isinstance(error, UnicodeEncodeError):
        return error.object[error.start : error.end].encode("latin-1", "replace"), error.end
    raise error


_KEEP_UNDEFINED = f"{__name__}.keep_undefined"
codecs.register_error(_KEEP_UNDEFINED, _keep_undefined)
