"""Files of formats, and of kinds of known formats, that no library at hand writes; made in memory."""

import struct
import zlib
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.support.pictures import encoded, png_chunk

_KINDS = {"u": 1, "i": 2, "f": 3}


def tiff(
    samples: NDArray[np.generic],
    photometric: int,
    *,
    extra: int | None = None,
    in_planes: bool = False,
    tile: int | None = None,
    predictor: int = 1,
    order: Literal["<", ">"] = "<",
    orientation: int = 1,
) -> bytes:
    """A TIFF of an array of rows, columns and channels, in numbers of its type; compressed if predicted."""
    height, width, channels = samples.shape
    samples = samples.astype(samples.dtype.newbyteorder(order))
    planes = [samples[..., [n]] for n in range(channels)] if in_planes else [samples]
    pieces = [
        _predicted(block, predictor, order)
        for plane in planes
        for block in _blocks(plane, tile or height, tile)
    ]
    tags = {256: width, 257: height, 258: (samples.itemsize * 8,) * channels, 259: 8 if predictor > 1 else 1}
    tags |= {262: photometric, 277: channels, 284: 2 if in_planes else 1, 317: predictor}
    tags |= {339: (_KINDS[samples.dtype.kind],) * channels}
    tags[274] = orientation
    if extra is not None:
        tags[338] = extra
    return tiff_of_pieces(tags, pieces, tile, order)


def tiff_of_pieces(
    tags: dict[int, int | tuple[int, ...]], pieces: list[bytes], tile: int | None = None, order: str = "<"
) -> bytes:
    """A TIFF of strips or square tiles."""
    starts = [8 + sum(map(len, pieces[:number])) for number in range(len(pieces))]
    if tile:
        tags = tags | {322: tile, 323: tile, 324: tuple(starts), 325: tuple(map(len, pieces))}
    else:
        tags = tags | {278: tags[257], 273: tuple(starts), 279: tuple(map(len, pieces))}
    body = b"".join(pieces)
    at = 8 + len(body)
    after, entries, rest = at + 2 + 12 * len(tags) + 4, b"", b""
    for tag, value in sorted(tags.items()):
        values = value if isinstance(value, tuple) else (value,)
        kind, letter = (4, "I") if tag in (273, 279, 324, 325) else (3, "H")
        content = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(content) > 4:
            content, rest = struct.pack(order + "I", after + len(rest)), rest + content
        entries += struct.pack(order + "HHI", tag, kind, len(values)) + content.ljust(4, b"\0")
    header = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, at)
    return header + body + struct.pack(order + "H", len(tags)) + entries + bytes(4) + rest


def _blocks(plane: NDArray[np.generic], rows: int, columns: int | None) -> list[NDArray[np.generic]]:
    if columns is None:
        return [plane]
    height, width = plane.shape[:2]
    padded = np.pad(plane, ((0, -height % rows), (0, -width % columns), (0, 0)), mode="edge")
    return [
        padded[y : y + rows, x : x + columns]
        for y in range(0, height, rows)
        for x in range(0, width, columns)
    ]


def _predicted(block: NDArray[np.generic], predictor: int, order: str) -> bytes:
    if predictor == 1:
        return block.tobytes()
    rows, columns, channels = block.shape
    if predictor == 3:  # bytes of a number apart, the highest first
        numbers = np.ascontiguousarray(block.astype(block.dtype.newbyteorder(">")))
        apart = numbers.view(np.uint8).reshape(rows, columns * channels, -1).swapaxes(1, 2)
        values: NDArray[Any] = apart.reshape(rows, -1, channels)
    else:
        values = np.ascontiguousarray(block).view(f"{order}u{block.itemsize}").reshape(block.shape)
    differences = values.copy()
    differences[:, 1:] -= values[:, :-1]
    return zlib.compress(differences.tobytes())


def tiff_of_files(image: Image.Image, compression: int, format: str, tile: int | None = None) -> bytes:
    """A TIFF whose strip, or square tiles, are files of another format."""
    places = [(0, 0, *image.size)]
    if tile:
        places = [
            (x, y, x + tile, y + tile)
            for y in range(0, image.height, tile)
            for x in range(0, image.width, tile)
        ]
    options = {"lossless": True} if format == "WEBP" else {"no_jp2": True}
    pieces = [encoded(image.crop(place), format, **options) for place in places]
    channels = len(image.getbands())
    tags: dict[int, int | tuple[int, ...]] = {256: image.width, 257: image.height, 258: (8,) * channels}
    return tiff_of_pieces(tags | {259: compression, 262: 2, 277: channels}, pieces, tile)


def photoshop(image: Image.Image, mode: int, *, profile: bytes = b"") -> bytes:
    """A Photoshop document with nothing but the picture of all layers together."""
    channels = len(image.getbands())
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, channels, image.height, image.width, 8, mode)
    resource = b"8BIM" + struct.pack(">HHI", 1039, 0, len(profile)) + profile + bytes(len(profile) % 2)
    resources = resource if profile else b""
    planes = b"".join(band.tobytes() for band in image.split())
    if image.mode == "CMYK":
        planes = bytes(255 - value for value in planes)
    return header + bytes(4) + struct.pack(">I", len(resources)) + resources + bytes(4) + b"\0\0" + planes


def bitmap(image: Image.Image, bits: int, masks: tuple[int, ...]) -> bytes:
    """A bitmap whose colours, and transparency if there is a fourth mask, stand where the masks say."""
    values = np.zeros((image.height, image.width), np.uint32)
    for band, mask in zip(image.split(), masks, strict=True):
        shift = (mask & -mask).bit_length() - 1
        levels = np.round(np.asarray(band) * ((mask >> shift) / 255)).astype(np.uint32)
        values |= levels << np.uint32(shift)
    pixels = values.astype(f"<u{bits // 8}")
    padded = np.pad(pixels, ((0, 0), (0, -pixels.shape[1] % (32 // bits))))[::-1].tobytes()
    compression = 6 if len(masks) == 4 else 3
    table = struct.pack(f"<{len(masks)}I", *masks)
    return _bitmap_of(image, bits, compression, table, padded)


def palette_bitmap(image: Image.Image, bits: int, colours: int) -> bytes:
    """A bitmap with a palette of more colours than its pixels can name, or with pixels of two bits."""
    palette = image.getpalette() or []
    table = b"".join(bytes([*palette[at : at + 3][::-1], 0]) for at in range(0, len(palette), 3))
    indexes = np.asarray(image)[::-1]
    if bits < 8:
        digits = (indexes[:, :, None] >> np.arange(bits - 1, -1, -1) & 1).astype(np.uint8)
        indexes = np.packbits(digits.reshape(image.height, -1), axis=1)
    return _bitmap_of(image, bits, 0, table.ljust(4 * colours, b"\0"), indexes.tobytes(), colours=colours)


def _bitmap_of(
    image: Image.Image, bits: int, compression: int, table: bytes, pixels: bytes, *, colours: int = 0
) -> bytes:
    start = 14 + 40 + len(table)
    header = struct.pack(
        "<IiiHHIIiiII", 40, image.width, image.height, 1, bits, compression, len(pixels), 0, 0, colours, 0
    )
    return struct.pack("<2sIII", b"BM", start + len(pixels), 0, start) + header + table + pixels


def with_chunks(png: bytes, *chunks: bytes) -> bytes:
    """A PNG with more chunks behind its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def gamma(value: float) -> bytes:
    return png_chunk(b"gAMA", struct.pack(">I", round(value * 100_000)))


def primaries(*coordinates: float) -> bytes:
    """A cHRM chunk of white, red, green and blue."""
    return png_chunk(b"cHRM", struct.pack(">8I", *[round(value * 100_000) for value in coordinates]))


def codes(primaries: int, transfer: int) -> bytes:
    """A cICP chunk."""
    return png_chunk(b"cICP", bytes([primaries, transfer, 0, 1]))


def damaged(name: bytes, body: bytes) -> bytes:
    """A chunk with a wrong checksum."""
    chunk = bytearray(png_chunk(name, body))
    chunk[-1] ^= 1
    return bytes(chunk)


def with_pixels(png: bytes, pixels: bytes) -> bytes:
    """A PNG of one IDAT chunk with other compressed data in it."""
    start = png.index(b"IDAT") - 4
    return (
        png[:start] + png_chunk(b"IDAT", pixels) + png[start + 12 + int.from_bytes(png[start : start + 4]) :]
    )


def pixels(png: bytes) -> bytes:
    """The compressed data of a PNG of one IDAT chunk."""
    start = png.index(b"IDAT")
    return png[start + 4 : start + 4 + int.from_bytes(png[start - 4 : start])]


def with_nclx(file: bytes, primaries: int, transfer: int) -> bytes:
    """An AVIF or HEIC with other codes for its colours."""
    at = file.index(b"colrnclx") + 8
    return file[:at] + struct.pack(">HH", primaries, transfer) + file[at + 4 :]
