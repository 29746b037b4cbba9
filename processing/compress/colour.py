"""Whatever a file means by its numbers, as sRGB."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from itertools import product
from typing import cast

from PIL import Image, ImageChops, ImageCms

_GREY_MODES = ("1", "L", "LA", "La")
_PRINT_AND_LAB = ("CMYK", "LAB")
_SIXTEEN_TO_EIGHT = [(value + 128) // 257 for value in range(65_536)]
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
# Press profiles take up to 3 MB; what is larger is no profile but a burden to keep in the cache.
_MAX_PROFILE_BYTES = 4 * 1024 * 1024


def profile_of(image: Image.Image) -> bytes | None:
    """The embedded profile, unless it is absurdly large."""
    profile: bytes | None = image.info.get("icc_profile")
    return profile if profile and len(profile) <= _MAX_PROFILE_BYTES else None


def is_plain(image: Image.Image) -> bool:
    """Whether its colours are plain grey or sRGB."""
    if image.mode in _PRINT_AND_LAB:
        return False
    profile = profile_of(image)
    return not (profile and to_srgb(profile, "L" if image.mode in _GREY_MODES else "RGB"))


def in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture in L, LA, RGB or RGBA; ``profile`` says what its colours are if they are not sRGB's."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _eight_bit(image)
    grey = image.mode in _GREY_MODES
    alpha = None
    if image.has_transparency_data:
        image = _in_mode(image, "LA" if grey else "RGBA")
        alpha = image.getchannel("A")
    if image.mode not in _PRINT_AND_LAB:
        image = _in_mode(image, "L" if grey else "RGB")
    if profile and (transform := to_srgb(profile, image.mode)):
        image = transform.apply(image)
    image = _in_mode(image, "L" if grey else "RGB")
    if alpha:
        image.putalpha(alpha)
    return image


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """The picture in ``mode``; unlike ``convert`` without a copy where it is in that mode already."""
    return image if image.mode == mode else image.convert(mode)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Deeper greys scaled to L, or to LA if one of them is transparent."""
    if image.mode.startswith("I;16"):
        deep = image.convert("I")
        scaled = deep.point(_SIXTEEN_TO_EIGHT, "L")
        if (clear := image.info.get("transparency")) is not None:
            scaled.putalpha(deep.point([0 if value == clear else 255 for value in range(65_536)], "L"))
        return scaled
    # The file does not say what white is: the smallest usual range does.
    _, brightest = cast(tuple[float, float], image.getextrema())
    white = next((top for top in (1.0, 255.0, 65_535.0) if brightest <= top), brightest)
    return image.convert("F").point(lambda value: value * (255 / white) + 0.5).convert("L")


@lru_cache(maxsize=8)
def to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
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
