"""URLs of pictures: splits cells with several, replaces them in place, and checks each."""

import re
from collections.abc import Iterator
from itertools import pairwise
from urllib.parse import urlsplit

MAX_URL = 2_048  # characters

# Soft separators may be part of a URL, hard ones never are.
_SOFT, _HARD = " \xa0,;", "|\t\r\n"
_SEPARATORS = _SOFT + _HARD
URL_START = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]{0,30}:)?//")
# The first line matches the start of a run of separators. Beginning with a plain character set makes the
# search fast, and not trying every position of a long run keeps it linear.
_SPLIT = re.compile(
    rf"[{_SEPARATORS}](?<![{_SEPARATORS}]{{2}})"
    rf"(?:(?<=[{_HARD}])|[{_SOFT}]*+(?:[{_HARD}]|(?={URL_START.pattern})))[{_SEPARATORS}]*+"
)
_SEPARATOR = re.compile(r" ?(?:[,;|\t]|\r?\n) ?")
_NO_PICTURE = "no_selection"  # Magento writes this into cells without a picture
# A scheme within a word. After a slash or an equals sign it may belong to a URL that the URL contains.
_MISSING_SEPARATOR = re.compile(r"[a-z0-9]https?://", re.IGNORECASE)
_SEPARATORS_AND_SPACE = re.compile(r"[,;\s]+")
_PICTURE_NAME = r"\.(?:jpe?g|png|webp|gif|bmp|tiff?|avif)"
_PICTURE_AT_END = re.compile(rf"{_PICTURE_NAME}(?:\?|$)", re.IGNORECASE)
_PICTURE = re.compile(rf"{_PICTURE_NAME}(?![\w.])", re.IGNORECASE)
# A fast path: nearly every URL matches and is valid. The lengths of its parts add up to less than MAX_URL.
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9.-]{0,252}(?::\d{1,4})?/[!-~]{0,1700}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NOT_IN_HOST = re.compile(r'[\s"<>\\^`{|}]')


def split_urls(cell: str, base_url: str = "") -> list[str]:
    """Return the URLs of a cell, in order.

    `|`, tab and line end always separate. Comma, semicolon and space separate only before a scheme or `//`,
    since URLs may contain them, so that a list of paths (`a.jpg, b.jpg`) stays one piece, which `url_problem`
    reports. With a `base_url`, paths are split at comma and semicolon too and joined to it.
    """
    pieces = _split(cell, base_url)
    return [_absolute_url(piece, base_url) for piece in pieces] if base_url else pieces


def replace_urls(cell: str, outputs: Iterator[str], base_url: str = "") -> str:
    """Return the cell with each URL replaced by the next of `outputs`, or kept where that is ""."""
    written, end = [], 0
    for piece in _split(cell, base_url):
        start = cell.index(piece, end)
        written += [cell[end:start], next(outputs) or piece]
        end = start + len(piece)
    return "".join([*written, cell[end:]])


def separator_in(cell: str, base_url: str = "") -> str:
    """Return the separator between the first two URLs of a cell; "" if there are fewer than two."""
    first, *others = _split(cell, base_url) or [""]
    if not others:
        return ""
    found = _SEPARATOR.search(cell.partition(first)[2].partition(others[0])[0])
    return found[0] if found else " "


def host_of(url: str) -> str:
    """Return the host of a URL in lower case, with the port if the URL has one; "" if there is no host."""
    if _PLAIN_URL.fullmatch(url):
        return url.split("/", 3)[2].lower()
    try:
        return urlsplit(url[:MAX_URL]).netloc.rpartition("@")[2].lower()[:300]
    except ValueError:
        return ""


def check_base_url(url: str) -> str:
    """Return the URL; raise ValueError if paths cannot be joined to it."""
    if problem := url_problem(url):
        raise ValueError(problem)
    if "?" in url or "#" in url:
        raise ValueError("The URL must not contain ? or #.")
    return url


def url_warning(url: str) -> tuple[str, str] | None:
    """Return a code and a sentence if the URL looks like two URLs that could not be separated, else None."""
    if "://" in url[8:] and _MISSING_SEPARATOR.search(url):
        return "glued_urls", "This may be two URLs without a separator. It is read as one."
    # Most URLs are one word, which pairwise() leaves out.
    if any(_lacks_scheme(*words) for words in pairwise(_SEPARATORS_AND_SPACE.split(url))):
        return "missing_scheme", "This may contain a second URL without https://. It is read as one."
    return None


def _lacks_scheme(before: str, word: str) -> bool:
    """Return whether a word after the name of a picture, perhaps with a query, looks like a URL or path."""
    if not _PICTURE_AT_END.search(before):
        return False
    return word[:4].lower() == "www." or bool(_PICTURE.search(word.partition(":")[0]))


def url_problem(url: str) -> str | None:
    """Return a sentence if no picture can be fetched from the URL, else None."""
    if _PLAIN_URL.fullmatch(url):
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
        return "The URL has no host."
    if _NOT_IN_HOST.search(parts.netloc):
        return "The URL has an invalid host or port."
    return None


def _split(cell: str, base_url: str) -> list[str]:
    """Return the URLs of a cell as written there; with a `base_url`, paths too."""
    cell = cell.strip(_SEPARATORS)
    if not cell or cell == _NO_PICTURE:
        return []
    pieces = _SPLIT.split(cell)
    if not base_url:
        return pieces
    urls = []
    for piece in pieces:
        if URL_START.match(piece):
            urls.append(piece)
        else:
            paths = (part.strip(_SEPARATORS) for part in re.split("[,;]", piece))
            urls += [path for path in paths if path and path != _NO_PICTURE]
    return urls


def _absolute_url(piece: str, base_url: str) -> str:
    if piece.startswith("//"):
        return f"{urlsplit(base_url).scheme}:{piece}"
    # Magento's paths start with a slash but are relative to its media folder, so urljoin() would be wrong.
    return piece if URL_START.match(piece) else f"{base_url.rstrip('/')}/{piece.lstrip('/')}"
