"""A source's own picture data without its metadata: what is kept where nothing smaller can be made.

Nothing is decoded. A file with anything in it that is not understood here is not kept.
"""

import re
import zlib
from collections.abc import Callable, Iterator

from processing.compress.avif import stripped_avif


def stripped(data: bytes, kind: str, limit: int) -> bytes | None:
    """The file of a sound picture without its metadata, if that takes no more than ``limit`` bytes.

    ``kind`` is ``jpeg``, ``png``, ``webp`` or ``avif``.
    """
    try:
        original = _STRIPPED[kind](data, limit)
    except (ValueError, LookupError, OverflowError):  # the decoder understood more of it than we do
        return None
    return original if len(original) <= limit else None


# --- JPEG (ITU T.81, annex B) ---

_START, _END = b"\xff\xd8", b"\xff\xd9"
# A marker that is neither a stuffed byte nor a restart within a scan.
_MARKER = re.compile(rb"\xff[^\0\xd0-\xd7\xff]")
_SOS, _APP0, _APP14 = 0xDA, 0xE0, 0xEE
# Frames that browsers show (baseline, extended, progressive), tables, restart intervals, scans.
_JPEG_PICTURE = {0xC0, 0xC1, 0xC2, 0xC4, 0xDB, 0xDD, _SOS}
_JPEG_OTHER = {*range(0xE0, 0xF0), 0xFE}


def _stripped_jpeg(data: bytes, limit: int) -> bytes:
    parts, start, left = [_START], 2, limit
    in_scan = False
    while left > 0:
        marker = _MARKER.search(data, start, start + left)
        if marker is None:
            raise ValueError("longer than wanted, or cut off")
        if in_scan:
            parts.append(data[start : marker.start()].rstrip(b"\xff"))  # bytes that only fill
        if marker[0] == _END:
            return b"".join([*parts, _END])
        kind, start = (
            marker[0][1],
            marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2]),
        )
        parts.append(_jpeg_segment(kind, data[marker.start() : start]))
        in_scan = kind == _SOS
        left = limit - sum(map(len, parts))
    raise ValueError("longer than wanted")


def _jpeg_segment(kind: int, segment: bytes) -> bytes:
    """What is kept of a segment: JFIF and Adobe say what the channels mean, but JFIF may hold a thumbnail."""
    if kind in _JPEG_PICTURE:
        return segment
    if kind == _APP0 and segment[4:9] == b"JFIF\0":
        return b"\xff\xe0\0\x10" + segment[4:16] + b"\0\0"
    if kind == _APP14 and segment[4:9] == b"Adobe":
        return b"\xff\xee\0\x0e" + segment[4:16]
    if kind in _JPEG_OTHER:
        return b""
    raise ValueError("a kind of JPEG that browsers may not show")


# --- PNG (ISO/IEC 15948, section 5) ---

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_PICTURE = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}


def _stripped_png(data: bytes) -> bytes:
    parts, start = [_PNG_START], 8
    while parts[-1][4:8] != b"IEND":
        chunk = data[start : start + 12 + int.from_bytes(data[start : start + 4])]
        if len(chunk) < 12:
            raise ValueError("cut off")
        if chunk[4:8] in _PNG_PICTURE:
            if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):  # Pillow forgives this, browsers do not
                raise ValueError("damaged")
            parts.append(chunk)
        start += len(chunk)
    return b"".join(parts)


# --- WebP (RFC 9649, section 2) ---


def _stripped_webp(data: bytes) -> bytes:
    chunks = dict(reversed(list(_riff_chunks(data[12:]))))  # of several of a name the first
    if b"ANMF" in chunks:
        chunks |= _first_frame(chunks[b"ANMF"], chunks[b"VP8X"][4:10])
    body = b"".join(_riff_chunk(name, chunks[name]) for name in (b"ALPH", b"VP8 ", b"VP8L") if name in chunks)
    if (b"VP8 " in chunks) == (b"VP8L" in chunks) or {b"ALPH", b"VP8L"} <= set(chunks):
        raise ValueError("not one picture")
    if b"ALPH" in chunks:  # of the extended header's flags only that for transparency
        body = _riff_chunk(b"VP8X", b"\x10\0\0\0" + chunks[b"VP8X"][4:10]) + body
    return _riff_chunk(b"RIFF", b"WEBP" + body)


def _first_frame(frame: bytes, canvas: bytes) -> dict[bytes, bytes]:
    """The picture data of an animation's frame."""
    if frame[:12] != bytes(6) + canvas:
        raise ValueError("a frame that covers only a part")
    return dict(_riff_chunks(frame[16:]))


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    start = 0
    while start + 8 <= len(data):
        end = start + 8 + int.from_bytes(data[start + 4 : start + 8], "little")
        if end > len(data):
            raise ValueError("cut off")
        yield data[start : start + 4], data[start + 8 : end]
        start = end + end % 2


def _riff_chunk(name: bytes, content: bytes) -> bytes:
    return name + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)


_STRIPPED: dict[str, Callable[[bytes, int], bytes]] = {
    "jpeg": _stripped_jpeg,
    "png": lambda data, limit: _stripped_png(data),
    "webp": lambda data, limit: _stripped_webp(data),
    "avif": lambda data, limit: stripped_avif(data),
}
