"""Decode bitmaps that Pillow does not: colours by masks of any width, and palettes of any size.

The layout is that of BITMAPINFOHEADER and of its successors, and of the short header of OS/2 2.x.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

if TYPE_CHECKING:
    from PIL._imaging import PixelAccess

_INFO_HEADER_BYTES, _SHORT_HEADER_BYTES, _HEADER_BYTES_WITH_ALPHA = 40, 16, 56
_UNCOMPRESSED, _MASKS, _MASKS_WITH_ALPHA = 0, 3, 6
_USUAL_MASKS = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
#: Where masks stand behind or in the header, and rows that are converted at once.
_MASKS_START, _ROWS = 54, 64


class MaskedBmpFile(ImageFile.ImageFile):
    """An uncompressed bitmap. Opening it raises SyntaxError or struct.error if it is none."""

    format = "BMP"
    format_description = "Bitmap with masks"

    def _open(self) -> None:
        self._data = data = cast(BytesIO, self.fp).getvalue()
        self._start, header = struct.unpack_from("<II", data, 10)
        width, height, _, self._bits = struct.unpack_from("<iiHH", data, 18)
        has_info = header >= _INFO_HEADER_BYTES
        compression = struct.unpack_from("<I", data, 30)[0] if has_info else _UNCOMPRESSED
        is_known = has_info or header == _SHORT_HEADER_BYTES
        has_masks = compression in (_MASKS, _MASKS_WITH_ALPHA) and self._bits in _USUAL_MASKS
        if not is_known or width <= 0 or not height or self._bits not in (1, 2, 4, 8, 16, 24, 32):
            raise SyntaxError("not a bitmap of a known layout")
        if not has_masks and compression != _UNCOMPRESSED:
            raise SyntaxError("a compressed bitmap")
        self._masks: tuple[int, ...] = _USUAL_MASKS.get(self._bits, ())
        if has_masks:
            with_alpha = compression == _MASKS_WITH_ALPHA or header >= _HEADER_BYTES_WITH_ALPHA
            masks = struct.unpack_from(f"<{3 + with_alpha}I", data, _MASKS_START)
            self._masks = (*masks, 0)[:4]
        self._palette_start = 14 + header
        self._is_top_down = height < 0
        self._size, self._mode = (width, abs(height)), "RGB"

    def load(self) -> PixelAccess | None:
        if self._im is None:
            image = self._decode()
            self._mode, self._im = image.mode, image.im
        return Image.Image.load(self)

    def _decode(self) -> Image.Image:
        width, height = self.size
        row_bytes = (width * self._bits + 31) // 32 * 4
        rows = np.frombuffer(self._data, np.uint8, row_bytes * height, self._start).reshape(height, row_bytes)
        channels = 4 if any(self._masks[3:]) else 3
        pixels = np.empty((height, width, channels), np.uint8)
        for start in range(0, height, _ROWS):
            pixels[start : start + _ROWS] = self._colours(rows[start : start + _ROWS])
        if channels == 4 and not pixels[..., 3].any():  # a transparency that nobody meant
            pixels = pixels[..., :3]
        if not self._is_top_down:
            pixels = pixels[::-1]
        mode = "RGBA" if pixels.shape[2] == 4 else "RGB"
        return Image.frombytes(mode, self.size, np.ascontiguousarray(pixels).tobytes())

    def _colours(self, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
        width = self.width
        if self._bits == 24:
            return rows[:, : 3 * width].reshape(len(rows), width, 3)[..., ::-1]
        if self._bits <= 8:
            shifts = np.arange(8 - self._bits, -1, -self._bits, dtype=np.uint8)
            indexes = (rows[:, :, None] >> shifts & (1 << self._bits) - 1).reshape(len(rows), -1)
            colours: NDArray[np.uint8] = self._palette()[indexes[:, :width]]
            return colours
        values = rows.view(f"<u{self._bits // 8}")[:, :width]
        masks = self._masks if any(self._masks[3:]) else self._masks[:3]
        return np.stack([_channel(values, mask) for mask in masks], axis=-1)

    def _palette(self) -> NDArray[np.uint8]:
        """Return red, green and blue of all indexes, black where the file has no colour."""
        stored = self._data[self._palette_start : self._start][: 4 << self._bits]
        entries = np.frombuffer(stored[: len(stored) // 4 * 4], np.uint8).reshape(-1, 4)
        palette = np.zeros((1 << self._bits, 3), np.uint8)
        palette[: len(entries)] = entries[:, 2::-1]
        return palette


def _channel(values: NDArray[Any], mask: int) -> NDArray[np.uint8]:
    """Return the bits below a mask, scaled to 255."""
    if not mask:
        return np.zeros(values.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    bits = (values & values.dtype.type(mask)) >> values.dtype.type(shift)
    channel: NDArray[np.uint8] = (bits.astype(np.float64) * (255 / (mask >> shift)) + 0.5).astype(np.uint8)
    return channel
