"""Take the largest picture out of an icon (ICO), which is a small collection of PNGs and bitmaps."""

from __future__ import annotations

import struct

from processing.compress.png import SIGNATURE

_ENTRY = struct.Struct("<4B2H2I")
#: Pixels a side. The directory has no larger sizes.
MAX_SIDE = 256


def is_icon(data: bytes) -> bool:
    return data.startswith(b"\0\0\1\0") and len(data) >= 6 + _ENTRY.size


def largest_picture(data: bytes) -> bytes:
    """Return the largest picture as a PNG, or as an icon of one bitmap.

    Of several that are as large it is the one with most colours. Raise ValueError if that is no picture.
    """
    count = int.from_bytes(data[4:6], "little")
    entries = [
        _ENTRY.unpack_from(data, start)
        for start in range(6, min(6 + count * _ENTRY.size, len(data) - _ENTRY.size + 1), _ENTRY.size)
    ]
    entry = max(entries, key=lambda entry: ((entry[0] or 256) * (entry[1] or 256), entry[5]))
    size, start = entry[6:]
    picture = data[start : start + size]
    if picture.startswith(SIGNATURE):
        return picture
    if len(picture) < 40:
        raise ValueError("cut off")
    width, height = struct.unpack_from("<ii", picture, 4)
    if not (0 < width <= MAX_SIDE and 0 < height <= 2 * MAX_SIDE):  # colours above transparency
        raise ValueError("larger than an icon can be")
    return data[:4] + b"\1\0" + _ENTRY.pack(*entry[:7], 6 + _ENTRY.size) + picture
