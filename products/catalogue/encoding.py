"""The encoding of a catalogue: detected on reading, used again on writing."""

import codecs
import re
from dataclasses import dataclass, replace
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
#: Control characters that a file may have wherever they are, and further ones as a share of its bytes.
FREE_CONTROLS, MAX_CONTROLS_SHARE = 10, 0.02
_OTHER_FILES = {
    b"%PDF": "a PDF document",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"{\\rtf": "an RTF document",
}
# Undecodable bytes of a text, as the error handler "surrogateescape" keeps them.
_UNDECODED = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class Encoding:
    """An encoding by Python's name, and the byte order mark at the start of the file (b"" if none).

    `is_damaged` means that some bytes cannot be decoded, or that there are NULs. Both stay in the text of
    records, so that a result has them too. See `readable`.
    """

    name: str
    bom: bytes = b""
    is_damaged: bool = False

    def decoder(self) -> codecs.IncrementalDecoder:
        """Return a decoder for the bytes after the byte order mark, which is strict unless `is_damaged`.

        The five bytes that cp1252 leaves undefined are decoded nevertheless, see `_keep_undefined`.
        """
        return codecs.getincrementaldecoder(self.name)(self._errors or "strict")

    def encode(self, text: str) -> bytes:
        """Encode text for the file. Characters that the encoding lacks become `?`."""
        return text.encode(self.name, self._errors or "replace")

    @property
    def _errors(self) -> str:
        if self.name == "cp1252":
            return _KEEP_UNDEFINED
        return "surrogateescape" if self.is_damaged and self.name == "utf-8" else ""


UNKNOWN_ENCODING = "Unknown encoding. Supported are utf-8, utf-16, cp1252, gbk, mac-roman and others."


def known_encoding(name: str) -> str:
    """Return Python's name of an encoding, given any of its names. Raise ValueError if not in ENCODINGS."""
    try:
        found = codecs.lookup(name.strip()).name.removesuffix("-sig")
    except (LookupError, ValueError):
        found = ""
    if found not in ENCODINGS:
        raise ValueError(UNKNOWN_ENCODING)
    return found


def find_encoding(file: IO[bytes], wanted: str = "") -> Encoding:
    """Return the encoding of a file: `wanted` if given, else by its byte order mark, else UTF-8 or cp1252.

    A file is UTF-8 also if some of its bytes are not, as long as more characters are. Others are read as
    cp1252, the most common code page of Excel. Reads the whole file once, or up to three times. Raises
    CatalogueError if the file is not text, or not valid in the encoding that is wanted or marked.
    """
    file.seek(0)
    start = file.read(16)
    for signature, kind in _OTHER_FILES.items():
        if start.startswith(signature):
            raise refusal(
                "not_text", f"This is {kind}, not a catalogue. Upload a table, a workbook or a feed."
            )
    marked = next((Encoding(name, bom) for bom, name in _BOMS.items() if start.startswith(bom)), None)
    if wanted:
        if marked and marked.name.startswith(wanted):
            encoding = marked
        else:
            encoding = Encoding("utf-16-le" if wanted == "utf-16" else wanted)
        return _checked(file, encoding, f"The file is not encoded as {wanted}.")
    try:
        if marked and marked.name != "utf-8":
            name = marked.name.upper()
            return _checked(file, marked, f"The file has a {name} byte order mark but is not valid {name}.")
        return _checked(file, marked or Encoding("utf-8"))
    except UnicodeDecodeError:
        damaged = Encoding("utf-8", marked.bom if marked else b"", is_damaged=True)
        return _checked(file, damaged if marked or _is_mostly_utf8(file) else Encoding("cp1252"))


def _checked(file: IO[bytes], encoding: Encoding, if_undecodable: str = "") -> Encoding:
    """Return the encoding, damaged if there are NULs.

    Raises CatalogueError if the file has too many control characters or cannot be decoded. `if_undecodable`
    is the sentence for the second case; without it, UnicodeDecodeError is raised.
    """
    decoder, line, at_end = encoding.decoder(), 1, False
    size = controls = 0
    has_nul = False
    first: tuple[int, int] | None = None  # line and byte of the first control character
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
        size += len(ascii_based)
        if found := len(ascii_based) - len(ascii_based.translate(None, _BINARY)):
            controls += found
            has_nul = has_nul or b"\0" in ascii_based
            position = min(place for control in _BINARY if (place := ascii_based.find(control)) >= 0)
            first = first or (line + ascii_based.count(b"\n", 0, position), ascii_based[position])
        line += ascii_based.count(b"\n")
    if first and controls > FREE_CONTROLS + MAX_CONTROLS_SHARE * size:
        raise _not_text(*first)
    return replace(encoding, is_damaged=True) if has_nul else encoding


def _is_mostly_utf8(file: IO[bytes]) -> bool:
    """Return whether the file has as many characters beyond ASCII in UTF-8 as bytes that are not UTF-8."""
    decoder = Encoding("utf-8", is_damaged=True).decoder()
    good = bad = 0
    file.seek(0)
    while block := file.read(BLOCK_BYTES):
        text = decoder.decode(block)
        unreadable = len(_UNDECODED.findall(text))
        good += len(text) - len(text.encode("ascii", "ignore")) - unreadable
        bad += unreadable
    return good >= bad > 0


def _not_text(line: int, byte: int) -> CatalogueError:
    """Return the error for a file with many control characters, the first of which is `byte` in `line`."""
    detail = f"This is not a CSV file. Line {line} contains the byte 0x{byte:02X}, which is not text."
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
