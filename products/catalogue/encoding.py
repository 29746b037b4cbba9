"""The encoding of a catalogue: detected on reading, used again on writing."""

import codecs
from dataclasses import dataclass
from typing import IO

from products.catalogue.problems import CatalogueError, refusal

BLOCK_BYTES = 256 * 1024
#: Encodings a caller may choose, by Python's names. In all but UTF-16 a byte below 0x20 is always a control
#: character, never part of another one.
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

_BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_BINARY = bytes(set(range(0x20)) - set(b"\t\n\r\f"))


@dataclass(frozen=True, slots=True)
class Encoding:
    """An encoding by Python's name, and the byte order mark at the start of the file (b"" if none)."""

    name: str
    bom: bytes = b""

    def decoder(self) -> codecs.IncrementalDecoder:
        """Return a strict decoder for the bytes after the byte order mark.

        The five bytes that cp1252 leaves undefined are decoded nevertheless, see `_keep_undefined`.
        """
        return codecs.getincrementaldecoder(self.name)(_KEEP_UNDEFINED if self.name == "cp1252" else "strict")

    def encode(self, text: str) -> bytes:
        """Encode text for the file. Characters that the encoding lacks become `?`."""
        return text.encode(self.name, _KEEP_UNDEFINED if self.name == "cp1252" else "replace")


def known_encoding(name: str) -> str:
    """Return Python's name of an encoding, given any of its names. Raise ValueError if not in ENCODINGS."""
    try:
        found = codecs.lookup(name.strip()).name.removesuffix("-sig")
    except (LookupError, ValueError):
        found = ""
    if found not in ENCODINGS:
        raise ValueError("Unknown encoding. Supported are utf-8, utf-16, cp1252, gbk, mac-roman and others.")
    return found


def find_encoding(file: IO[bytes], wanted: str = "") -> Encoding:
    """Return the encoding of a file: `wanted` if given, else by its byte order mark, else UTF-8 or cp1252.

    A file that is not valid UTF-8 as a whole is read as cp1252, the most common code page of Excel. Reads
    the whole file once, or twice for cp1252. Raises CatalogueError if the file is not text, or not valid in
    the encoding that is wanted or marked.
    """
    file.seek(0)
    start = file.read(3)
    marked = next((Encoding(name, bom) for bom, name in _BOMS.items() if start.startswith(bom)), None)
    if wanted:
        if marked and marked.name.startswith(wanted):
            encoding = marked
        else:
            encoding = Encoding("utf-16-le" if wanted == "utf-16" else wanted)
        _check_text(file, encoding, f"The file is not encoded as {wanted}.")
        return encoding
    if marked:
        name = marked.name.upper()
        _check_text(file, marked, f"The file has a {name} byte order mark but is not valid {name}.")
        return marked
    try:
        _check_text(file, Encoding("utf-8"))
    except UnicodeDecodeError:
        _check_text(file, Encoding("cp1252"))
        return Encoding("cp1252")
    return Encoding("utf-8")


def _check_text(file: IO[bytes], encoding: Encoding, if_undecodable: str = "") -> None:
    """Raise CatalogueError if the file contains control characters or cannot be decoded.

    `if_undecodable` is the sentence for the second case; without it, UnicodeDecodeError is raised.
    """
    decoder, line, at_end = encoding.decoder(), 1, False
    file.seek(len(encoding.bom))
    while not at_end:
        block = file.read(BLOCK_BYTES)
        at_end = not block
        try:
            text = decoder.decode(block, final=at_end)
        except UnicodeDecodeError as error:
            if not if_undecodable:
                raise
            line += error.object[: error.start].count(b"\n")
            raise refusal("unsupported_encoding", f"{if_undecodable} See line {line}.", line) from None
        # Control characters can be searched as bytes in all encodings but UTF-16.
        ascii_based = text.encode() if encoding.name.startswith("utf-16") else block
        if len(ascii_based.translate(None, _BINARY)) < len(ascii_based):
            raise _not_text(ascii_based, line)
        line += ascii_based.count(b"\n")


def _not_text(block: bytes, line: int) -> CatalogueError:
    """Return the error for a block with control characters that starts in line `line`."""
    position = min(found for control in _BINARY if (found := block.find(control)) >= 0)
    line += block.count(b"\n", 0, position)
    detail = (
        f"This is not a CSV file. Line {line} contains the byte 0x{block[position]:02X}, which is not text."
    )
    return refusal("not_text", detail, line)


def _keep_undefined(error: UnicodeError) -> tuple[str | bytes, int]:
    """Error handler of cp1252: map its five undefined bytes to the control characters of the same number.

    Browsers do the same. Encoding turns them back into the same bytes, which U+FFFD would lose.
    """
    if isinstance(error, UnicodeDecodeError):
        return error.object[error.start : error.end].decode("latin-1"), error.end
    if isinstance(error, UnicodeEncodeError):
        return error.object[error.start : error.end].encode("latin-1", "replace"), error.end
    raise error


_KEEP_UNDEFINED = f"{__name__}.keep_undefined"
codecs.register_error(_KEEP_UNDEFINED, _keep_undefined)
