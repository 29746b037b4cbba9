"""Heads of responses, read as browsers read them.

h11 refuses a response for any line that does not follow RFC 9112. `tidied` mends the lines that browsers
accept, so that h11 gets a regular head. What leaves the length of the body open stays, for h11 to refuse.
"""

import re

#: The end of a head. A bare line feed ends a line as well.
HEAD_END = re.compile(rb"\n\r?\n")

_NAME = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
#: Nearly every head: one that needs no mending. This takes a tenth of the time.
_REGULAR = re.compile(
    rb"HTTP/1\.[01] \d{3}(?: [^\r\n\0]*)?\r\n"
    rb"(?:(?!(?i:transfer-encoding|content-length:(?! ?\d+\r)))" + _NAME + rb":[^\r\n\0\x0b\x0c]*\r\n)*\r\n"
)
_AMBIGUOUS = re.compile(rb"\0|\r(?!\n)")
_STATUS_LINE = re.compile(rb"http(?:/(\d\.\d|[23]))?[ \t]+(\d{3})(?!\d)[ \t]*(.*)", re.IGNORECASE)
_FIELD = re.compile(rb"\A(" + _NAME + rb")[ \t]*:(.*)")
#: h11 accepts them in no value.
_CONTROL_TO_BLANK = bytes.maketrans(b"\x0b\x0c", b"  ")
_LENGTH = re.compile(rb"\A[ \t]*\d[\d, \t]*")


def tidied(head: bytes) -> bytes:
    """Return a head, with the empty line at its end, as h11 accepts it. A regular one is returned unchanged.

    - Lines without a colon or with an invalid name are removed, and so are the lines that continue them.
    - Vertical tabs and form feeds become blanks.
    - Blanks between a name and its colon are removed.
    - Several `Transfer-Encoding`, and `identity`, become one `chunked` or none.
    - A `Content-Length` that is no number is removed if there is no other: the body ends with the connection.
    - In the status line, `http` may be in lower case and lack its version, and blanks may be missing or many.

    A head with NUL or a bare carriage return is returned unchanged, since others may see other lines in it.
    """
    if _REGULAR.fullmatch(head) or _AMBIGUOUS.search(head):
        return head
    status, *lines = head.translate(_CONTROL_TO_BLANK).replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
    fields: list[tuple[bytes, bytes]] = []
    is_kept = False
    for line in lines:
        if line.startswith((b" ", b"\t")):
            if is_kept:
                fields[-1] = fields[-1][0], fields[-1][1] + line
        elif match := _FIELD.fullmatch(line):
            fields.append((match[1], match[2]))
            is_kept = True
        else:
            is_kept = False
    fields = _with_one_framing(fields)
    return b"\r\n".join([_status_line(status), *(b"%s:%s" % field for field in fields), b"", b""])


def _status_line(line: bytes) -> bytes:
    match = _STATUS_LINE.fullmatch(line)
    if not match:
        return line
    # Without a version that is known to keep connections alive, the server closes it.
    version = match[1] if match[1] in (b"1.0", b"1.1") else b"1.1" if match[1] else b"1.0"
    return b"HTTP/%s %s" % (version, match[2]) + (b" " + match[3] if match[3] else b"")


def _with_one_framing(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the fields with what they say about the end of the body said once."""
    codings = [value.strip().lower() for name, value in fields if name.lower() == b"transfer-encoding"]
    names = {name.strip() for name in b",".join(codings).split(b",")}
    if codings not in ([], [b"chunked"]) and names <= {b"chunked", b"identity", b""}:
        fields = [field for field in fields if field[0].lower() != b"transfer-encoding"]
        if b"chunked" in names:
            fields.append((b"Transfer-Encoding", b" chunked"))
    lengths = [value for name, value in fields if name.lower() == b"content-length"]
    if lengths and not any(map(_LENGTH.fullmatch, lengths)):
        fields = [field for field in fields if field[0].lower() != b"content-length"]
    return fields
