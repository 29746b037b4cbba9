"""URLs of pictures: several in a cell, and what keeps one from being tried."""

import re
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
# Spares nearly every URL the closer look. Its parts add up to less than MAX_URL.
_USUAL_URL = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9.-]{0,252}(?::\d{1,4})?/[!-~]{0,1700}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NOT_IN_HOST = re.compile(r'[\s"<>\\^`{|}]')


def split_urls(cell: str) -> list[str]:
    """Splits a cell into its URLs, in order.

    `|`, tab and line end always separate; `,` `;` and space only before a scheme or `//`, since URLs contain
    them. So a list without schemes (`a.jpg, b.jpg`) stays in one piece, to which `url_problem` objects.
    """
    cell = cell.strip(_ANY)
    return _SPLIT.split(cell) if cell else []


def separator_in(cell: str) -> str:
    """What stands between the first two URLs of a cell; "" if there are not as many."""
    first, *others = split_urls(cell) or [""]
    if not others:
        return ""
    found = _SEPARATOR.search(cell.partition(first)[2].partition(others[0])[0])
    return found[0] if found else " "


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
