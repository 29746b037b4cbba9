"""Pictures as others read them, for judging outputs: by libvips, and by what a file is made of."""

import logging
from collections.abc import Iterator

import numpy
import pyvips
from numpy.typing import NDArray
from PIL import Image

logging.getLogger("pyvips").setLevel(logging.WARNING)  # at INFO it tells of every thread

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_METADATA = ("exif", "xmp", "iptc", "icc", "thumbnail", "comment", "orientation", "photoshop")
#: All that a file has to be made of to show a picture.
_PICTURE = {
    *("FFE0 JFIF", "FFEE Adobe", "FFDB", "FFC0", "FFC1", "FFC2", "FFC4", "FFDD", "FFDA", "FFD9"),
    *("IHDR", "PLTE", "tRNS", "IDAT", "IEND"),
    *("VP8 ", "VP8L", "VP8X", "ALPH"),
    *(
        "ftyp",
        "meta",
        "hdlr",
        "pitm",
        "iloc",
        "iinf",
        "infe av01",
        "iref",
        "auxl",
        "iprp",
        "ipco",
        "ipma",
        "mdat",
    ),
    *("ispe", "pixi", "av1C", "auxC", "colr nclx"),
}
_LENGTHS = {"FFE0 JFIF": 16, "FFEE Adobe": 14}
#: Bytes before the boxes in a box of boxes.
_INNER_BOXES = {"meta": 4, "iinf": 6, "iref": 4, "iprp": 0, "ipco": 0}


def seen(data: bytes) -> Image.Image:
    """The picture in a file as libvips decodes it, in L, LA, RGB or RGBA."""
    picture = pyvips.Image.new_from_buffer(data, "", fail_on="warning")
    if picture.format != "uchar":
        picture = picture.colourspace("b-w" if picture.bands < 3 else "srgb")
    size = (picture.width, picture.height)
    return Image.frombytes(_MODES[picture.bands], size, picture.write_to_memory())


def metadata(data: bytes) -> list[str]:
    """Metadata of a file: as libvips reports it, and parts that no reader needs."""
    fields: list[str] = pyvips.Image.new_from_buffer(data, "").get_fields()
    reported = [field for field in fields if any(name in field for name in _METADATA)]
    return [*reported, *(part for part in parts(data) if part not in _PICTURE)]


def parts(data: bytes) -> list[str]:
    """The segments of a JPEG, the chunks of a PNG or WebP, the boxes of an AVIF; "rest" for what follows."""
    if data.startswith(b"\xff\xd8"):
        return list(_segments(data))
    if data.startswith(b"\x89PNG"):
        return list(_chunks(data))
    if data.startswith(b"RIFF"):
        return list(_riff(data))
    return list(_boxes(data))


def _segments(data: bytes) -> Iterator[str]:
    at = 2
    while data[at : at + 2] != b"\xff\xd9":
        assert data[at] == 0xFF, f"no marker at {at}"
        length = int.from_bytes(data[at + 2 : at + 4])
        name = data[at : at + 2].hex().upper()
        if name >= "FFE0":
            name += " " + data[at + 4 : at + 9].decode("latin-1").rstrip("\0")
        yield name if length <= _LENGTHS.get(name, length) else f"{name} with a thumbnail"
        at += 2 + length
        if name == "FFDA":
            while data[at] != 0xFF or data[at + 1] in (0, *range(0xD0, 0xD8), 0xFF):
                at += 1
    yield "FFD9"
    if data[at + 2 :]:
        yield "rest"


def _chunks(data: bytes) -> Iterator[str]:
    at = 8
    while at < len(data):
        yield data[at + 4 : at + 8].decode()
        at += 12 + int.from_bytes(data[at : at + 4])


def _riff(data: bytes) -> Iterator[str]:
    at = 12
    while at < len(data):
        name, size = data[at : at + 4].decode(), int.from_bytes(data[at + 4 : at + 8], "little")
        yield "VP8X with more than ALPH" if name == "VP8X" and data[at + 8] & ~0x10 else name
        at += 8 + size + size % 2
    if at != 8 + int.from_bytes(data[4:8], "little"):
        yield "rest"


def _boxes(data: bytes) -> Iterator[str]:
    at = 0
    while at < len(data):
        size, name = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8].decode()
        content = data[at + 8 : at + size]
        what = {"colr": content[:4], "infe": content[8:12]}.get(name, b"")
        yield f"{name} {what.decode()}".strip()
        if name in _INNER_BOXES:
            yield from _boxes(content[_INNER_BOXES[name] :])
        at += size


def similarity(one: Image.Image, other: Image.Image) -> float:
    """SSIM of two pictures' luminance: 1 if they are equal (Wang et al. 2004, windows of 7 by 7)."""
    x, y = (numpy.asarray(picture.convert("L"), dtype=float) for picture in (one, other))
    mean_x, mean_y = _windows(x), _windows(y)
    variances = _windows(x * x) - mean_x**2 + _windows(y * y) - mean_y**2
    covariance = _windows(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    measured = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float((measured / ((mean_x**2 + mean_y**2 + c1) * (variances + c2))).mean())


def _windows(values: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
    """Their means over every window."""
    sums = numpy.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    means: NDArray[numpy.float64] = (sums[7:, 7:] - sums[:-7, 7:] - sums[7:, :-7] + sums[:-7, :-7]) / 49
    return means


def psnr(one: Image.Image, other: Image.Image) -> float:
    """Peak signal-to-noise ratio of two pictures in decibels."""
    x, y = (numpy.asarray(picture.convert("RGB"), dtype=float) for picture in (one, other))
    error = float(((x - y) ** 2).mean())
    return float(10 * numpy.log10(255**2 / error)) if error else float("inf")
