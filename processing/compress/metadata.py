"""Remove the metadata of a picture without decoding it.

The image data is copied into a new file. Anything that this module does not understand makes it give up.
"""

import re
import zlib
from collections.abc import Callable, Iterator

from processing.compress.avif import strip_avif


def strip_metadata(data: bytes, format: str, max_bytes: int) -> bytes | None:
    """Return the file of a sound picture without metadata, or None if it has more than ``max_bytes``.

    ``format`` is ``jpeg``, ``png``, ``webp`` or ``avif``. Return None as well if the file contains anything
    that is not understood here.
    """
    try:
        stripped = _strip_jpeg(data, max_bytes) if format == "jpeg" else _STRIP[format](data)
    except (ValueError, LookupError, OverflowError):
        return None
    return stripped if len(stripped) <= max_bytes else None


# --- JPEG (ITU T.81, annex B) ---

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
# A marker that is neither a stuffed byte nor a restart within a scan.
_MARKER = re.compile(rb"\xff[^\0\xd0-\xd7\xff]")
_SOS, _APP0, _APP14 = 0xDA, 0xE0, 0xEE
# Frames that browsers display (baseline, extended, progressive), tables, restart intervals, scans.
_JPEG_IMAGE_MARKERS = {0xC0, 0xC1, 0xC2, 0xC4, 0xDB, 0xDD, _SOS}
# Application data and comments.
_JPEG_METADATA_MARKERS = {*range(0xE0, 0xF0), 0xFE}


def _strip_jpeg(data: bytes, max_bytes: int) -> bytes:
    """Raise ValueError early, after about ``max_bytes``, if the result would be larger than that."""
    parts, start, left = [_SOI], 2, max_bytes
    in_scan = False
    while left > 0:
        marker = _MARKER.search(data, start, start + left)
        if marker is None:
            raise ValueError("too large or cut off")
        if in_scan:
            scan = data[start : marker.start()].rstrip(b"\xff")  # without fill bytes
            parts.append(scan)
            left -= len(scan)
        if marker[0] == _EOI:
            return b"".join([*parts, _EOI])
        code = marker[0][1]
        start = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
        parts.append(_strip_jpeg_segment(code, data[marker.start() : start]))
        in_scan = code == _SOS
        left -= len(parts[-1])
    raise ValueError("too large")


def _strip_jpeg_segment(code: int, segment: bytes) -> bytes:
    if code in _JPEG_IMAGE_MARKERS:
        return segment
    # JFIF and Adobe segments say what the channels mean. A JFIF segment may contain a thumbnail.
    if code == _APP0 and segment[4:9] == b"JFIF\0":
        return b"\xff\xe0\0\x10" + segment[4:16] + b"\0\0"
    if code == _APP14 and segment[4:9] == b"Adobe":
        return b"\xff\xee\0\x0e" + segment[4:16]
    if code in _JPEG_METADATA_MARKERS:
        return b""
    raise ValueError("a kind of JPEG that browsers may not display")


# --- PNG (ISO/IEC 15948, section 5) ---

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_IMAGE_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}


def _strip_png(data: bytes) -> bytes:
    parts, start = [_PNG_SIGNATURE], 8
    while parts[-1][4:8] != b"IEND":
        chunk = data[start : start + 12 + int.from_bytes(data[start : start + 4])]
        if len(chunk) < 12:
            raise ValueError("cut off")
        if chunk[4:8] in _PNG_IMAGE_CHUNKS:
            # Pillow ignores some wrong checksums, browsers do not.
            if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
                raise ValueError("wrong checksum")
            parts.append(chunk)
        start += len(chunk)
    return b"".join(parts)


# --- WebP (RFC 9649, section 2) ---


def _strip_webp(data: bytes) -> bytes:
    chunks = dict(reversed(list(_riff_chunks(data[12:]))))  # the first chunk of each name
    if b"ANMF" in chunks:
        chunks |= _first_frame(chunks[b"ANMF"], canvas_size=chunks[b"VP8X"][4:10])
    if (b"VP8 " in chunks) == (b"VP8L" in chunks) or {b"ALPH", b"VP8L"} <= set(chunks):
        raise ValueError("not exactly one image")
    body = b"".join(_riff_chunk(name, chunks[name]) for name in (b"ALPH", b"VP8 ", b"VP8L") if name in chunks)
    if b"ALPH" in chunks:  # needs the extended header, of whose flags only transparency remains
        body = _riff_chunk(b"VP8X", b"\x10\0\0\0" + chunks[b"VP8X"][4:10]) + body
    return _riff_chunk(b"RIFF", b"WEBP" + body)


def _first_frame(frame: bytes, canvas_size: bytes) -> dict[bytes, bytes]:
    """Return the chunks in an animation's frame. Raise ValueError if it does not cover the whole canvas."""
    if frame[:12] != bytes(6) + canvas_size:  # offset and size
        raise ValueError("a frame that covers only a part of the canvas")
    return dict(_riff_chunks(frame[16:]))


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of each chunk. Raise ValueError if one is cut off."""
    start = 0
    while start + 8 <= len(data):
        end = start + 8 + int.from_bytes(data[start + 4 : start + 8], "little")
        if end > len(data):
            raise ValueError("cut off")
        yield data[start : start + 4], data[start + 8 : end]
        start = end + end % 2


def _riff_chunk(name: bytes, content: bytes) -> bytes:
    return name + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)


_STRIP: dict[str, Callable[[bytes], bytes]] = {"png": _strip_png, "webp": _strip_webp, "avif": strip_avif}
