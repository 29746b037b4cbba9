"""Small files that cost a decoder far more than their size, made in memory."""

import struct
import zlib
from collections.abc import Callable

from PIL import Image

from tests.support import pictures
from tests.support.pictures import encoded, photo_jpeg, png_chunk


def with_jpeg_segments(segments: bytes, picture: bytes | None = None) -> bytes:
    """A JPEG with more segments in front."""
    picture = picture or photo_jpeg(64, 48)
    return picture[:2] + segments + picture[2:]


def segment(code: int, content: bytes) -> bytes:
    return bytes([0xFF, code]) + struct.pack(">H", 2 + len(content)) + content


def comments(count: int) -> bytes:
    """A JPEG with empty comments, of 4 bytes each."""
    return with_jpeg_segments(segment(0xFE, b"") * count)


def split_exif(count: int, size: int = 500) -> bytes:
    """A JPEG whose EXIF data is divided into many segments."""
    return with_jpeg_segments(segment(0xE1, b"Exif\0\0" + bytes(size)) * count)


def repeated_scans(count: int, width: int = 64, height: int = 48) -> bytes:
    """A progressive JPEG whose last scan, which refines nothing, is repeated."""
    picture = encoded(Image.new("L", (width, height), 128), "JPEG", progressive=True)
    last = picture.rindex(b"\xff\xda")
    tables = picture.rindex(b"\xff\xc4", 0, last)
    return picture[:-2] + picture[tables:-2] * count + b"\xff\xd9"


def hidden_scans(count: int) -> bytes:
    """The same behind a segment between two scans that contains an end of picture."""
    picture = repeated_scans(count)
    first = picture.index(b"\xff\xda")
    second = picture.index(b"\xff\xc4", first)
    return picture[:second] + segment(0xFE, b"\xff\xd9") + picture[second:]


def png(chunks: bytes, more: bytes = b"") -> bytes:
    picture = encoded(pictures.photo(64, 48), "PNG")
    return picture[:33] + chunks + picture[33:-12] + more + picture[-12:]


def inflating_png(count: int, name: bytes = b"iTXt") -> bytes:
    """A PNG of a kilobyte for each megabyte that its texts, or profiles, inflate to."""
    texts = {
        b"iTXt": b"k\0\1\0\0\0" + zlib.compress(b"\xff" * 1_000_000, 9),  # not UTF-8, so Pillow counts none
        b"iCCP": b"k\0\0" + zlib.compress(bytes(1_000_000), 9),
        b"zTXt": b"k\0\0" + zlib.compress(bytes(1_000_000), 9),
    }
    return png(png_chunk(name, texts[name]) * count)


def tiny_idats(count: int) -> bytes:
    return png(b"", png_chunk(b"IDAT", b"") * count)


def gif_comments(megabytes: int) -> bytes:
    """A GIF with comments in blocks of two bytes."""
    picture = encoded(pictures.photo(64, 48).quantize(8), "GIF")
    start = 13 + (3 << (picture[10] & 7) + 1)
    return picture[:start] + b"!\xfe" + b"\2ab" * (megabytes * 1_000_000 // 3) + b"\0" + picture[start:]


def gif_blocks_after_an_empty_one(count: int) -> bytes:
    """A GIF in which Pillow reads on where the chain of blocks ends: the 44 is a size, and no frame."""
    picture = encoded(pictures.photo(64, 48).quantize(8), "GIF")
    start = 13 + (3 << (picture[10] & 7) + 1)
    return picture[:start] + b"!\xf9\0" + (b"\x2c" + bytes(44)) * count + b"\0" + picture[start:]


def tiny_tiles(count: int) -> bytes:
    """A TIFF of tiles of one pixel, all of which lie at the same place."""
    tags = {256: count, 257: 1, 258: 8, 259: 1, 262: 1, 277: 1, 322: 1, 323: 1}
    entries = [(tag, 4, 1, value) for tag, value in tags.items()]
    at = 8 + 2 + 12 * (len(entries) + 2) + 4
    entries += [(324, 4, count, at), (325, 4, count, at)]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return (
        b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + struct.pack("<I", 8) * count
    )


def wide_tiles(side: int) -> bytes:
    """A TIFF one pixel wide, whose compressed tiles are `side` pixels wide and high, and all the same."""
    tile = zlib.compress(bytes(side * side), 9)
    count = 64
    tags = {256: 1, 257: count * side, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side}
    entries = [(tag, 4, 1, value) for tag, value in tags.items()]
    at = 8 + 2 + 12 * (len(entries) + 2) + 4
    entries += [(324, 4, count, at), (325, 4, count, at + 4 * count)]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    data = struct.pack("<I", at + 8 * count) * count + struct.pack("<I", len(tile)) * count + tile
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + data


def many_tags(count: int) -> bytes:
    """A BigTIFF with a flood of tags."""
    entry = struct.pack("<HHQQ", 256, 4, 1, 1)
    return b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, count) + entry * count + bytes(8)


def webp_chunks(count: int) -> bytes:
    picture = encoded(pictures.photo(64, 48), "WEBP", exif=b"Exif\0\0")
    body = picture[12:] + b"junk\0\0\0\0" * count
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def avif_boxes(count: int) -> bytes:
    return box(b"ftyp", b"avif\0\0\0\0avifmif1miaf") + box(b"free", b"") * count


def avif_items(count: int) -> bytes:
    """An AVIF that announces items, each of which a decoder searches among all others."""
    iloc = bytes([0, 0, 0, 0, 0x44, 0]) + struct.pack(">H", min(count, 65_535))
    iloc += b"".join(struct.pack(">HHHII", item % 65_535 + 1, 0, 1, 8, 1) for item in range(count))
    meta = bytes(4) + box(b"hdlr", bytes(8) + b"pict" + bytes(13)) + box(b"pitm", bytes(4) + b"\0\1")
    return box(b"ftyp", b"avif\0\0\0\0avifmif1miaf") + box(b"meta", meta + box(b"iloc", iloc))


def avif_extents(count: int) -> bytes:
    """An AVIF whose item consists of the whole file many times over."""
    filler = 100_000
    extents = struct.pack(">II", 0, filler) * count
    iloc = bytes([0, 0, 0, 0, 0x44, 0]) + struct.pack(">HHHH", 1, 1, 0, count) + extents
    meta = bytes(4) + box(b"hdlr", bytes(8) + b"pict" + bytes(13)) + box(b"pitm", bytes(4) + b"\0\1")
    file = box(b"ftyp", b"avif\0\0\0\0avifmif1miaf") + box(b"meta", meta + box(b"iloc", iloc))
    return file + box(b"mdat", bytes(filler))


def icon(picture: bytes) -> bytes:
    """An icon of one picture."""
    return struct.pack("<3H4B2H2I", 0, 1, 1, 64, 48, 0, 0, 1, 32, len(picture), 22) + picture


def jpeg_2000_tiles(side: int) -> bytes:
    """A JPEG 2000 that announces a tile for each pixel."""
    picture = bytearray(encoded(Image.new("L", (16, 16)), "JPEG2000", no_jp2=True))
    struct.pack_into(">8I", picture, 8, side, side, 0, 0, 1, 1, 0, 0)
    return bytes(picture)


def jpeg_2000_segments(count: int) -> bytes:
    """A JPEG 2000 with empty comments."""
    picture = encoded(Image.new("L", (16, 16)), "JPEG2000", no_jp2=True)
    return picture[:49] + b"\xff\x64\0\2" * count + picture[49:]


def photoshop_resources(count: int) -> bytes:
    """A Photoshop document with empty resources."""
    resources = (b"8BIM\4\0" + bytes(6)) * count
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 1, 16, 16, 8, 1)
    return header + bytes(4) + struct.pack(">I", len(resources)) + resources + bytes(4 + 2 + 256)


def float_tiff(width: int, height: int) -> bytes:
    """A TIFF of 16 bytes a pixel in one strip."""
    tags = {256: width, 257: height, 258: 32, 259: 8, 262: 2, 277: 4, 278: height, 338: 2, 339: 3}
    strip = zlib.compress(bytes(16 * width * height), 1)
    entries = [(tag, 4, 1, value) for tag, value in tags.items()]
    at = 8 + 2 + 12 * (len(entries) + 2) + 4
    entries += [(273, 4, 1, at), (279, 4, 1, len(strip))]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + strip


def run_length_bmp(width: int, height: int, runs: int) -> bytes:
    """A bitmap whose runs lie right of its last column, which takes a turn of a loop in Python for each."""
    pixels = bytes([255, 1]) * (width // 255 + 1) + b"\1\1" * runs
    start = 14 + 40 + 4 * 256
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(pixels), 0, 0, 256, 0)
    return struct.pack("<2sIII", b"BM", start + len(pixels), 0, start) + header + bytes(4 * 256) + pixels


#: Files that are refused for the number of their parts.
FLOODS: dict[str, Callable[[], bytes]] = {
    "JPEG: comments": lambda: comments(160_000),
    "JPEG: EXIF in pieces": lambda: split_exif(8_000),
    "JPEG: EXIF in large pieces": lambda: split_exif(700, 60_000),
    "JPEG: quantization tables": lambda: with_jpeg_segments(
        segment(0xDB, (b"\0" + b"\1" * 64) * 1_000) * 900
    ),
    "JPEG: Photoshop resources": lambda: with_jpeg_segments(
        segment(0xED, b"Photoshop 3.0\0" + (b"8BIM\4\4\0\0" + bytes(4)) * 5_000) * 700
    ),
    "JPEG: fill bytes": lambda: with_jpeg_segments(b"\xff" * 30_000_000),
    "JPEG: junk": lambda: with_jpeg_segments(segment(0xFE, b"") + b"junk" * 10_000_000),
    "JPEG: markers without a length": lambda: with_jpeg_segments(b"\xff\xd8" * 5_000_000),
    "JPEG: scans": lambda: repeated_scans(1_000, 4_000, 4_000),
    "JPEG: scans behind an end": lambda: hidden_scans(1_000),
    "PNG: chunks": lambda: png(png_chunk(b"teSt", b"") * 1_000_000),
    "PNG: empty IDATs": lambda: tiny_idats(1_000_000),
    "PNG: texts that inflate": lambda: inflating_png(20_000),
    "PNG: profiles that inflate": lambda: inflating_png(20_000, b"iCCP"),
    "GIF: comments": lambda: gif_comments(20),
    "GIF: junk between blocks": lambda: gif_comments(0)[:37] + b"\1" * 30_000_000 + gif_comments(0)[37:],
    "GIF: blocks after an empty one": lambda: gif_blocks_after_an_empty_one(500_000),
    "TIFF: tiles": lambda: tiny_tiles(4_000_000),
    "TIFF: tags": lambda: many_tags(2_000_000),
    "WebP: chunks": lambda: webp_chunks(3_000_000),
    "icon: chunks of a PNG": lambda: icon(png(png_chunk(b"teSt", b"") * 1_000_000)),
    "JPEG 2000: tiles": lambda: jpeg_2000_tiles(5_000),
    "JPEG 2000: segments": lambda: jpeg_2000_segments(5_000_000),
    "Photoshop: resources": lambda: photoshop_resources(3_000_000),
    "AVIF: boxes": lambda: avif_boxes(3_000_000),
    "AVIF: items": lambda: avif_items(60_000),
    "AVIF: extents": lambda: avif_extents(8_000),
}
