"""Boxes of the ISO base media file format, the container of AVIF and HEIC, and of JPEG 2000 before them.

ISO/IEC 14496-12, section 4.2, and for the properties of images ISO/IEC 23008-12.
"""

from collections.abc import Iterator

#: Limit for the boxes at one level of a file. A usual file has fewer than a hundred.
MAX_BOXES = 10_000


def iter_boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield type and content of each box in ``data``.

    Raise ValueError if a box does not fit, or after MAX_BOXES.
    """
    start = boxes = 0
    while start < len(data):
        size, box_type, header = (
            int.from_bytes(data[start : start + 4]),
            bytes(data[start + 4 : start + 8]),
            8,
        )
        if size == 1:
            size, header = int.from_bytes(data[start + 8 : start + 16]), 16
        elif size == 0:  # the box extends to the end of the file
            size = len(data) - start
        if size < header or start + size > len(data):
            raise ValueError(f"The box {box_type!r} is cut off")
        yield box_type, data[start + header : start + size]
        start += size
        boxes += 1
        if boxes > MAX_BOXES:
            raise ValueError("Too many boxes")


def find_box(data: memoryview, *path: bytes) -> memoryview:
    """Return the content of the first box at the path of types, or an empty view if there is none.

    Raise ValueError if a box does not fit.
    """
    for wanted in path:
        data = next((content for box_type, content in iter_boxes(data) if box_type == wanted), data[:0])
        if wanted == b"meta":
            data = data[4:]  # version and flags
    return data


def max_declared_pixels(data: memoryview) -> int:
    """Return width times height of the largest image that an AVIF or HEIC file declares, thumbnails included.

    Raise ValueError if a box does not fit.
    """
    properties = iter_boxes(find_box(data, b"meta", b"iprp", b"ipco"))
    sizes = [content for box_type, content in properties if box_type == b"ispe"]
    return max((int.from_bytes(size[4:8]) * int.from_bytes(size[8:12]) for size in sizes), default=0)


def nclx_codes(data: memoryview) -> tuple[int, int] | None:
    """Return the codes of primaries and transfer function that an AVIF or HEIC gives its colours, if it does.

    Raise ValueError if a box does not fit.
    """
    for box_type, content in iter_boxes(find_box(data, b"meta", b"iprp", b"ipco")):
        if box_type == b"colr" and bytes(content[:4]) == b"nclx" and len(content) >= 10:
            return int.from_bytes(content[4:6]), int.from_bytes(content[6:8])
    return None


def jp2_profile(data: memoryview) -> bytes | None:
    """Return the ICC profile of a JPEG 2000, if it has one (ITU-T T.800, section I.5.3.3).

    Raise ValueError if a box does not fit.
    """
    colours = find_box(data, b"jp2h", b"colr")
    return bytes(colours[3:]) if bytes(colours[:1]) in (b"\2", b"\3") else None


def make_box(box_type: bytes, content: bytes) -> bytes:
    """Return the bytes of a box, which must have less than 4 GB."""
    return (8 + len(content)).to_bytes(4) + box_type + content
