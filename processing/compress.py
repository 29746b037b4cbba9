"""Makes a web picture out of the bytes of any picture: a pure function, without Django, files or network.

JPEGs are decoded, and where nothing but the quality changes also encoded, by libjpeg-turbo directly
(``simplejpeg``); everything else, and every JPEG that it does not fully understand, is Pillow's.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from itertools import product
from typing import TYPE_CHECKING, cast

import simplejpeg
from PIL import ExifTags, Image, ImageChops, ImageCms

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray

# The kinds of picture that are opened at all, each with the way its bytes start.
_ACCEPTED = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "WebP": rb"RIFF.{4}WEBP",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM.{4}\0{4}",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "AVIF": rb".{4}ftypavi[fs]",
}
_OTHER_PICTURES = {
    "HEIC": rb".{4}ftyp(hei|hev|mif|msf)",
    "JPEG XL": rb"\xff\x0a|\0{3}\x0cJXL ",
    "JPEG 2000": rb"\xff\x4f\xff\x51|\0{3}\x0cjP  ",
    "Photoshop": rb"8BPS",
    "Icon": rb"\0\0[\1\2]\0",
    "EPS": rb"%!PS-Adobe.{0,20}EPSF|\xc5\xd0\xd3\xc6",
    "SVG": rb"(?i)(\xef\xbb\xbf)?\s*<(svg\b|[?!].{0,2000}?<svg\b)",
}
_NO_PICTURES = {
    "is empty": rb"\Z",
    "is a web page": rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype html|(.{0,2000}?<)?(html|head|body)\b)",
    "is a PDF document": rb"%PDF-",
}
_PILLOW_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
_JPEGS = ("JPEG", "MPO")  # an MPO is a JPEG with more pictures behind the first; Pillow opens it as one

# Longest side that a format can hold. JPEG allows 65,535 but libjpeg stops at 65,500; AVIF allows 65,536 but
# libavif, and with it most browsers, open no more than 32,768.
_LONGEST_SIDE = {"jpeg": 65_500, "webp": 16_383, "avif": 32_768}
# What "original" makes of a source; GIF, BMP and TIFF become PNG, which no browser refuses.
_KEPT_FORMATS = {"jpeg": "jpeg", "mpo": "jpeg", "webp": "webp", "avif": "avif"}

_TURBO_COLORSPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
# Warnings of libjpeg that mean missing or destroyed picture data. Its others (stray bytes before a marker, an
# odd header) are those of files that every browser shows.
_DAMAGE = re.compile(r"remature end|bad (Huffman|arithmetic) code|instead of RST")
# Everything that Pillow's decoders are known to raise for files that are not what they claim to be.
_DECODER_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDES_SWAPPED = (5, 6, 7, 8)

_GREY_MODES = ("1", "L", "LA", "La")
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
# Press profiles take up to 3 MB; what is larger is no profile but a burden to keep in the cache.
_MAX_PROFILE_BYTES = 4 * 1024 * 1024


class CompressError(Exception):
    """A picture that will never be compressed, however often it is tried.

    ``code`` is ``not_an_image``, ``unsupported_format``, ``too_many_pixels`` or ``corrupt_image``; ``detail``
    is a sentence for the people who look after the catalogue.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)  # both, so that the error can be pickled out of a child process
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


@dataclass(frozen=True, slots=True)
class Options:
    """What to make: ``format`` is ``jpeg``, ``webp``, ``avif`` or ``original``; the limits are in pixels."""

    quality: int = 50
    format: str = "jpeg"
    max_width: int | None = None
    max_height: int | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Size in bytes, width and height in pixels as a viewer shows them, format in lower case."""

    bytes: int
    width: int
    height: int
    format: str


@dataclass(frozen=True, slots=True)
class Compressed:
    """A finished picture; ``extension`` is its usual file name ending, without the dot."""

    data: bytes
    extension: str
    source: Facts
    output: Facts


def compress(data: bytes, options: Options, *, max_pixels: int) -> Compressed:
    """The picture in ``data`` (the first of several) upright, in sRGB, without metadata, never enlarged.

    Transparency lies on white in a JPEG and stays in every other format. ``original`` keeps JPEG, WebP, AVIF
    and PNG, makes JPEG of MPO and PNG of the rest. More than ``max_pixels`` (width times height, read before
    anything is decoded) is refused. Raises ``CompressError`` and nothing else for whatever ``data`` holds.
    """
    with _decoding(data):
        image = _opened(data, max_pixels)
        turn = _orientation(image)
    kind = cast(str, image.format).lower()
    target = _KEPT_FORMATS.get(kind, "png") if options.format == "original" else options.format
    shown = _turned(image.size, turn)
    size = _fitted(shown, options)
    _refuse_longer_than_format(size, target)

    only_quality_changes = target == "jpeg" and size == shown and turn == 1 and _is_plain_jpeg(image)
    output = _jpeg_from_jpeg(image, data, options.quality) if only_quality_changes else None
    if output is None:
        picture = _picture(image, data, turn, size)
        output = _encoded(picture, target, options.quality)
    return Compressed(
        data=output,
        extension="jpg" if target == "jpeg" else target,
        source=Facts(len(data), *shown, kind),
        output=Facts(len(output), *size, target),
    )


@contextmanager
def _decoding(data: bytes) -> Iterator[None]:
    """Turns whatever a decoder raises into a CompressError."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        detail = "The picture has more pixels than can be processed."
        raise CompressError("too_many_pixels", detail) from error
    except _DECODER_ERRORS as error:
        raise _refusal(data) from error


def _refusal(data: bytes) -> CompressError:
    """What to say of bytes that could not be read, going by how they start."""
    if kind := _recognised(data, _ACCEPTED):
        return CompressError("corrupt_image", f"The {kind} picture is damaged or incomplete.")
    if looks := _recognised(data, _NO_PICTURES):
        return CompressError("not_an_image", f"The file is not a picture: it {looks}.")
    if kind := _recognised(data, _OTHER_PICTURES):
        return CompressError("unsupported_format", f"{kind} pictures cannot be read.")
    return CompressError("not_an_image", "The file is not a picture of any known kind.")


def _recognised(data: bytes, kinds: dict[str, bytes]) -> str | None:
    return next((kind for kind, start in kinds.items() if re.match(start, data, re.DOTALL)), None)


def _opened(data: bytes, max_pixels: int) -> Image.Image:
    """The picture with its header read, and unless it is a JPEG its pixels too."""
    # Pillow's limit is global, and guards what it allocates while opening a GIF or a WebP. It must not be
    # below ours, and never goes down again, so that threads cannot get in each other's way.
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels
    image = Image.open(BytesIO(data), formats=_PILLOW_FORMATS)
    width, height = image.size
    if width * height > max_pixels:
        detail = f"The picture has {width:,} × {height:,} pixels; at most {max_pixels:,} in all are accepted."
        raise CompressError("too_many_pixels", detail)
    if image.format not in _JPEGS:
        image.load()  # before asking for EXIF: that of a PNG may follow its pixels
    return image


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8. Broken metadata counts as none: the picture itself may be sound."""
    try:
        turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DECODER_ERRORS:
        return 1
    return turn if turn in _UPRIGHT else 1


def _turned(size: tuple[int, int], turn: int) -> tuple[int, int]:
    width, height = size
    return (height, width) if turn in _SIDES_SWAPPED else size


def _fitted(size: tuple[int, int], options: Options) -> tuple[int, int]:
    """The largest size of the same aspect within the limits, and not larger than it is."""
    width, height = size
    scale = min(1, (options.max_width or width) / width, (options.max_height or height) / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _refuse_longer_than_format(size: tuple[int, int], target: str) -> None:
    limit = _LONGEST_SIDE.get(target)
    if limit and max(size) > limit:
        detail = (
            f"A {target.upper()} picture can be at most {limit:,} pixels long, this one is {max(size):,}: "
            "set a maximum width and height or choose another format."
        )
        raise CompressError("unsupported_format", detail)


def _is_plain_jpeg(image: Image.Image) -> bool:
    """Whether it is a JPEG whose colours are plain grey or sRGB."""
    profile = _profile(image)
    plain = image.format in _JPEGS and image.mode in ("L", "RGB")
    return plain and not (profile and _to_srgb(profile, image.mode))


def _jpeg_from_jpeg(image: Image.Image, data: bytes, quality: int) -> bytes | None:
    """The same picture in another quality; None where libjpeg-turbo alone does not do."""
    pixels = _turbo_pixels(image, data, image.size)
    if pixels is None:
        return None
    subsampling = "Gray" if image.mode == "L" else "420"
    jpeg = simplejpeg.encode_jpeg(pixels, quality, _TURBO_COLORSPACES[image.mode], subsampling)
    return cast(bytes, jpeg)


def _turbo_pixels(image: Image.Image, data: bytes, size: tuple[int, int]) -> NDArray[uint8] | None:
    """The pixels of a JPEG, scaled down if that leaves twice ``size`` for a fine resize to work with.

    None where libjpeg-turbo finds something odd that is no certain damage: Pillow decides then.
    """
    width, height = size
    with _decoding(data):
        try:
            # Never decode another size than the one that was checked against the limit.
            if simplejpeg.decode_jpeg_header(data)[:2] != image.size[::-1]:
                return None
            pixels = simplejpeg.decode_jpeg(
                data,
                _TURBO_COLORSPACES[image.mode],
                min_width=2 * width,
                min_height=2 * height,
                min_factor=2,
            )
        except ValueError as error:
            if _DAMAGE.search(str(error)):
                raise
            return None
    return cast("NDArray[uint8]", pixels)


def _picture(image: Image.Image, data: bytes, turn: int, size: tuple[int, int]) -> Image.Image:
    """The picture decoded, in sRGB, upright and of the given size."""
    profile = _profile(image)
    stored, full = _turned(size, turn), image.size
    if image.format in _JPEGS:
        image = _decoded_jpeg(image, data, stored)
    image = _in_srgb(image, profile)
    if image.size != stored:
        # Scaled to n/8, a JPEG's last row and column may be there only in part: its real edges are the box.
        eighths = round(8 * max(image.size) / max(full))
        edges = (min(full[0] * eighths / 8, image.width), min(full[1] * eighths / 8, image.height))
        image = image.resize(stored, Image.Resampling.LANCZOS, box=(0, 0, *edges), reducing_gap=3.0)
    return image.transpose(_UPRIGHT[turn]) if turn in _UPRIGHT else image


def _decoded_jpeg(image: Image.Image, data: bytes, size: tuple[int, int]) -> Image.Image:
    """The picture in a JPEG, at least twice ``size`` if it is scaled down at all."""
    pixels = _turbo_pixels(image, data, size)
    if pixels is None:
        with _decoding(data):
            image.load()
        return image
    height, width = pixels.shape[:2]
    layout = "CMYK;I" if image.mode == "CMYK" else image.mode  # inverted by Adobe's convention, as all are
    return Image.frombuffer(image.mode, (width, height), pixels, "raw", layout, 0, 1)


def _profile(image: Image.Image) -> bytes | None:
    profile: bytes | None = image.info.get("icc_profile")
    return profile if profile and len(profile) <= _MAX_PROFILE_BYTES else None


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture in L, LA, RGB or RGBA; ``profile`` says what its colours are if they are not sRGB's."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _eight_bit(image)
    grey = image.mode in _GREY_MODES
    alpha = None
    if image.has_transparency_data:
        image = _in_mode(image, "LA" if grey else "RGBA")
        alpha = image.getchannel("A")
    if image.mode not in ("CMYK", "LAB"):
        image = _in_mode(image, "L" if grey else "RGB")
    if profile and (transform := _to_srgb(profile, image.mode)):
        image = transform.apply(image)
    image = _in_mode(image, "L" if grey else "RGB")
    if alpha:
        image.putalpha(alpha)
    return image


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """The picture in ``mode``; unlike ``convert`` without a copy where it is in that mode already."""
    return image if image.mode == mode else image.convert(mode)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Deeper greys scaled to L; where the file does not say what white is, the smallest usual range does."""
    if image.mode.startswith("I;16"):
        white = 65_535.0
    else:
        _, brightest = cast(tuple[float, float], image.getextrema())
        white = next((top for top in (1.0, 255.0, 65_535.0) if brightest <= top), brightest)
    return image.convert("F").point(lambda value: value * (255 / white) + 0.5).convert("L")


@lru_cache(maxsize=8)
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The conversion from an embedded profile to sRGB.

    None where there is nothing to convert: the profile is sRGB's, whatever its name, or broken, or not one
    for this mode. Cached because setting one up costs 2 ms and catalogues have the same few all over.
    """
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        transform = ImageCms.buildTransform(source, _SRGB, mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None
    swatch = Image.new("RGB", (216, 1))
    swatch.putdata(list(product((0, 32, 64, 128, 192, 255), repeat=3)))
    swatch = swatch.convert(mode)
    changed = ImageChops.difference(transform.apply(swatch), swatch.convert("RGB"))
    return transform if max(changed.tobytes()) > 2 else None


def _encoded(picture: Image.Image, target: str, quality: int) -> bytes:
    """The file of a picture, with nothing in it but the picture."""
    if target == "jpeg" and picture.mode in ("LA", "RGBA"):
        picture = _on_white(picture)
    picture.info.clear()  # Pillow writes profiles and comments that it finds here
    settings = {} if target == "png" else {"quality": quality}
    file = BytesIO()
    picture.save(file, target, **settings)
    return file.getvalue()


def _on_white(picture: Image.Image) -> Image.Image:
    paper = Image.new(picture.mode.removesuffix("A"), picture.size, "white")
    paper.paste(picture.convert(paper.mode), mask=picture.getchannel("A"))
    return paper
