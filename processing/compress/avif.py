"""An AVIF file written anew around its own picture data (ISO/IEC 23008-12 and 14496-12).

A still picture in one piece, with or without transparency, is understood. What is not raises ValueError.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from processing.compress.boxes import box, boxes, inside, number

_FULL = bytes(4)  # version 0, no flags
_BRANDS = box(b"ftyp", b"avif" + bytes(4) + b"avifmif1miaf")
_HANDLER = box(b"hdlr", bytes(8) + b"pict" + bytes(13))
_PICTURE_PROPERTIES = {b"ispe", b"pixi", b"av1C", b"auxC"}
_PROFILES = (b"prof", b"rICC")
# Of ISO/IEC 23091-2: those of BT.709, which are sRGB's, and "unspecified", which means the same.
_SRGB_PRIMARIES, _SRGB_TRANSFERS = (1, 2), (1, 2, 6, 13)


class _Fields:
    """Numbers in a row."""

    def __init__(self, data: memoryview) -> None:
        self._data = data

    def take(self, size: int) -> int:
        """The next number, of so many bytes."""
        if size > len(self._data):
            raise ValueError("a box that is too short")
        value, self._data = number(self._data[:size]), self._data[size:]
        return value


@dataclass
class _Item:
    """One coded picture: its data and its properties, the essential ones marked."""

    data: bytes
    properties: list[tuple[bool, bytes]]


def stripped_avif(data: bytes) -> bytes:
    """The file with its picture and that picture's transparency alone."""
    file = memoryview(data)
    brands = bytes(inside(file, b"ftyp"))
    if not brands.startswith(b"avif") or b"avis" in brands:
        raise ValueError("a sequence")
    meta = inside(file, b"meta")
    primary = number(inside(meta, b"pitm")[4:])
    references = list(_references(inside(meta, b"iref")))
    alpha = {source for kind, source, target in references if kind == b"auxl" and target == primary}
    places = dict(_places(inside(meta, b"iloc")))
    properties = dict(_properties(inside(meta, b"iprp")))
    items = {}
    for key in (primary, *sorted(alpha)):
        start, length = places[key]
        items[key] = _Item(data[start : start + length], properties[key])
    kept = [reference for reference in references if {reference[1], reference[2]} <= set(items)]
    return _file(primary, items, kept)


# --- Reading ---


def _references(iref: memoryview) -> Iterator[tuple[bytes, int, int]]:
    """Kind, from and to of each reference from one item to another."""
    for kind, content in boxes(iref[4:]):
        fields = _Fields(content)
        source, count = fields.take(2), fields.take(2)
        for _ in range(count):
            yield kind, source, fields.take(2)


def _places(iloc: memoryview) -> Iterator[tuple[int, tuple[int, int]]]:
    """Start and length in the file, by item; of those that lie there in one piece."""
    fields = _Fields(iloc)
    version, _, sizes = fields.take(1), fields.take(3), fields.take(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    if version > 1:
        raise ValueError("an iloc of another version")
    for _ in range(fields.take(2)):
        key = fields.take(2)
        method = fields.take(2) if version else 0
        other_file, base, extents = fields.take(2), fields.take(base_size), fields.take(2)
        for _ in range(extents):
            fields.take(index_size if version else 0)
            start, length = base + fields.take(offset_size), fields.take(length_size)
        if extents == 1 and method == other_file == 0:
            yield key, (start, length)


def _properties(iprp: memoryview) -> Iterator[tuple[int, list[tuple[bool, bytes]]]]:
    """What belongs to a picture of an item's properties, as boxes."""
    known = [_property(name, content) for name, content in boxes(inside(iprp, b"ipco"))]
    fields = _Fields(inside(iprp, b"ipma"))
    version, flags = fields.take(1), fields.take(3)
    index_size = 2 if flags & 1 else 1
    essential = 1 << (8 * index_size - 1)
    for _ in range(fields.take(4)):
        key = fields.take(4 if version else 2)
        found = []
        for _ in range(fields.take(1)):
            index = fields.take(index_size)
            if kept := known[(index & ~essential) - 1]:
                found.append((index >= essential, kept))
        yield key, found


def _property(name: bytes, content: memoryview) -> bytes:
    """The property's box; empty if it says nothing that matters here."""
    kind = bytes(content[:4]) if name == b"colr" else b""
    if kind in _PROFILES:
        return b""
    if kind == b"nclx":
        primaries, transfer = number(content[4:6]), number(content[6:8])
        if primaries not in _SRGB_PRIMARIES or transfer not in _SRGB_TRANSFERS:
            raise ValueError("other colours than sRGB's")
    elif name not in _PICTURE_PROPERTIES:
        raise ValueError(f"a property that is not known here: {name!r}")
    return box(name, bytes(content))


# --- Writing ---


def _file(primary: int, items: dict[int, _Item], references: list[tuple[bytes, int, int]]) -> bytes:
    start = len(_BRANDS) + len(_meta(primary, items, references, 0)) + 8
    meta = _meta(primary, items, references, start)
    return _BRANDS + meta + box(b"mdat", b"".join(item.data for item in items.values()))


def _meta(
    primary: int, items: dict[int, _Item], references: list[tuple[bytes, int, int]], start: int
) -> bytes:
    locations = b""
    for key, item in items.items():
        locations += _numbers((key, 2), (0, 2), (1, 2), (start, 4), (len(item.data), 4))
        start += len(item.data)
    infos = [box(b"infe", _numbers((2, 1), (0, 3), (key, 2), (0, 2)) + b"av01\0") for key in items]
    links = [box(kind, _numbers((source, 2), (1, 2), (target, 2))) for kind, source, target in references]
    parts = [
        _HANDLER,
        box(b"pitm", _FULL + _numbers((primary, 2))),
        box(b"iloc", _FULL + _numbers((0x4400, 2), (len(items), 2)) + locations),
        box(b"iinf", _FULL + _numbers((len(items), 2)) + b"".join(infos)),
        box(b"iref", _FULL + b"".join(links)) if links else b"",
        _item_properties(items),
    ]
    return box(b"meta", _FULL + b"".join(parts))


def _item_properties(items: dict[int, _Item]) -> bytes:
    known = list(dict.fromkeys(kept for item in items.values() for _, kept in item.properties))
    links = b""
    for key, item in items.items():
        links += _numbers((key, 2), (len(item.properties), 1))
        links += bytes(essential << 7 | known.index(kept) + 1 for essential, kept in item.properties)
    association = box(b"ipma", _FULL + _numbers((len(items), 4)) + links)
    return box(b"iprp", box(b"ipco", b"".join(known)) + association)


def _numbers(*fields: tuple[int, int]) -> bytes:
    """Numbers in a row, each with its size in bytes."""
    return b"".join(value.to_bytes(size) for value, size in fields)
