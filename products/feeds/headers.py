"""Checks of the headers that a feed's URL is fetched with."""

import re
from typing import Any

MAX_HEADERS = 20
MAX_HEADER_CHARACTERS = 4096
NAMED_TWICE = "A header is named twice."
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: Set by the client itself, or meaning something for the connection and not for the server's answer.
_RESERVED = frozenset(
    [
        *(
            "accept-encoding",
            "connection",
            "content-length",
            "expect",
            "host",
            "if-match",
            "if-modified-since",
        ),
        *("if-none-match", "if-range", "if-unmodified-since", "keep-alive", "proxy-authorization", "range"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    ]
)


def check_headers(headers: Any) -> dict[str, str]:
    """Return headers that can be sent. Raises ValueError with a sentence."""
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise ValueError('This must be an object of texts, such as {"Authorization": "Bearer …"}.')
    if len(headers) > MAX_HEADERS:
        raise ValueError(f"There are more than {MAX_HEADERS} headers.")
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError(NAMED_TWICE)
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name[:100]!r} is not a header name.")
        if name.lower() in _RESERVED:
            raise ValueError(f"{name} is set by this service.")
        if len(value) > MAX_HEADER_CHARACTERS or not (value.isascii() and value.isprintable()):
            raise ValueError(
                f"The value of {name} must be at most {MAX_HEADER_CHARACTERS:,} ASCII characters."
            )
    return {name: value.strip() for name, value in headers.items()}
