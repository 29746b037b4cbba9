"""URLs of pictures: several in a cell, and what keeps one from being tried."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

MAX_URL = 2_048

_SOFT, _HARD = " \xa0,;", "|\t\r\n"
_ANY = _SOFT + _HARD
URL_START = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]{0,30}:)?//")
# The first line finds the start of a run of separators: beginning with a plain character set is what the
# engine is fast at, and trying every place of a long run would take quadratic time.
_SPLIT = re.compile(
    rf"[{_ANY}](?<![{_ANY}]{{2}})"
    rf"(?:(?<=[{_HARD}])|[{_SOFT}]*+(?:[{_HARD}]|(?={URL_START.pattern})))[{_ANY}]*+"
)
_SEPARATOR = re.compile(r" ?(?:[,;|\t]|\r?\n) ?")
_NO_PICTURE = "no_selection"  # Magento's word
# A scheme in the middle of a word; behind a slash or an equals sign it may belong to a URL inside the URL.
_GLUED = re.compile(r"[a-z0-9]https?://", re.IGNORECASE)
_SEPARATING = re.compile(r"[,;\s]")
_PICTURE_NAME = r"\.(?:jpe?g|png|webp|gif|bmp|tiff?|avif)"
_SCHEMELESS = re.compile(
    rf"{_PICTURE_NAME}(?:\?[^\s,;]*+)?[,;\s]+(?:www\.|[^\s,;:]*{_PICTURE_NAME}(?![\w.]))", re.IGNORECASE
)
# Spares nearly every URL the closer look. Its parts add up to less than MAX_URL.
_USUAL_URL = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9.-]{0,252}(?::\d{1,4})?/[!-~]{0,1700}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NOT_IN_HOST = re.compile(r'[\s"<>\\^`{|}]')


def split_urls(cell: str, base_url: str = "") -> list[str]:
    """Splits a cell into its URLs, in order.

    `|`, tab and line end always separate; `,` `;` and space only before a scheme or `//`, since URLs contain
    them. So a list without schemes (`a.jpg, b.jpg`) stays in one piece, to which `url_problem` objects. Only
    with a `base_url`, below which such paths are then taken to be, is it split at `,` and `;` as well.
    """
    pieces = _split(cell, base_url)
    return [_below(base_url, piece) for piece in pieces] if base_url else pieces


def replace_urls(cell: str, outputs: Iterator[str], base_url: str = "") -> str:
    """The cell with each of its URLs replaced by the next of `outputs`, where that is not ""."""
    written, end = [], 0
    for piece in _split(cell, base_url):
        start = cell.index(piece, end)
        written += [cell[end:start], next(outputs) or piece]
        end = start + len(piece)
    return "".join([*written, cell[end:]])


def separator_in(cell: str, base_url: str = "") -> str:
    """What stands between the first two URLs of a cell; "" if there are not as many."""
    first, *others = _split(cell, base_url) or [""]
    if not others:
        return ""
    found = _SEPARATOR.search(cell.partition(first)[2].partition(others[0])[0])
    return found[0] if found else " "


def host_of(url: str) -> str:
    """host:port of a URL in lower case, as far as it names them; "" if it names none."""
    if _USUAL_URL.fullmatch(url):
        return url.split("/", 3)[2].lower()
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()[:300]
    except ValueError:
        return ""


def check_base_url(url: str) -> str:
    """The same URL; ValueError where nothing can be below it."""
    if problem := url_problem(url):
        raise ValueError(problem)
    if "?" in url or "#" in url:
        raise ValueError("The URL goes on after its path.")
    return url


def url_doubt(url: str) -> tuple[str, str] | None:
    """What may be meant as two URLs but cannot be told from one: a code and a sentence, or None."""
    if "://" in url[8:] and _GLUED.search(url):
        return "glued_urls", "Two URLs may be glued together here. They are read as one."
    if _SEPARATING.search(url) and _SCHEMELESS.search(url):
        return "missing_scheme", "A second URL without https:// may follow here. They are read as one."
    return None


def url_problem(url: str) -> str | None:
    """Says in a sentence why a URL cannot be that of a picture; None if it can be tried."""
    if _USUAL_URL.fullmatch(url):
        return None
    if not url.strip():
        return "The URL is empty."
    if len(url) > MAX_URL:
        return f"The URL is longer than {MAX_URL:,} characters."
    if _CONTROL.search(url):
        return "The URL contains a control character."
    if not url.lower().startswith(("http://", "https://")):
        return "The URL does not start with http:// or https://."
    return _host_problem(url)


def _host_problem(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "The URL has an invalid host or port."
    if "@" in parts.netloc:
        return "The URL contains a user name or password."
    if not parts.hostname:
        return "The URL names no host."
    if _NOT_IN_HOST.search(parts.netloc):
        return "The URL has an invalid host or port."
    return None


def _split(cell: str, base_url: str) -> list[str]:
    """The URLs of a cell as they stand there."""
    cell = cell.strip(_ANY)
    if not cell or cell == _NO_PICTURE:
        return []
    pieces = _SPLIT.split(cell)
    return [part for piece in pieces for part in _paths(piece)] if base_url else pieces


def _paths(piece: str) -> list[str]:
    if URL_START.match(piece):
        return [piece]
    return [path for part in re.split("[,;]", piece) if (path := part.strip(_ANY)) and path != _NO_PICTURE]


def _below(base_url: str, piece: str) -> str:
    """The URL that is meant. Magento's paths begin with a slash and are below its folder all the same."""
    if piece.startswith("//"):
        return f"{urlsplit(base_url).scheme}:{piece}"
    return piece if URL_START.match(piece) else f"{base_url.rstrip('/')}/{piece.lstrip('/')}"
