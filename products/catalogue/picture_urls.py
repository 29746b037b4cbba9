"""URLs of pictures: which can be fetched, from which host, and which look like a mistake."""

import re
from itertools import pairwise
from urllib.parse import urlsplit

MAX_URL = 2_048  # characters

URL_START = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]{0,30}:)?//")
# A scheme within a word. After a slash or an equals sign it may belong to a URL that the URL contains.
_MISSING_SEPARATOR = re.compile(r"[a-z0-9]https?://", re.IGNORECASE)
_SEPARATORS_AND_SPACE = re.compile(r"[,;\s]+")
_PICTURE_NAME = r"\.(?:jpe?g|png|webp|gif|bmp|tiff?|avif)"
_PICTURE_AT_END = re.compile(rf"{_PICTURE_NAME}(?:\?|$)", re.IGNORECASE)
_PICTURE = re.compile(rf"{_PICTURE_NAME}(?![\w.])", re.IGNORECASE)
# A fast path: nearly every URL matches and is valid. The lengths of its parts add up to less than MAX_URL.
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9.-]{0,252}(?::\d{1,4})?/[!-~]{0,1700}")
_PLAIN_URLS = re.compile(rf"(?:{_PLAIN_URL.pattern}\n)*+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffd]")
_NOT_IN_HOST = re.compile(r'[\s"<>\\^`{|}]')
_OWN_PORTS = {"http:": ":80", "https:": ":443"}


def host_of(url: str) -> str:
    """Return the host of a URL in lower case; "" if there is no host.

    It has the port that the URL has, unless that is the scheme's own.
    """
    if _PLAIN_URL.fullmatch(url):
        scheme, _, host, _ = url.split("/", 3)
    else:
        try:
            parts = urlsplit(url[:MAX_URL])
        except ValueError:
            return ""
        scheme, host = f"{parts.scheme}:", parts.netloc.rpartition("@")[2]
    return host.lower().removesuffix(_OWN_PORTS.get(scheme, ""))[:300]


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
    words = _SEPARATORS_AND_SPACE.split(url)
    if len(words) > 1 and any(_lacks_scheme(*two) for two in pairwise(words)):
        return "missing_scheme", "This may contain a second URL without https://. It is read as one."
    return None


def looks_like_picture(url: str) -> bool:
    """Return whether the URL has the name of a picture in it."""
    return bool(_PICTURE.search(url))


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
        return "The URL contains a control character or one that could not be read."
    return _host_problem(url) if url.lower().startswith(("http://", "https://")) else _scheme_problem(url)


def has_url_problem(urls: list[str]) -> bool:
    """Return whether no picture can be fetched from one of the URLs."""
    lines = "\n".join(urls) + "\n"
    # A fast path for all of them together.
    if _PLAIN_URLS.fullmatch(lines) and lines.count("\n") == len(urls):
        return False
    return any(map(url_problem, urls))


def _scheme_problem(url: str) -> str:
    if url.startswith("="):
        return "This is a formula without a stored value. Open the file in Excel and save it."
    return "The URL does not start with http:// or https://."


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
