"""The pixels of a picture: libjpeg-turbo's where it fully understands a JPEG, otherwise Pillow's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

import simplejpeg
from PIL import Image

from processing.compress.colour import in_srgb, profile_of
from processing.compress.header import UPRIGHT, decoding, turned
from processing.compress.kinds import JPEGS

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray

TURBO_COLORSPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
# Warnings of libjpeg that mean missing or destroyed picture data. Its others (stray bytes before a marker, an
# odd header) are those of files that every browser shows.
_DAMAGE = re.compile(r"remature end|bad (Huffman|arithmetic) code|instead of RST")


def turbo_pixels(
    image: Image.Image, data: bytes, reduction: int, *, smooth: bool = True
) -> NDArray[uint8] | None:
    """The pixels of a JPEG, one for each ``reduction`` in width and height.

    Colours that the file holds for several pixels at once change gradually between these if ``smooth``, else
    they are the same in all of them, which takes less time.

    None where libjpeg-turbo finds something odd that is no certain damage: Pillow decides then.
    """
    width, height = image.size
    with decoding(data):
        try:
            # Never decode another size than the one that was checked against the limit.
            if simplejpeg.decode_jpeg_header(data)[:2] != (height, width):
                return None
            pixels = simplejpeg.decode_jpeg(
                data,
                TURBO_COLORSPACES[image.mode],
                min_width=-(-width // reduction),
                min_height=-(-height // reduction),
                min_factor=reduction,
                fastupsample=not smooth,
            )
        except ValueError as error:
            if _DAMAGE.search(str(error)):
                raise
            return None
    return cast("NDArray[uint8]", pixels)


def picture_in(image: Image.Image, data: bytes, turn: int, size: tuple[int, int]) -> Image.Image:
    """The picture decoded, in sRGB, upright and of the given size."""
    profile = profile_of(image)
    stored, full = turned(size, turn), image.size
    if image.format in JPEGS:
        image = _decoded_jpeg(image, data, stored)
    image = in_srgb(image, profile)
    if image.size != stored:
        # Scaled to n/8, a JPEG's last row and column may be there only in part: its real edges are the box.
        eighths = round(8 * max(image.size) / max(full))
        edges = (min(full[0] * eighths / 8, image.width), min(full[1] * eighths / 8, image.height))
        image = image.resize(stored, Image.Resampling.LANCZOS, box=(0, 0, *edges), reducing_gap=3.0)
    return image.transpose(UPRIGHT[turn]) if turn in UPRIGHT else image


def _decoded_jpeg(image: Image.Image, data: bytes, size: tuple[int, int]) -> Image.Image:
    """The picture in a JPEG, at least twice ``size`` if it is scaled down at all."""
    enough = (2 * size[0], 2 * size[1])
    reduction = _reduction(image.size, enough)
    pixels = turbo_pixels(image, data, reduction)
    if pixels is None:
        with decoding(data):
            image.draft(image.mode, enough)
            image.load()
        return image
    height, width = pixels.shape[:2]
    layout = "CMYK;I" if image.mode == "CMYK" else image.mode  # inverted by Adobe's convention, as all are
    return Image.frombuffer(image.mode, (width, height), pixels, "raw", layout, 0, 1)


def _reduction(size: tuple[int, int], enough: tuple[int, int]) -> int:
    """Of those that Pillow knows, too, so that both decoders give the same pixels, and that are fast."""
    most = min(size[0] // enough[0], size[1] // enough[1])
    return next(reduction for reduction in (8, 4, 2, 1) if reduction <= max(1, most))
