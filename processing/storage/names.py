"""Readable names of outputs, from the file names of their sources."""

import re
from urllib.parse import unquote, urlsplit

from anyascii import anyascii

MAX_NAME_CHARACTERS = 80
#: Characters of a file name that are looked at.
MAX_READ_CHARACTERS = 1000

_EXTENSION = re.compile(r"\.[a-z][a-z0-9]{1,4}$", re.IGNORECASE)
_OTHERS = re.compile(r"[^a-z0-9]+")
# Windows opens devices under these names, whatever the extension.
_DEVICES = re.compile(r"con|prn|aux|nul|com\d|lpt\d")


def readable_name(url: str) -> str:
    """Return the file name in a URL, without its extension, in `a-z0-9-`; "" if nothing is left of it.

    Other scripts are transliterated. The name depends on the URL alone.
    """
    try:
        last = urlsplit(url).path.rpartition("/")[2]
    except ValueError:
        return ""
    name = _EXTENSION.sub("", unquote(last)[-MAX_READ_CHARACTERS:])
    name = _OTHERS.sub("-", anyascii(name).lower()).strip("-")[:MAX_NAME_CHARACTERS].rstrip("-")
    return f"{name}-image" if _DEVICES.fullmatch(name) else name
