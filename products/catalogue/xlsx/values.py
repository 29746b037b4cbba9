"""Values of cells as the text that a spreadsheet shows."""

import re
from datetime import datetime, time
from functools import lru_cache
from typing import Any
from xml.sax.saxutils import escape

_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_LIKE_ESCAPED = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")
_NOT_XML = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff\ud800-\udfff]")


def text_of(value: Any) -> str:
    """Return the value of a cell as in a CSV: numbers with up to 15 digits, as Excel has them."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e21 else f"{value:.15g}"
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ")
    return str(value)


def unescape(text: str) -> str:
    """Return a text with its `_xHHHH_` replaced by the characters that they stand for."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


def escape_text(text: str) -> str:
    """Return a text as XML. Characters that XML cannot have become `_xHHHH_`."""
    text = _LIKE_ESCAPED.sub("_x005F_", text)
    return escape(_NOT_XML.sub(lambda found: f"_x{ord(found[0]):04X}_", text))


def column_name(index: int) -> str:
    """Return the letters of a column, `C` for 2."""
    name, number = "", index + 1
    while number:
        number, letter = divmod(number - 1, 26)
        name = chr(ord("A") + letter) + name
    return name


@lru_cache(maxsize=20_000)
def column_of(letters: str) -> int:
    """Return the index of a column, 2 for `C`."""
    number = 0
    for letter in letters[:4].upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return max(number - 1, 0)
