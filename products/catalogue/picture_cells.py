"""Cells with picture URLs: finds the URLs in whatever form they are written, and replaces them in place."""

import html
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from products.catalogue.picture_urls import URL_START, url_warning

# Soft separators may be part of a URL, hard ones never are.
_SOFT, _HARD = " \xa0,;", "|\t\r\n"
_SEPARATING = _SOFT + _HARD
_SPACES = "\\x1c-\\x1f\u1680\u2000-\u200a\u202f\u205f\u3000"
#: Characters without a picture or width, which editors and chat programs put beside copied text.
_INVISIBLE = (
    "\\x00-\\x08\\x0e-\\x1b\\x7f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
)
_OPENING, _CLOSING = "\"'<“”„«‹‘", "\"'>“”»›’"


def _separators(soft: str, hard: str, opening: str = "") -> re.Pattern[str]:
    """Return the pattern of what stands between two URLs.

    It begins with the start of a run of separators. Beginning with a plain character set makes the search
    fast, and not trying every position of a long run keeps it linear.
    """
    return re.compile(
        rf"[{soft}{hard}](?<![{soft}{hard}]{{2}})"
        rf"(?:(?<=[{hard}])|[{soft}]*+(?:[{hard}]|(?={opening}{URL_START.pattern})))[{soft}{hard}]*+"
    )


_PLAIN_SEPARATORS = _separators(_SOFT, _HARD)
_SEPARATORS = _separators(_SOFT + _SPACES + _INVISIBLE, _HARD + "\\v\\f\x85\u2028\u2029", f"[{_OPENING}]?")
_AT_ENDS = rf"[{_SOFT}{_SPACES}{_INVISIBLE}{_HARD}\v\f\x85\u2028\u2029]"
_START = re.compile(rf"{_AT_ENDS}*+")
_SEPARATOR = re.compile(r" ?(?:[,;|\t]|\r?\n) ?")

#: Cells of nothing but these are lists of plain URLs, or paths.
_PLAIN = bytes([*b"\t\n\r", *range(0x20, 0x7F)]).translate(None, b"&\\<>\"'(){}[]!")
#: What programs and people write into a cell without a picture, `no_selection` being Magento's.
_NO_PICTURE = frozenset(
    [
        *("no_selection", "n/a", "na", "#n/a", "#na", "nan", "null", "none", "nil", "undefined", "0"),
        *("-", "--", "–", "—", ".", "x", "[]", "{}", "#value!", "#ref!", "#name?", "#null!", "#div/0!"),
    ]
)
_LONGEST_PLACEHOLDER = max(map(len, _NO_PICTURE))

_LINE_BREAK = re.compile(r"<br\s*+/?+>", re.IGNORECASE)
_HTML = re.compile(r"<(?:img|a|source|picture)\b", re.IGNORECASE)
_ATTRIBUTE = re.compile(
    r"\b(?:src|href)\s*+=\s*+(?:\"([^\"<>]*+)\"|'([^'<>]*+)'|([^\s\"'<>]++))", re.IGNORECASE
)
# `lamp.jpg (https://…)` as Airtable exports attachments, and `![lamp](https://…)`.
_IN_PARENTHESES = re.compile(r"(?<![^\s\]])\(((?:https?:)?//[^\s()<>]++)\)", re.IGNORECASE)
# A string without an end is read to the end of the cell, so that the time stays linear.
_QUOTED = re.compile(r"\"((?:[^\"\\]++|\\.)*+)(?:\"|\Z)|'((?:[^'\\]++|\\.)*+)(?:'|\Z)", re.DOTALL)
_URL_IN_JSON = re.compile(r"(?:https?:)?(?:\\?/){2}", re.IGNORECASE)
_JSON_ESCAPE = re.compile(r"\\(?:/|u([0-9a-fA-F]{4}))")
_FORMULA = re.compile(r"=\s*+(?:_xlfn\.)?(?:HYPERLINK|IMAGE)\s*+\(\s*+\"([^\"]*+)\"", re.IGNORECASE)
# WooCommerce's importers append texts: `https://… ! alt : Lamp ! title : Lamp`.
_TEXTS = re.compile(r"\s!\s*+(?:alt|title|desc|description|caption)\s*+:", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_INSIDE = re.compile(f"[{_INVISIBLE}{_SPACES}]")
_JOINED = re.compile(rf"[^\s,;|{_INVISIBLE}][{_INVISIBLE}](?=https?://)", re.IGNORECASE)


def split_urls(cell: str, base_url: str = "") -> list[str]:
    """Return the URLs of a cell, in order.

    `|`, tab and line end always separate. Comma, semicolon and space separate only before a scheme or `//`,
    since URLs may contain them, so that a list of paths (`a.jpg, b.jpg`) stays one piece, which `url_problem`
    reports. With a `base_url`, paths are split at comma and semicolon too and joined to it.

    URLs are also found in JSON, HTML, Markdown, quotes, braces and brackets. HTML entities are replaced,
    backslashes become slashes, and `//` at the start means https.
    """
    if not base_url and not is_unusual(cell):  # nearly every cell, without a call for each URL
        pieces = _plain_pieces(cell)
        if cell.count("//") == cell.count("://"):  # no URL lacks its scheme
            return pieces
    return [_url_of(piece, base_url) for piece in _pieces(cell, base_url)]


def replace_urls(cell: str, outputs: Iterator[str], base_url: str = "") -> str:
    """Return the cell with each URL replaced by the next of `outputs`, or kept where that is ""."""
    written, end = [], 0
    for piece in _pieces(cell, base_url):
        start = cell.index(piece, end)
        written += [cell[end:start], next(outputs) or piece]
        end = start + len(piece)
    return "".join([*written, cell[end:]])


def separator_in(cell: str, base_url: str = "") -> str:
    """Return the separator between the first two URLs of a cell; "" if there are fewer than two."""
    first, *others = _pieces(cell, base_url) or [""]
    if not others:
        return ""
    between = cell.partition(first)[2].partition(others[0])[0]
    between = between.strip(_OPENING + _CLOSING)
    # The texts of WooCommerce's importers may have commas, but the separator comes last.
    found = _SEPARATOR.findall(between)[-1:] if _TEXTS.search(between) else _SEPARATOR.findall(between)
    return found[0] if found else " " if between.isspace() else ","


def cell_warnings(cell: str, base_url: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield URL, code and sentence for each doubt about a URL of a picture cell."""
    if not is_unusual(cell):
        for url in split_urls(cell, base_url):
            if warning := url_warning(url):
                yield url, *warning
        return
    pieces = _pieces(cell, base_url)
    for piece in pieces:
        url = _url_of(piece, base_url)
        if _ENTITY.search(piece):
            yield (
                url,
                "html_entities",
                "HTML entities like “&amp;” are read as the characters they stand for.",
            )
        if _INSIDE.search(url):
            yield url, "invisible_character", "This URL contains an invisible character."
        if warning := url_warning(url):
            yield url, *warning
    if len(pieces) > 1 and _JOINED.search(cell):
        yield pieces[1], "invisible_character", "Only an invisible character separates this URL from another."


def is_unusual(cell: str) -> bool:
    """Return whether a cell may be more than a list of plain URLs. Faster than a regular expression."""
    return cell.encode("utf-8", "replace").translate(None, _PLAIN) != b""


def _plain_pieces(cell: str) -> list[str]:
    cell = cell.strip(_SEPARATING)
    if not cell or (len(cell) <= _LONGEST_PLACEHOLDER and cell.casefold() in _NO_PICTURE):
        return []
    return _PLAIN_SEPARATORS.split(cell)


def _pieces(cell: str, base_url: str) -> list[str]:
    """Return the URLs of a cell as written there; with a `base_url`, paths too."""
    if not is_unusual(cell):
        pieces = _plain_pieces(cell)
    else:
        text = _strip(cell)
        if not text or text.casefold() in _NO_PICTURE:
            return []
        if (found := _in_markup(text, base_url)) is not None:
            return found
        if text[0] in "[{" and text[-1] in "]}":
            text = text[1:-1]
        parts = [piece for part in _LINE_BREAK.split(text) for piece in _SEPARATORS.split(_strip(part))]
        pieces = [piece for part in parts if (piece := _strip(_TEXTS.split(part, 1)[0], wrapped=True))]
    return [path for piece in pieces for path in _paths(piece)] if base_url else pieces


def _paths(piece: str) -> list[str]:
    """Return the paths of a piece that is no URL, else the piece."""
    if URL_START.match(piece):
        return [piece]
    paths = map(_strip, re.split(r",|(?<!&amp);", piece))
    return [path for path in paths if path and path.casefold() not in _NO_PICTURE]


def _strip(text: str, *, wrapped: bool = False) -> str:
    """Return the text without blanks, separators and invisible characters at its ends, and quotes."""
    start = _START.match(text)
    text = text[start.end() if start else 0 :]
    end = len(text)
    while end and (_START.fullmatch(text, end - 1, end)):
        end -= 1
    text = text[:end]
    if wrapped and text and (text[0] in _OPENING or text[-1] in _CLOSING):
        stripped = text.lstrip(_OPENING).rstrip(_CLOSING)
        return _strip(stripped) if stripped != text else text
    return text


def _in_markup(text: str, base_url: str) -> list[str] | None:
    """Return the URLs in HTML, Markdown, Airtable's lists and JSON; None if the text is none of these."""
    found: list[str] = []
    if formula := _FORMULA.match(text):
        return [formula[1]]
    if _HTML.search(text):
        found = ["".join(groups) for groups in _ATTRIBUTE.findall(text)]
    elif "(" in text and (found := _IN_PARENTHESES.findall(text)):
        pass
    elif text[0] in "[{" and text[-1] in "]}":
        quoted = ["".join(groups) for groups in _QUOTED.findall(text)]
        has_paths = bool(base_url) and "{" not in text
        found = [string for string in quoted if string and (has_paths or _URL_IN_JSON.match(string))]
    stripped = [piece for one in found if (piece := _strip(one))]
    # A URL that was not found is no reason to lose it.
    is_complete = sum(map(_count_schemes, stripped)) >= _count_schemes(text)
    return stripped if stripped and is_complete else None


def _count_schemes(text: str) -> int:
    return text.count("://") + text.count(":\\/\\/")


def _url_of(piece: str, base_url: str) -> str:
    """Return the URL that is meant by a piece of a cell."""
    url = _ENTITY.sub(lambda found: html.unescape(found[0]), piece) if "&" in piece else piece
    if "\\" in url:
        url = _JSON_ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else "/", url)
        path = re.match("[^?#]*", url)
        url = path[0].replace("\\", "/") + url[path.end() :] if path else url
    if url.startswith("//"):
        return f"{urlsplit(base_url).scheme or 'https'}:{url}"
    # Magento's paths start with a slash but are relative to its media folder, so urljoin() would be wrong.
    return url if not base_url or URL_START.match(url) else f"{base_url.rstrip('/')}/{url.lstrip('/')}"
