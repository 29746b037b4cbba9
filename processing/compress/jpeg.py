"""JPEGs that end too early."""

from __future__ import annotations

import re
from contextlib import suppress
from io import BytesIO

from PIL import Image

_END = b"\xff\xd9"
# A marker with a length behind it: no stuffed byte, restart or fill byte.
_SEGMENT = re.compile(rb"\xff[^\0\1\xd0-\xd9\xff]")
_MAX_SEGMENT_BYTES = 2 + 65_535


def has_end(data: bytes, scan_start: int) -> bool:
    """Return whether there is an end marker behind the place where the first scan starts."""
    return data.endswith(_END) or data.rfind(_END, scan_start) >= 0


def with_end(data: bytes) -> bytes:
    """Return the file with an end marker, so that decoders take for complete what has all of its pixels.

    A table or the header of a scan that is itself cut off is left out.
    """
    tail = max(0, len(data) - _MAX_SEGMENT_BYTES)
    *_, last = (None, *_SEGMENT.finditer(data, tail))
    if last and last.end() + max(2, int.from_bytes(data[last.end() : last.end() + 2])) > len(data):
        data = data[: last.start()]
    return data + _END


def missing_percent(data: bytes) -> int | None:
    """Return how many of a JPEG's rows a decoder does not reach, or None if something else is wrong."""
    end = data.rfind(_END) if data.endswith(_END) else len(data)
    try:
        image = Image.open(BytesIO(data[:end]), formats=["JPEG"])
    except Exception:
        return None
    with suppress(Exception):
        image.load()
        return None
    if image._im is None or image.info.get("progressive"):
        return None
    # Pillow began with a black picture, and stopped where the data ends.
    reached = image.im.getbbox()
    rows = reached[3] if reached else 0
    return min(99, max(1, round(100 * (1 - rows / image.height))))
