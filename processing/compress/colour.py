"""Conversion of colours to sRGB."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from itertools import product

import numpy as np
from PIL import Image, ImageChops, ImageCms

from processing.compress.levels import to_eight_bits
from processing.compress.profiles import MAX_PROFILE_BYTES

_GREY_MODES = ("1", "L", "LA", "La")
# A profile describes the stored values of these, so it is applied before any other conversion.
_CMYK_AND_LAB = ("CMYK", "LAB")
_SIXTEEN_TO_EIGHT_BITS = [(value + 128) // 257 for value in range(65_536)]
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def embedded_profile(image: Image.Image) -> bytes | None:
    """Return the embedded ICC profile, or None if there is none or it is too large."""
    profile: bytes | None = image.info.get("icc_profile")
    return profile if profile and len(profile) <= MAX_PROFILE_BYTES else None


def is_srgb(image: Image.Image) -> bool:
    """Return whether the colours are sRGB or plain grey, so that no profile has to be applied."""
    if image.mode in _CMYK_AND_LAB:
        return False
    profile = embedded_profile(image)
    return not (profile and _srgb_transform(profile, "L" if image.mode in _GREY_MODES else "RGB"))


def to_srgb(image: Image.Image, profile: bytes | None, alpha: Image.Image | None = None) -> Image.Image:
    """Return the image in sRGB and in mode L, LA, RGB or RGBA.

    ``profile`` is the ICC profile of its colours; None means sRGB or plain grey. ``alpha`` is the
    transparency of an image whose mode has none.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _to_eight_bits(image)
    is_grey = image.mode in _GREY_MODES
    if image.has_transparency_data:
        image = _to_mode(image, "LA" if is_grey else "RGBA")
        alpha = image.getchannel("A")
    if image.mode not in _CMYK_AND_LAB:
        image = _to_mode(image, "L" if is_grey else "RGB")
    if profile and (transform := _srgb_transform(profile, image.mode)):
        image = transform.apply(image)
    image = _to_mode(image, "L" if is_grey else "RGB")
    if alpha:
        image.putalpha(alpha)
    return image


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Convert the image, but unlike ``convert()`` do not copy it if it has that mode already."""
    return image if image.mode == mode else image.convert(mode)


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale greys of more than 8 bits to mode L, or to LA if one of them is transparent."""
    if image.mode.startswith("I;16"):
        deep = image.convert("I")
        scaled = deep.point(_SIXTEEN_TO_EIGHT_BITS, "L")
        if (transparent := image.info.get("transparency")) is not None:
            alpha = [0 if value == transparent else 255 for value in range(65_536)]
            scaled.putalpha(deep.point(alpha, "L"))
        return scaled
    return Image.fromarray(to_eight_bits(np.asarray(image), is_full_range=False))


@lru_cache(maxsize=8)
def _srgb_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from an ICC profile to sRGB.

    None if there is nothing to convert: the profile is equivalent to sRGB, or broken, or for another mode.
    Cached because creating a transform takes 2 ms, and the pictures of a catalogue share a few profiles.
    """
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        transform = ImageCms.buildTransform(source, _SRGB, mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None
    swatch = Image.new("RGB", (216, 1))
    swatch.putdata(list(product((0, 32, 64, 128, 192, 255), repeat=3)))
    swatch = swatch.convert(mode)
    difference = ImageChops.difference(transform.apply(swatch), swatch.convert("RGB"))
    return transform if max(difference.tobytes()) > 2 else None
