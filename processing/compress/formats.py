"""The formats that are accepted, and the error for data that could not be decoded."""

import re

from processing.compress.jpeg import missing_percent
from processing.compress.types import CompressError, unsupported

try:
    import pillow_heif  # the extra "heic"
except ImportError:
    _HEIC_SUPPORTED = False
else:
    pillow_heif.register_heif_opener()
    _HEIC_SUPPORTED = True

#: Pillow tries these and no other of its formats. PNGs and icons are opened by themselves.
PILLOW_FORMATS = (
    *("JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PSD"),
    *(("HEIF",) if _HEIC_SUPPORTED else ()),
)
#: Formats, in lower case, of which catalogues have few, so that their decoders are less tried. They are only
#: decoded in a child process.
RARE_FORMATS = ("jpeg2000", "psd", "ico")
#: Pillow's names for JPEGs. An MPO is a JPEG followed by more pictures.
JPEG_FORMATS = ("JPEG", "MPO")

# Regular expressions for the start of a file.
_HEIC = rb".{4}ftyp(hei|hev|mif|msf)"
_SUPPORTED = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "WebP": rb"RIFF.{4}WEBP",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM.{4}\0{4}",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "AVIF": rb".{4}ftypavi[fs]",
    "JPEG 2000": rb"\xff\x4f\xff\x51|\0{3}\x0cjP  ",
    "Photoshop": rb"8BPS",
    "icon": rb"\0\0\x01\0.",
    **({"HEIC": _HEIC} if _HEIC_SUPPORTED else {}),
}
_UNSUPPORTED = {
    "HEIC": _HEIC,
    "JPEG XL": rb"\xff\x0a|\0{3}\x0cJXL ",
    "Cursor": rb"\0\0\x02\0",
    "EPS": rb"%!PS-Adobe.{0,20}EPSF|\xc5\xd0\xd3\xc6",
    "SVG": rb"(?i)(\xef\xbb\xbf)?\s*<(svg\b|[?!].{0,2000}?<svg\b)",
}
_NOT_IMAGES = {
    "The file is empty.": rb"\Z",
    "The file is a web page, not a picture.": (
        rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype html|(.{0,2000}?<)?(html|head|body)\b)"
    ),
    "The file is a PDF document, not a picture.": rb"%PDF-",
}


def decoding_error(data: bytes) -> CompressError:
    """Return the error for data that a decoder rejected, judging by the first bytes."""
    if data.startswith(b"\xff\xd8\xff") and (percent := missing_percent(data)):
        how = f"The JPEG picture is incomplete: {percent} % of its rows are missing."
        return CompressError("corrupt_image", how)
    if format := _match(data, _SUPPORTED):
        return CompressError("corrupt_image", f"The {format} picture is damaged or incomplete.")
    if detail := _match(data, _NOT_IMAGES):
        return CompressError("not_an_image", detail)
    if kind := _match(data, _UNSUPPORTED):
        return unsupported(f"{kind} pictures")
    return CompressError("not_an_image", "The file is not a picture in any known format.")


def _match(data: bytes, patterns: dict[str, bytes]) -> str | None:
    return next((name for name, start in patterns.items() if re.match(start, data, re.DOTALL)), None)
