"""Reduce a PNG to the chunks that make the picture (ISO/IEC 15948 and PNG Third Edition).

Pillow rejects a PNG for damage in chunks that no picture needs, and takes the first image of the file for the
first frame. Browsers do neither. The colour chunks are read here, as browsers read them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from processing.compress.profiles import (
    MAX_PROFILE_BYTES,
    SRGB_PRIMARIES,
    Curve,
    profile_of_codes,
    profile_of_curve,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Types of colours, and the sizes that a description of transparency has for each.
_GREY, _RGB, _PALETTE = 0, 2, 3
_TRANSPARENCY_BYTES = {_GREY: (2,), _RGB: (6,), _PALETTE: range(1, 257)}
_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"eXIf")
# A gamma that everybody writes who means sRGB, and those that a display can have.
_SRGB_GAMMA, _GAMMAS = 45_455, range(1_000, 1_000_000)
_BT1886: Curve = (2.4, 1, 0, 0, 0)
#: Bytes that are inflated at once.
_BATCH_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Png:
    """The parts of a PNG that make the picture which a browser shows first.

    ``header`` is a file without pixels, ``profile`` the ICC profile of its colours.
    """

    header: bytes
    pixels: list[memoryview]
    profile: bytes | None
    is_animated: bool

    def file_without_pixels(self) -> bytes:
        """Return a file that a decoder can open, but not load."""
        return b"".join([self.header, *_chunk(b"IDAT")])

    def file(self) -> bytes:
        """Return a file with nothing but the first frame."""
        return b"".join([self.header, *_chunk(b"IDAT", *self.pixels), *_chunk(b"IEND")])

    def file_with_checksum(self, max_bytes: int) -> bytes:
        """Return the file with the right checksum of its pixels (Adler-32): browsers ignore a wrong one.

        Raise ValueError or zlib.error if the pixels are cut off, damaged or more than ``max_bytes``.
        """
        compressed = b"".join(self.pixels)
        inflater, checksum, inflated = zlib.decompressobj(-zlib.MAX_WBITS), 1, 0
        for start in range(2, len(compressed), _BATCH_BYTES):
            rest = compressed[start : start + _BATCH_BYTES]
            while rest and not inflater.eof:
                piece = inflater.decompress(rest, _BATCH_BYTES)
                checksum, inflated = zlib.adler32(piece, checksum), inflated + len(piece)
                rest = inflater.unconsumed_tail
                if inflated > max_bytes:
                    raise ValueError("too many pixels")
            if inflater.eof:
                end = min(len(compressed), start + _BATCH_BYTES) - len(inflater.unused_data)
                pixels = _chunk(b"IDAT", memoryview(compressed)[:end], checksum.to_bytes(4))
                return b"".join([self.header, *pixels, *_chunk(b"IEND")])
        raise ValueError("cut off")


def read_png(data: bytes) -> Png:
    """Find the chunks of the first frame, without copying pixels. Damaged pixels are left to the decoder.

    Raise ValueError if there is no palette where one is needed.
    """
    header: dict[bytes, bytes] = {}
    image: list[memoryview] = []  # what programs without animations show
    frame: list[memoryview] = []  # the first frame of an animation, if that is another
    frames = 0
    for name, body, is_sound in _chunks(memoryview(data)):
        if name == b"IDAT":
            image.append(body)
        elif name == b"fcTL":
            frames += 1
            is_other = frames == 1 and bool(image) and _is_animation(header)
            # One that covers only a part of the canvas is rare, and not worth composing.
            takes_frame = is_other and body[:20] == bytes(4) + header[b"IHDR"][:8] + bytes(8)
        elif name == b"fdAT" and frames == 1 and takes_frame:
            takes_frame = (
                int.from_bytes(body[:4]) == len(frame) + 1
            )  # browsers ignore animations out of order
            frame.append(body[4:])
        elif is_sound and (not image or name == b"eXIf"):
            header.setdefault(name, bytes(body))
    colour_type = header[b"IHDR"][9] if len(header.get(b"IHDR", b"")) == 13 else -1
    if colour_type == _PALETTE and b"PLTE" not in header:
        raise ValueError("no palette")
    if len(header.get(b"tRNS", b"")) not in _TRANSPARENCY_BYTES.get(colour_type, ()):
        header.pop(b"tRNS", None)
    kept = [part for name in _KEPT if name in header for part in _chunk(name, header[name])]
    is_animated = frames > 1 and _is_animation(header)
    return Png(b"".join([SIGNATURE, *kept]), frame or image, _profile(header), is_animated)


def _is_animation(header: dict[bytes, bytes]) -> bool:
    control = header.get(b"acTL", b"")
    return len(control) == 8 and 0 < int.from_bytes(control[:4]) < 1 << 31


def _chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview, bool]]:
    """Yield name and content of each chunk, and whether its checksum is right. The last may be cut off."""
    start, name = len(SIGNATURE), b""
    while start + 8 <= len(data) and name != b"IEND":
        name = bytes(data[start + 4 : start + 8])
        end = start + 8 + int.from_bytes(data[start : start + 4])
        # Pixels have a checksum of their own.
        is_sound = name in (b"IDAT", b"fdAT") or (
            zlib.crc32(data[start + 4 : end]) == int.from_bytes(data[end : end + 4])
        )
        yield name, data[start + 8 : end], is_sound
        start = end + 4


def _chunk(name: bytes, *content: bytes | memoryview) -> list[bytes | memoryview]:
    """Return the parts of a chunk."""
    checksum = zlib.crc32(name)
    for part in content:
        checksum = zlib.crc32(part, checksum)
    return [sum(map(len, content)).to_bytes(4), name, *content, checksum.to_bytes(4)]


# --- Colours ---


def _profile(header: dict[bytes, bytes]) -> bytes | None:
    """Return the ICC profile of the colours, by the precedence of PNG Third Edition, section 4.3."""
    is_grey = len(header.get(b"IHDR", b"")) == 13 and not header[b"IHDR"][9] & 2
    codes = header.get(b"cICP", b"")
    if len(codes) == 4 and codes[2:] == b"\0\1":  # RGB, full range
        return profile_of_codes(codes[0], codes[1], camera_curve=_BT1886, is_grey=is_grey)
    if profile := _embedded_profile(header.get(b"iCCP", b"")):
        return profile
    gamma = int.from_bytes(header.get(b"gAMA", b""))
    if len(header.get(b"sRGB", b"")) == 1 or gamma not in _GAMMAS:
        return None
    curve = (100_000 / gamma, 1.0, 0.0, 0.0, 0.0)
    chromaticities = header.get(b"cHRM", b"")
    if len(chromaticities) == 32:
        white, red, green, blue = struct.iter_unpack(">2I", chromaticities)
        pairs = [(x / 100_000, y / 100_000) for x, y in (red, green, blue, white)]
        return profile_of_curve(tuple(pairs), curve, is_grey=is_grey)
    return profile_of_curve(SRGB_PRIMARIES, curve, is_grey=is_grey) if gamma != _SRGB_GAMMA else None


def _embedded_profile(chunk: bytes) -> bytes | None:
    name, _, rest = chunk.partition(b"\0")
    if not name or rest[:1] != b"\0":
        return None
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(rest[1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if not inflater.unconsumed_tail else None
