"""Count the parts of a picture before a decoder parses it.

Decoders take time and memory for each segment, chunk, tile or item of a file, some of them quadratic. All of
these are counted here in one pass, without copying or decoding anything, and a file that has far more of them
than any camera or program writes is refused. What a damaged file makes of it is left to the decoder.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from dataclasses import dataclass

from processing.compress.isobmff import find_box, iter_boxes
from processing.compress.types import CompressError, unsupported

#: Markers in front of a JPEG's first scan, and between the scans of a progressive one.
MAX_JPEG_SEGMENTS = 1_000
#: Bytes between the segments that belong to none.
MAX_JPEG_JUNK_BYTES = 64 * 1024
#: Decoding takes a pass over all pixels for each. Programs write about ten.
MAX_JPEG_SCANS = 100
#: Pillow's time for these is quadratic, or long for each byte. Only EXIF and tables of one segment are usual.
MAX_JPEG_EXIF_SEGMENTS, MAX_JPEG_TABLE_SEGMENTS, MAX_JPEG_PHOTOSHOP_SEGMENTS = 8, 32, 64
MAX_PNG_CHUNKS = 20_000
#: Chunks with compressed texts and profiles, each of which may inflate to a megabyte.
MAX_PNG_COMPRESSED_CHUNKS = 256
#: Blocks of a GIF's extensions in front of its first frame.
MAX_GIF_BLOCKS = 20_000
MAX_WEBP_CHUNKS = 10_000
MAX_PHOTOSHOP_RESOURCES = 10_000
#: Strips are often a row each; no JPEG, WebP or AVIF has more rows than 65,536.
MAX_TIFF_TAGS, MAX_TIFF_STRIPS, MAX_TIFF_VALUES = 4_096, 65_536, 262_144
#: Items of an AVIF or HEIC are searched one by one for each other. A photograph of a phone has about sixty.
MAX_INDEX_BYTES = 64 * 1024
#: Total length of an AVIF's or HEIC's items, which may overlap: so many times the file, or so many bytes.
MAX_ITEM_REUSE, MIN_ITEM_BYTES = 4, 16 << 20


@dataclass(frozen=True, slots=True)
class Structure:
    """Passes over the pixels that decoding takes, and whether a slow decoder in pure Python makes them.

    Of a JPEG, ``scan_start`` is where the first scan starts, 0 if there is none.
    """

    passes: int = 1
    is_slow: bool = False
    scan_start: int = 0
    is_progressive: bool = False


def check_structure(data: bytes) -> Structure:
    """Count the parts of a picture. Raise CompressError if there are too many."""
    try:
        if data.startswith(b"\xff\xd8"):
            return _check_jpeg(data)
        if data.startswith(b"\x89PNG"):
            _check_png(data)
        elif data.startswith(b"GIF8"):
            _check_gif(data)
        elif data.startswith(b"RIFF"):
            _check_webp(data)
        elif data.startswith((b"II", b"MM")):
            _check_tiff(data)
        elif data[4:8] == b"ftyp":
            _check_boxes(memoryview(data))
        elif data.startswith(b"BM"):
            if data[30:34] in _BMP_FILES:
                raise unsupported("BMP pictures with a JPEG or PNG in them")
            return Structure(is_slow=data[30:34] in _BMP_RUN_LENGTHS)
        elif data.startswith(_CODESTREAM):
            _check_codestream(memoryview(data))
        elif data[4:8] == b"jP  ":
            _check_codestream(find_box(memoryview(data), b"jp2c"))
        elif data.startswith(b"8BPS"):
            _check_photoshop(data)
    except (struct.error, ArithmeticError, IndexError, ValueError):
        pass  # damaged: the decoder says how
    return Structure()


def _limit(count: int, most: int, what: str) -> None:
    if count > most:
        detail = (
            f"The picture has more than {most:,} {what}. "
            "Save it again with an image editor and use the new file."
        )
        raise CompressError("corrupt_image", detail)


# --- JPEG (ITU T.81, annex B) ---

_JPEG_MARKER = re.compile(rb"\xff[^\0\xff]")
# In a scan, restarts (and TEM, which has no length either) are no ends of it.
_JPEG_MARKER_IN_SCAN = re.compile(rb"\xff[^\0\1\xd0-\xd7\xff]")
_TEM, _SOI, _EOI, _SOS, _DQT, _APP1, _APP13 = 0x01, 0xD8, 0xD9, 0xDA, 0xDB, 0xE1, 0xED
_WITHOUT_LENGTH = {_TEM, *range(0xD0, 0xDA)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE_FRAMES, _LOSSLESS_FRAMES = {0xC2, 0xC6, 0xCA, 0xCE}, {0xC3, 0xC7, 0xCB, 0xCF}


def _check_jpeg(data: bytes) -> Structure:
    segments: Counter[int] = Counter()
    start, exif, junk, components, is_progressive = 2, 0, 0, 0, False
    while marker := _JPEG_MARKER.search(data, start, start + MAX_JPEG_JUNK_BYTES + 2):
        code = marker[0][1]
        junk += marker.start() - start
        start = _end_of_segment(data, marker)
        segments[code] += 1
        if code in _FRAMES:
            if (bits := data[marker.end() + 2]) > 8:
                raise unsupported(f"JPEG pictures of {bits} bits per colour")
            if code in _LOSSLESS_FRAMES:
                raise unsupported("Lossless JPEG pictures")
            components, is_progressive = data[marker.end() + 7], code in _PROGRESSIVE_FRAMES
        elif code == _APP1:
            exif += data.startswith(b"Exif\0", marker.end() + 2)
        elif code == _SOS:
            break
        _limit(segments.total(), MAX_JPEG_SEGMENTS, "segments")
    else:
        junk = len(data) - start
    _limit(junk, MAX_JPEG_JUNK_BYTES, "bytes that are no part of it")
    _limit(exif, MAX_JPEG_EXIF_SEGMENTS, "segments of EXIF data")
    _limit(segments[_DQT], MAX_JPEG_TABLE_SEGMENTS, "tables")
    _limit(segments[_APP13], MAX_JPEG_PHOTOSHOP_SEGMENTS, "segments of Photoshop data")
    # A first scan of all components is the only one of a JPEG that is not progressive.
    if is_progressive or (marker and data[marker.end() + 2] < components):
        passes, scan_start = _count_scans(data, start), start if marker else 0
        return Structure(passes=passes, scan_start=scan_start, is_progressive=is_progressive)
    return Structure(scan_start=start if marker else 0)


def _end_of_segment(data: bytes, marker: re.Match[bytes]) -> int:
    if marker[0][1] in _WITHOUT_LENGTH:
        return marker.end()
    return marker.end() + max(2, int.from_bytes(data[marker.end() : marker.end() + 2]))


def _count_scans(data: bytes, start: int) -> int:
    """Return the number of scans of a JPEG whose first scan starts there."""
    scans, segments = 1, 0
    while (marker := _JPEG_MARKER_IN_SCAN.search(data, start)) and marker[0][1] != _EOI:
        scans += marker[0][1] == _SOS
        segments += marker[0][1] != _SOS
        _limit(scans, MAX_JPEG_SCANS, "scans")
        _limit(segments, MAX_JPEG_SEGMENTS, "segments")
        start = _end_of_segment(data, marker)
    return scans


# --- PNG (ISO/IEC 15948, section 5) and WebP (RFC 9649, section 2) ---

_PNG_COMPRESSED = (b"iCCP", b"zTXt", b"iTXt")


def _check_png(data: bytes) -> None:
    start, chunks, compressed = 8, 0, 0
    while start + 8 <= len(data):
        chunks += 1
        compressed += data[start + 4 : start + 8] in _PNG_COMPRESSED
        _limit(chunks, MAX_PNG_CHUNKS, "chunks")
        _limit(compressed, MAX_PNG_COMPRESSED_CHUNKS, "texts and colour profiles")
        start += 12 + int.from_bytes(data[start : start + 4])


def _check_webp(data: bytes) -> None:
    start, chunks = 12, 0
    while start + 8 <= len(data):
        chunks += 1
        _limit(chunks, MAX_WEBP_CHUNKS, "chunks")
        size = int.from_bytes(data[start + 4 : start + 8], "little")
        start += 8 + size + size % 2


# --- GIF (GIF89a specification, sections 15 to 26) ---


class _GifReader:
    """Reads a GIF's blocks as Pillow does, which reads on where others would give up, and counts them."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 128 else 0)
        self._blocks = 0

    def byte(self) -> int:
        """Return the next byte. Raise IndexError at the end of the file."""
        self._count()
        self._at += 1
        return self._data[self._at - 1]

    def block(self) -> int:
        """Skip a block of data. Return its size, which is 0 at the end of a chain."""
        size = self.byte()
        self._at += size
        return size

    def skip_chain(self) -> None:
        """Skip blocks of data up to the end of the chain."""
        while self.block():
            pass

    def startswith(self, prefix: bytes) -> bool:
        return self._data.startswith(prefix, self._at)

    def _count(self) -> None:
        self._blocks += 1
        _limit(self._blocks, MAX_GIF_BLOCKS, "blocks of metadata")


def _check_gif(data: bytes) -> None:
    reader = _GifReader(data)
    while (introducer := reader.byte()) not in b",;":
        if introducer != 0x21:
            continue
        is_comment = reader.byte() == 0xFE
        is_loop = reader.startswith(b"\x0bNETSCAPE2.0")
        more = reader.block()
        if is_comment and not more:
            continue
        if is_loop:
            reader.block()
        reader.skip_chain()


# --- BMP ---

_BMP_RUN_LENGTHS = (b"\1\0\0\0", b"\2\0\0\0")
_BMP_FILES = (b"\4\0\0\0", b"\5\0\0\0")

# --- JPEG 2000 (ITU-T T.800, annex A) ---

_CODESTREAM = b"\xff\x4f\xff\x51"
_START_OF_TILE = 0xFF90


def _check_codestream(codestream: memoryview) -> None:
    width, height, tile_width, tile_height, left, top = struct.unpack_from(">2I8x4I", codestream, 8)
    if not (tile_width and tile_height):
        raise ValueError("tiles without pixels")
    tiles = -(-(width - left) // tile_width) * -(-(height - top) // tile_height)
    _limit(tiles, MAX_TIFF_STRIPS, "tiles")
    at, markers = 2, 0
    while int.from_bytes(codestream[at : at + 2]) not in (_START_OF_TILE, 0):
        markers += 1
        _limit(markers, MAX_JPEG_SEGMENTS, "segments")
        at += 2 + max(2, int.from_bytes(codestream[at + 2 : at + 4]))


# --- Photoshop (Adobe Photoshop File Formats Specification) ---


def _check_photoshop(data: bytes) -> None:
    version, depth = int.from_bytes(data[4:6]), int.from_bytes(data[22:24])
    if version == 2:
        raise unsupported("Large Photoshop documents (PSB)")
    if depth > 8:
        raise unsupported(f"Photoshop pictures of {depth} bits per channel")
    at = 26 + 4 + int.from_bytes(data[26:30])
    end, resources = at + 4 + int.from_bytes(data[at : at + 4]), 0
    at += 4
    while at < min(end, len(data)):
        resources += 1
        _limit(resources, MAX_PHOTOSHOP_RESOURCES, "resources")
        at += 7 + (data[at + 6] | 1)
        size = int.from_bytes(data[at : at + 4])
        at += 4 + size + size % 2


# --- TIFF (TIFF 6.0, section 2) ---

_BYTES, _TEXT, _UNDEFINED = 1, 2, 7
_STRIP_OFFSETS, _STRIP_SIZES, _TILE_OFFSETS, _TILE_SIZES = 273, 279, 324, 325


def _check_tiff(data: bytes) -> None:
    order = "<" if data.startswith(b"II") else ">"
    is_big = data[2] == 43  # as Pillow judges, which takes a big-endian BigTIFF for a usual one
    (start,) = struct.unpack_from(order + ("8xQ" if is_big else "4xI"), data)
    (tags,) = struct.unpack_from(order + ("Q" if is_big else "H"), data, start)
    _limit(tags, MAX_TIFF_TAGS, "tags")
    entry = struct.Struct(order + ("HHQ8x" if is_big else "HHI4x"))
    start += 8 if is_big else 2
    for at in range(start, start + tags * entry.size, entry.size):
        tag, kind, count = entry.unpack_from(data, at)
        if tag in (_STRIP_OFFSETS, _STRIP_SIZES, _TILE_OFFSETS, _TILE_SIZES):
            _limit(count, MAX_TIFF_STRIPS, "strips or tiles")
        elif kind not in (_BYTES, _TEXT, _UNDEFINED):
            _limit(count, MAX_TIFF_VALUES, "values of one kind")


# --- AVIF and HEIC (ISO/IEC 14496-12, section 8.11) ---

_INDEXES = (b"ftyp", b"iinf", b"iloc", b"iref", b"ipma", b"pitm", b"grpl")


def _check_boxes(file: memoryview) -> None:
    for box_type, content in iter_boxes(file):
        if box_type in (b"ftyp", b"moov"):
            most = MAX_INDEX_BYTES if box_type == b"ftyp" else 16 * MAX_INDEX_BYTES
            _limit(len(content), most, "bytes of indexes")
        elif box_type == b"meta":
            _check_meta(content[4:], len(file))


def _check_meta(meta: memoryview, file_bytes: int) -> None:
    boxes = [*iter_boxes(meta), *iter_boxes(find_box(meta, b"iprp"))]
    for box_type, content in boxes:
        if box_type in _INDEXES:
            _limit(len(content), MAX_INDEX_BYTES, "bytes of indexes")
        if box_type == b"iloc":
            most = max(MIN_ITEM_BYTES, MAX_ITEM_REUSE * file_bytes)
            _limit(_located_bytes(content), most, "bytes of data in its index")


def _located_bytes(iloc: memoryview) -> int:
    """Return the total length of all extents of all items."""
    version, sizes, at = iloc[0], int.from_bytes(iloc[4:6]), 6
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    id_size = 4 if version > 1 else 2
    skipped = offset_size + (index_size if version else 0)
    count, at, total = int.from_bytes(iloc[at : at + id_size]), at + id_size, 0
    for _ in range(count):
        at += id_size + (2 if version else 0) + 2 + base_size
        extents, at = int.from_bytes(iloc[at : at + 2]), at + 2
        if at > len(iloc):
            raise ValueError("a box that is too short")
        if not skipped + length_size:
            continue
        for _ in range(extents):
            at += skipped
            total += int.from_bytes(iloc[at : at + length_size])
            at += length_size
            if at > len(iloc):
                raise ValueError("a box that is too short")
    return total
