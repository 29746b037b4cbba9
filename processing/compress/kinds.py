"""Which pictures are accepted, and what is said of what is not one of them."""

import re

from processing.compress import heic
from processing.compress.values import CompressError

_HEIC = rb".{4}ftyp(hei|hev|mif|msf)"
# The kinds of picture that are opened at all, each with the way its bytes start.
_ACCEPTED = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "WebP": rb"RIFF.{4}WEBP",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM.{4}\0{4}",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "AVIF": rb".{4}ftypavi[fs]",
    **({"HEIC": _HEIC} if heic.IS_READ else {}),
}
_OTHER_PICTURES = {
    "HEIC": _HEIC,
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
PILLOW_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", *(["HEIF"] if heic.IS_READ else []))
JPEGS = ("JPEG", "MPO")  # an MPO is a JPEG with more pictures behind the first; Pillow opens it as one


def refusal(data: bytes) -> CompressError:
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
