"""Decode TIFFs whose samples Pillow does not know (TIFF 6.0 and its supplements).

These are integers of 16 bits in planes, 32 bits and floating-point numbers of several channels, CMYK with
transparency, and tiles that are WebP or JPEG 2000 files. Pillow's libtiff decompresses the samples as if they
were grey bytes; what the bytes mean is told here.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin

from processing.compress.levels import to_eight_bits
from processing.compress.types import unsupported

if TYPE_CHECKING:
    from PIL._imaging import PixelAccess

Samples = NDArray[Any]

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _STRIP_OFFSETS = 256, 257, 258, 259, 262, 273
_SAMPLES, _ROWS_PER_STRIP, _STRIP_SIZES, _PLANES, _PREDICTOR = 277, 278, 279, 284, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_SIZES, _EXTRA, _FORMAT = 322, 323, 324, 325, 338, 339
_PROFILE = 34675
# Compressions that Pillow has a decoder for, but not within a TIFF; and those of libtiff.
_FILES = {50001: "WEBP", 34712: "JPEG2000", 33005: "JPEG2000"}
_STREAMS = (1, 5, 8, 32773, 32946, 34925, 50000)
_NAMES = {33003: "JPEG 2000 in YCbCr", 34661: "JBIG", 34676: "SGI LogLuv", 34677: "SGI LogLuv"}
# Mode and number of colours by photometric interpretation.
_MODES = {0: ("L", 1), 1: ("L", 1), 2: ("RGB", 3), 5: ("CMYK", 4)}
_KINDS = {1: "u", 2: "i", 3: "f"}
_ASSOCIATED, _UNASSOCIATED = 1, 2
#: Memory is bounded by the pixels, of which each takes this at most.
MAX_PIXEL_BYTES = 20
#: Rows that are converted at once.
_ROWS = 64


def is_left_to_pillow(tags: TiffImagePlugin.ImageFileDirectory_v2) -> bool:
    """Return whether Pillow decodes a TIFF that it has opened without complaint."""
    in_planes = tags.get(_PLANES, 1) == 2 and tags.get(_SAMPLES, 1) > 1
    deep = max(tags.get(_BITS, (1,))) > 8
    return not (in_planes and deep) and tags.get(_COMPRESSION, 1) not in _FILES


class SampleTiffFile(ImageFile.ImageFile):
    """The first page of a TIFF. ``alpha`` has the transparency of a CMYK page once that is loaded.

    Opening it raises CompressError if its samples are of a kind that is not supported.
    """

    format = "TIFF"
    format_description = "TIFF with unusual samples"
    alpha: Image.Image | None = None

    def _open(self) -> None:
        self._file = file = cast(BytesIO, self.fp)
        header = file.read(8)
        if header[2] == 43:
            header += file.read(8)
        self.tag_v2 = tags = TiffImagePlugin.ImageFileDirectory_v2(header)
        file.seek(tags.next)
        tags.load(file)
        self._size = tags[_WIDTH], tags[_HEIGHT]
        bits = set(tags.get(_BITS, (1,)))
        self._bits, self._format = max(bits), max(tags.get(_FORMAT, (1,)))
        self._compression, self._predictor = tags.get(_COMPRESSION, 1), tags.get(_PREDICTOR, 1)
        self._samples = tags.get(_SAMPLES, 1)
        self._in_planes = tags.get(_PLANES, 1) == 2 and self._samples > 1
        self._mode, self._colours = _MODES.get(tags.get(_PHOTOMETRIC, 0), ("", 0))
        self._check(len(bits))
        if profile := tags.get(_PROFILE):
            self.info["icc_profile"] = profile

    def _check(self, kinds_of_samples: int) -> None:
        if self._compression not in _FILES and self._compression not in _STREAMS:
            name = _NAMES.get(self._compression, f"method {self._compression}")
            raise unsupported(f"TIFF pictures compressed by {name}")
        if not self._colours or not self._colours <= self._samples:
            raise unsupported("TIFF pictures with these colours")
        is_known = (self._format in _KINDS and self._bits in (8, 16, 32, 64)) and kinds_of_samples == 1
        if not is_known or (self._format == 3 and self._bits == 8):
            raise unsupported(f"TIFF pictures with samples of {self._bits} bits")
        if self._bits // 8 * self._samples > MAX_PIXEL_BYTES:
            raise unsupported(f"TIFF pictures of more than {MAX_PIXEL_BYTES} bytes a pixel")

    def getexif(self) -> Image.Exif:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = self.tag_v2.get(ExifTags.Base.Orientation, 1)
        return exif

    def load(self) -> PixelAccess | None:
        if self._im is None:
            image = self._from_files() if self._compression in _FILES else self._from_samples()
            self._mode, self._im = image.mode, image.im
        return Image.Image.load(self)

    # --- Tiles that are files ---

    def _from_files(self) -> Image.Image:
        is_clear = self._mode == "RGB" and self._samples == 4
        canvas = Image.new("RGBA" if is_clear else self._mode, self.size)
        across, width, height, offsets, sizes = self._tiles()
        for number, (offset, size) in enumerate(zip(offsets, sizes, strict=True)):
            self._file.seek(offset)
            tile = Image.open(BytesIO(self._file.read(size)), formats=[_FILES[self._compression]])
            if tile.width > width or tile.height > height:
                raise ValueError("A tile is larger than the header says")
            at = (number % across * width, number // across * height)
            canvas.paste(tile.convert(canvas.mode), at)
        return canvas

    def _tiles(self) -> tuple[int, int, int, tuple[int, ...], tuple[int, ...]]:
        """Return the tiles in a row, width and height of each, and where they are in the file."""
        tags = self.tag_v2
        if _TILE_OFFSETS in tags:
            width, height = tags[_TILE_WIDTH], tags[_TILE_HEIGHT]
            return -(-self.width // width), width, height, tags[_TILE_OFFSETS], tags[_TILE_SIZES]
        rows = min(tags.get(_ROWS_PER_STRIP, self.height), self.height)
        return 1, self.width, rows, tags[_STRIP_OFFSETS], tags[_STRIP_SIZES]

    # --- Samples ---

    def _from_samples(self) -> Image.Image:
        planes = self._samples if self._in_planes else 1
        samples = np.concatenate([self._plane(number, planes) for number in range(planes)], axis=2)
        eight_bits = to_eight_bits(samples, is_full_range=self._format == 1 and self._bits <= 16)
        del samples
        if self.tag_v2.get(_PHOTOMETRIC, 0) == 0:
            np.subtract(255, eight_bits[..., :1], out=eight_bits[..., :1])
        return self._with_alpha(eight_bits)

    def _plane(self, number: int, planes: int) -> Samples:
        """Return the samples of one plane, or of all channels: rows, columns, channels."""
        channels = self._samples // planes
        across, tile_width, tile_height, offsets, sizes = self._tiles()
        count = len(offsets) // planes
        here = slice(number * count, (number + 1) * count)
        pixel_bytes = channels * self._bits // 8
        width = across * tile_width  # with what lies right of the picture, which the predictor needs
        if _TILE_OFFSETS in self.tag_v2:
            parts = {_TILE_WIDTH: tile_width * pixel_bytes, _TILE_HEIGHT: tile_height}
            parts |= {_TILE_OFFSETS: offsets[here], _TILE_SIZES: sizes[here]}
        else:
            parts = {_ROWS_PER_STRIP: tile_height, _STRIP_OFFSETS: offsets[here], _STRIP_SIZES: sizes[here]}
        rows = self._bytes(width * pixel_bytes, parts)
        samples = rows.reshape(self.height, across, tile_width * pixel_bytes)
        decoded = self._unpredicted(samples, channels)
        return decoded.reshape(self.height, width, channels)[:, : self.width]

    def _bytes(self, width: int, parts: dict[int, int | tuple[int, ...]]) -> Samples:
        """Let Pillow decompress these strips or tiles as a page of grey bytes."""
        data = self._file.getvalue()
        tags = {_WIDTH: width, _HEIGHT: self.height, _BITS: 8, _COMPRESSION: self._compression}
        tags |= {_PHOTOMETRIC: 1, _SAMPLES: 1, **parts}
        directory = _directory(tags, len(data), "<" if self.tag_v2.prefix == b"II" else ">")
        page = TiffImagePlugin.TiffImageFile(BytesIO(b"".join([directory[:8], data[8:], directory[8:]])))
        return np.frombuffer(page.tobytes(), np.uint8)

    def _unpredicted(self, rows: Samples, channels: int) -> Samples:
        """Undo the predictor, in each row of each tile by itself (TIFF 6.0, section 14, and Supplement 3)."""
        order = "<" if self.tag_v2.prefix == b"II" else ">"
        size = self._bits // 8
        height, across, row_bytes = rows.shape
        if self._predictor == 3:
            sums = np.cumsum(rows.reshape(height, across, -1, channels), axis=2, dtype=np.uint8)
            planes = sums.reshape(height, across, size, row_bytes // size)
            return np.ascontiguousarray(planes.swapaxes(2, 3)).view(f">f{size}")
        samples = rows.view(f"{order}{_KINDS[self._format]}{size}")
        if self._predictor == 2:
            integers = rows.view(f"{order}u{size}").reshape(height, across, -1, channels)
            sums = np.cumsum(integers, axis=2, dtype=f"=u{size}")
            return sums.view(f"={_KINDS[self._format]}{size}")
        return samples

    def _with_alpha(self, pixels: NDArray[np.uint8]) -> Image.Image:
        """Return the picture, with its transparency where the mode has any, and else in ``alpha``."""
        extra = self.tag_v2.get(_EXTRA, ())
        kind = extra[0] if extra else (_UNASSOCIATED if self._colours == 3 else 0)
        colours = pixels[..., : self._colours]
        if self._samples == self._colours or kind not in (_ASSOCIATED, _UNASSOCIATED):
            return _image(colours, self._mode)
        alpha = pixels[..., self._colours]
        if kind == _ASSOCIATED:
            for start in range(0, self.height, _ROWS):
                rows, opacity = colours[start : start + _ROWS], alpha[start : start + _ROWS, :, None]
                rows[:] = np.minimum(rows.astype(np.uint16) * 255 // np.maximum(opacity, 1), 255)
        image = _image(colours, self._mode)
        transparency = _image(alpha[..., None], "L")
        if self._mode == "CMYK":
            self.alpha = transparency
        else:
            image.putalpha(transparency)
        return image


def _directory(tags: dict[int, int | tuple[int, ...]], start: int, order: str) -> bytes:
    """Return the header of a TIFF and, to be put at ``start``, its directory."""
    header = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, start)
    after = start + 2 + 12 * len(tags) + 4
    entries, rest = struct.pack(order + "H", len(tags)), b""
    for tag, value in sorted(tags.items()):
        values = value if isinstance(value, tuple) else (value,)
        content = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            content, rest = struct.pack(order + "I", after + len(rest)), rest + content
        entries += struct.pack(order + "HHI4s", tag, 4, len(values), content)
    return header + entries + bytes(4) + rest


def _image(pixels: NDArray[np.uint8], mode: str) -> Image.Image:
    height, width = pixels.shape[:2]
    return Image.frombytes(mode, (width, height), np.ascontiguousarray(pixels).tobytes())
