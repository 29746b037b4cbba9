"""How the bytes of a catalogue become text, and text becomes bytes again."""

import codecs
from collections.abc import Iterator
from typing import IO

from products.catalogue.problems import refusal

BLOCK = 256 * 1024
_BINARY = bytes(set(range(0x20)) - set(b"\t\n\r\f"))


def find_encoding(file: IO[bytes]) -> tuple[str, bool]:
    """Tells in one pass how the text is encoded and whether a byte order mark precedes it.

    What is not UTF-8 from end to end is taken for cp1252, the commonest code page of Excel.
    """
    file.seek(0)
    mark = file.read(len(codecs.BOM_UTF8))
    if mark.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise refusal("unsupported_encoding", "The file is encoded as UTF-16: please save it as UTF-8.")
    has_bom = mark == codecs.BOM_UTF8
    blocks = _text_blocks(file)
    try:
        for _ in codecs.iterdecode(blocks, "utf-8"):
            pass
    except UnicodeDecodeError:
        for _ in blocks:
            pass
        if has_bom:
            raise refusal("unsupported_encoding", "The file is marked as UTF-8 but is not.") from None
        return "cp1252", False
    return "utf-8", has_bom


def _text_blocks(file: IO[bytes]) -> Iterator[bytes]:
    """Yields the bytes of a file as long as they can be text."""
    file.seek(0)
    line = 1
    while block := file.read(BLOCK):
        if len(block.translate(None, _BINARY)) < len(block):
            place = min(found for control in _BINARY if (found := block.find(control)) >= 0)
            line += block.count(b"\n", 0, place)
            byte = f"0x{block[place]:02X}"
            detail = f"This is not a CSV file: line {line} contains the byte {byte}, which no text does."
            raise refusal("not_text", detail, line)
        line += block.count(b"\n")
        yield block


def _keep_undefined(error: UnicodeError) -> tuple[str | bytes, int]:
    """Five bytes mean nothing in cp1252. They become the control characters of the same number, as in
    browsers, and bytes again on output; U+FFFD would lose them."""
    if isinstance(error, UnicodeDecodeError):
        return error.object[error.start : error.end].decode("latin-1"), error.end
    if isinstance(error, UnicodeEncodeError):
        return error.object[error.start : error.end].encode("latin-1", "replace"), error.end
    raise error


KEEP_UNDEFINED = f"{__name__}.keep_undefined"
codecs.register_error(KEEP_UNDEFINED, _keep_undefined)
