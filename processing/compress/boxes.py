"""The boxes of AVIF and HEIC files (ISO/IEC 14496-12, section 4.2, and 23008-12)."""

from collections.abc import Iterator

#: Boxes that hold boxes, and how many bytes of their own those have before them.
_HEADERS = {b"meta": 4, b"iprp": 0, b"ipco": 0}


def number(data: memoryview) -> int:
    """An unsigned number as boxes hold them."""
    return int.from_bytes(data)


def boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Name and content of each box in ``data``. Raises ValueError where they do not fit."""
    start = 0
    while start < len(data):
        size, name, header = number(data[start : start + 4]), bytes(data[start + 4 : start + 8]), 8
        if size == 1:
            size, header = number(data[start + 8 : start + 16]), 16
        elif size == 0:  # to the end of the file
            size = len(data) - start
        if size < header or start + size > len(data):
            raise ValueError(f"The box {name!r} is cut off")
        yield name, data[start + header : start + size]
        start += size


def inside(data: memoryview, *path: bytes) -> memoryview:
    """The content of the first box of that path, from ``data`` down; empty if there is none."""
    for name in path:
        data = next((content for found, content in boxes(data) if found == name), data[:0])
        data = data[_HEADERS.get(name, 0) :]
    return data


def most_pixels_declared(data: memoryview) -> int:
    """Of the largest picture that an AVIF or HEIC file announces, secondary ones included.

    Raises ValueError where the boxes do not fit.
    """
    sizes = [content for name, content in boxes(inside(data, b"meta", b"iprp", b"ipco")) if name == b"ispe"]
    return max((number(size[4:8]) * number(size[8:12]) for size in sizes), default=0)


def box(name: bytes, content: bytes) -> bytes:
    """The bytes of a box, of less than 4 GB."""
    return (8 + len(content)).to_bytes(4) + name + content
