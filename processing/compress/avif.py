"""Remove the metadata of an AVIF file (ISO/IEC 14496-12 and 23008-12) by writing a new file.

A still image that is stored as one item, with or without transparency, is understood. Anything else raises
ValueError, LookupError or OverflowError.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from processing.compress.isobmff import find_box, iter_boxes, make_box

_VERSION_AND_FLAGS = bytes(4)
_FTYP = make_box(b"ftyp", b"avif" + bytes(4) + b"avifmif1miaf")
_HDLR = make_box(b"hdlr", bytes(8) + b"pict" + bytes(13))
_IMAGE_PROPERTIES = {b"ispe", b"pixi", b"av1C", b"auxC"}
_ICC_PROFILES = (b"prof", b"rICC")
# Codes of ISO/IEC 23091-2 that mean sRGB: those of BT.709, and "unspecified".
_SRGB_PRIMARIES, _SRGB_TRANSFERS = (1, 2), (1, 2, 6, 13)


class _Property(NamedTuple):
    """A property of an item: the whole box, and whether a reader must understand it."""

    is_essential: bool
    box: bytes


@dataclass
class _Item:
    """A coded image: its data and properties."""

    data: bytes
    properties: list[_Property]


class _Reference(NamedTuple):
    """A typed reference from one item to another, by their ids."""

    type: bytes
    source: int
    target: int


def strip_avif(data: bytes) -> bytes:
    """Return a file with the primary image and its transparency only."""
    file = memoryview(data)
    brands = bytes(find_box(file, b"ftyp"))
    if not brands.startswith(b"avif") or b"avis" in brands:
        raise ValueError("an image sequence")
    meta = find_box(file, b"meta")
    primary = int.from_bytes(find_box(meta, b"pitm")[4:])
    references = list(_read_references(find_box(meta, b"iref")))
    alpha = {found.source for found in references if found.type == b"auxl" and found.target == primary}
    locations = dict(_read_locations(find_box(meta, b"iloc")))
    properties = dict(_read_properties(find_box(meta, b"iprp")))
    items = {}
    for item_id in (primary, *sorted(alpha)):
        start, length = locations[item_id]
        items[item_id] = _Item(data[start : start + length], properties[item_id])
    kept = [found for found in references if found.source in items and found.target in items]
    return _write_file(primary, items, kept)


# --- Reading ---


class _Reader:
    """Read consecutive integers."""

    def __init__(self, data: memoryview) -> None:
        self._data = data

    def read(self, size: int) -> int:
        """Return the next integer, of ``size`` bytes. Raise ValueError at the end of the data."""
        if size > len(self._data):
            raise ValueError("a box that is too short")
        value, self._data = int.from_bytes(self._data[:size]), self._data[size:]
        return value


def _read_references(iref: memoryview) -> Iterator[_Reference]:
    for reference_type, content in iter_boxes(iref[4:]):
        reader = _Reader(content)
        source, count = reader.read(2), reader.read(2)
        for _ in range(count):
            yield _Reference(reference_type, source, reader.read(2))


def _read_locations(iloc: memoryview) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield id, start and length in the file of each item that is stored there in one piece."""
    reader = _Reader(iloc)
    version, _, sizes = reader.read(1), reader.read(3), reader.read(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    if version > 1:
        raise ValueError("an unknown version of iloc")
    for _ in range(reader.read(2)):
        item_id = reader.read(2)
        method = reader.read(2) if version else 0
        data_reference, base, extents = reader.read(2), reader.read(base_size), reader.read(2)
        for _ in range(extents):
            reader.read(index_size if version else 0)
            start, length = base + reader.read(offset_size), reader.read(length_size)
        if extents == 1 and method == data_reference == 0:
            yield item_id, (start, length)


def _read_properties(iprp: memoryview) -> Iterator[tuple[int, list[_Property]]]:
    """Yield the id of each item and those of its properties that are not metadata."""
    boxes = [_without_metadata(name, content) for name, content in iter_boxes(find_box(iprp, b"ipco"))]
    reader = _Reader(find_box(iprp, b"ipma"))
    version, flags = reader.read(1), reader.read(3)
    index_size = 2 if flags & 1 else 1
    essential = 1 << (8 * index_size - 1)
    for _ in range(reader.read(4)):
        item_id = reader.read(4 if version else 2)
        properties = []
        for _ in range(reader.read(1)):
            index = reader.read(index_size)
            if box := boxes[(index & ~essential) - 1]:
                properties.append(_Property(index >= essential, box))
        yield item_id, properties


def _without_metadata(name: bytes, content: memoryview) -> bytes:
    """Return the box of a property, or b"" for an ICC profile: files with another than sRGB are not kept."""
    colour_type = bytes(content[:4]) if name == b"colr" else b""
    if colour_type in _ICC_PROFILES:
        return b""
    if colour_type == b"nclx":
        primaries, transfer = int.from_bytes(content[4:6]), int.from_bytes(content[6:8])
        if primaries not in _SRGB_PRIMARIES or transfer not in _SRGB_TRANSFERS:
            raise ValueError("other colours than sRGB")
    elif name not in _IMAGE_PROPERTIES:
        raise ValueError(f"an unknown property: {name!r}")
    return make_box(name, bytes(content))


# --- Writing ---


def _write_file(primary: int, items: dict[int, _Item], references: list[_Reference]) -> bytes:
    # The length of the meta box does not depend on the offset that it contains.
    data_offset = len(_FTYP) + len(_write_meta(primary, items, references, 0)) + 8
    meta = _write_meta(primary, items, references, data_offset)
    return _FTYP + meta + make_box(b"mdat", b"".join(item.data for item in items.values()))


def _write_meta(primary: int, items: dict[int, _Item], references: list[_Reference], offset: int) -> bytes:
    locations = b""
    for item_id, item in items.items():
        locations += _integers((item_id, 2), (0, 2), (1, 2), (offset, 4), (len(item.data), 4))
        offset += len(item.data)
    infos = [make_box(b"infe", _integers((2, 1), (0, 3), (key, 2), (0, 2)) + b"av01\0") for key in items]
    links = [
        make_box(kind, _integers((source, 2), (1, 2), (target, 2))) for kind, source, target in references
    ]
    parts = [
        _HDLR,
        make_box(b"pitm", _VERSION_AND_FLAGS + _integers((primary, 2))),
        make_box(b"iloc", _VERSION_AND_FLAGS + _integers((0x4400, 2), (len(items), 2)) + locations),
        make_box(b"iinf", _VERSION_AND_FLAGS + _integers((len(items), 2)) + b"".join(infos)),
        make_box(b"iref", _VERSION_AND_FLAGS + b"".join(links)) if links else b"",
        _write_properties(items),
    ]
    return make_box(b"meta", _VERSION_AND_FLAGS + b"".join(parts))


def _write_properties(items: dict[int, _Item]) -> bytes:
    boxes = list(dict.fromkeys(found.box for item in items.values() for found in item.properties))
    associations = b""
    for item_id, item in items.items():
        associations += _integers((item_id, 2), (len(item.properties), 1))
        associations += bytes(
            found.is_essential << 7 | boxes.index(found.box) + 1 for found in item.properties
        )
    ipma = make_box(b"ipma", _VERSION_AND_FLAGS + _integers((len(items), 4)) + associations)
    return make_box(b"iprp", make_box(b"ipco", b"".join(boxes)) + ipma)


def _integers(*fields: tuple[int, int]) -> bytes:
    """Return consecutive integers, each given as a value and its size in bytes."""
    return b"".join(value.to_bytes(size) for value, size in fields)
