"""ICC profiles for colours that a file describes by numbers, so that one library converts all colours.

PNG names primaries and a gamma; PNG, AVIF and HEIC name primaries and a transfer function by the codes of
ITU-T H.273. HDR pictures (PQ and HLG) become a profile with a table that maps their tones to those of sRGB.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

#: Profiles of printing presses take up to 3 MB. Larger ones are ignored, since up to 8 stay in a cache.
MAX_PROFILE_BYTES = 4 * 1024 * 1024
Floats = NDArray[np.float64]
#: Chromaticities of red, green, blue and white.
Primaries = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
#: Parameters g, a, b, c, d of a curve: (a x + b)^g from d on, and c x before it.
Curve = tuple[float, float, float, float, float]

_D65 = (0.3127, 0.3290)
SRGB_PRIMARIES: Primaries = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), _D65)
_BT2020: Primaries = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65)
# ITU-T H.273, table 2. What is not here is rare, and shown as sRGB.
_PRIMARIES: dict[int, Primaries] = {
    1: SRGB_PRIMARIES,
    2: SRGB_PRIMARIES,
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), (0.310, 0.316)),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    9: _BT2020,
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
}
SRGB_CURVE: Curve = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
# ITU-T H.273, table 3.
_CURVES: dict[int, Curve] = {
    2: SRGB_CURVE,
    4: (2.2, 1, 0, 0, 0),
    5: (2.8, 1, 0, 0, 0),
    7: (1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0912),
    8: (1, 1, 0, 0, 0),
    13: SRGB_CURVE,
}
#: Transfer functions of cameras, whose pictures are made for a display of another function.
_CAMERA_TRANSFERS = (1, 6, 11, 12, 14, 15)
_PQ, _HLG = 16, 18

# Luminance in cd/m² of white in an SDR picture (ITU-R BT.2408) and of the brightest light that is expected.
_WHITE_LUMINANCE, _PEAK_LUMINANCE = 203.0, 1000.0
_HEADROOM = _PEAK_LUMINANCE / _WHITE_LUMINANCE
# Where tone mapping begins to compress lights, and what it makes of that one: SMPTE ST 2094-50, reference
# white tone mapping for this headroom. Chromium maps tones alike.
_KNEE, _KNEE_OUTPUT, _KAPPA = 1.0, 0.5, 0.65
#: Entries of a table for each of three channels, and for a single one.
_GRID_POINTS, _CURVE_POINTS = 33, 4096

_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@lru_cache(maxsize=8)
def profile_of_codes(primaries: int, transfer: int, *, camera_curve: Curve, is_grey: bool) -> bytes | None:
    """Return the profile for codes of ITU-T H.273, or None if they mean sRGB or are unknown.

    ``camera_curve`` is how displays show pictures with the transfer function of a camera.
    """
    chromaticities = _PRIMARIES.get(primaries)
    if chromaticities is None:
        return None
    if transfer in (_PQ, _HLG):
        return _hdr_profile(chromaticities, _pq if transfer == _PQ else _hlg, is_grey)
    curve = camera_curve if transfer in _CAMERA_TRANSFERS else _CURVES.get(transfer)
    return profile_of_curve(chromaticities, curve, is_grey=is_grey) if curve else None


@lru_cache(maxsize=8)
def profile_of_curve(primaries: Primaries, curve: Curve, *, is_grey: bool) -> bytes | None:
    """Return the profile for primaries and a curve, or None if they mean sRGB or no colours at all."""
    if curve == SRGB_CURVE and (is_grey or primaries == SRGB_PRIMARIES):
        return None
    parameters = struct.pack(">4s4xH2x5i", b"para", 3, *_fixed(*curve))
    if is_grey:
        return _profile(b"GRAY", b"XYZ ", {b"kTRC": parameters})
    try:
        matrix = _adaptation(primaries) @ _to_xyz(primaries)
    except (np.linalg.LinAlgError, ZeroDivisionError):
        return None
    if not np.isfinite(matrix).all() or abs(matrix).max() > 2:
        return None
    columns = {
        name: struct.pack(">4s4x3i", b"XYZ ", *_fixed(*column))
        for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), matrix.T, strict=True)
    }
    return _profile(b"RGB ", b"XYZ ", columns | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), parameters))


# --- HDR ---


def _pq(signal: Floats, primaries: Primaries) -> Floats:
    """Return the light of each channel, 1 for white in SDR (SMPTE ST 2084)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = signal ** (1 / m2)
    light: Floats = (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    return light * (10_000 / _WHITE_LUMINANCE)


def _hlg(signal: Floats, primaries: Primaries) -> Floats:
    """Return the light of each channel on a display of 1,000 cd/m², 1 for white in SDR (ITU-R BT.2100)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance = scene @ _to_xyz(primaries)[1]
    light: Floats = scene * (luminance[..., None] ** 0.2) * _HEADROOM
    return light


def _mapped(light: Floats) -> Floats:
    """Compress lights up to the headroom to 0 to 1, by the brightest channel, so that hues stay."""
    brightest = np.maximum(light.max(axis=-1), 1e-9)
    bounded = np.minimum(brightest, _HEADROOM)
    # A quadratic Bézier curve from the knee to the headroom, by its parameter t.
    middle = (1 - _KAPPA) * _KNEE + _KAPPA * _KNEE / _KNEE_OUTPUT
    middle_output = (1 - _KAPPA) * _KNEE_OUTPUT + _KAPPA
    square, linear = _KNEE - 2 * middle + _HEADROOM, middle - _KNEE
    beyond = np.maximum(bounded - _KNEE, 0)
    t = (np.sqrt(linear**2 + square * beyond) - linear) / square
    curve = (1 - t) ** 2 * _KNEE_OUTPUT + 2 * t * (1 - t) * middle_output + t**2
    output = np.where(bounded < _KNEE, bounded * _KNEE_OUTPUT / _KNEE, curve)
    mapped: Floats = light * (output / brightest)[..., None]
    return mapped


def _hdr_profile(primaries: Primaries, light: Callable[[Floats, Primaries], Floats], is_grey: bool) -> bytes:
    """Return a profile with a table of what an SDR display shows of each colour."""
    if is_grey:
        greys = np.repeat(np.linspace(0, 1, _CURVE_POINTS)[:, None], 3, axis=1)
        values = _sixteen_bits(_mapped(light(greys, primaries))[:, 0])
        curve = struct.pack(">4s4xI", b"curv", len(values)) + values.tobytes()
        return _profile(b"GRAY", b"XYZ ", {b"kTRC": curve})
    steps = np.linspace(0, 1, _GRID_POINTS)
    signal = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    to_bt2020 = np.linalg.inv(_to_xyz(_BT2020)) @ _to_xyz(primaries)
    to_srgb = np.linalg.inv(_to_xyz(SRGB_PRIMARIES)) @ _to_xyz(_BT2020)
    shown = np.clip(_mapped(light(signal, primaries) @ to_bt2020.T) @ to_srgb.T, 0, 1)
    lab = _lab(shown @ (_adaptation(SRGB_PRIMARIES) @ _to_xyz(SRGB_PRIMARIES)).T)
    identity = _sixteen_bits(np.array([0.0, 1.0])).tobytes() * 3
    table = struct.pack(">4s4x4B", b"mft2", 3, 3, _GRID_POINTS, 0)
    table += struct.pack(">9i2H", *_fixed(1, 0, 0, 0, 1, 0, 0, 0, 1), 2, 2)
    return _profile(b"RGB ", b"Lab ", {b"A2B0": table + identity + _encoded_lab(lab) + identity})


def _lab(xyz: Floats) -> Floats:
    """Return CIE L*a*b* of colours relative to D50."""
    ratio = xyz / _D50
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = root[:, 0], root[:, 1], root[:, 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _encoded_lab(lab: Floats) -> bytes:
    """Encode as ICC.1:2001, section 6.4.5 says: 0xFF00 is 100, and 0x8000 is a grey."""
    values = np.stack([lab[:, 0] * 652.8, lab[:, 1] * 256 + 32768, lab[:, 2] * 256 + 32768], axis=-1)
    return np.clip(np.round(values), 0, 65535).astype(">u2").tobytes()


# --- Colour spaces (Lindbloom, "RGB/XYZ matrices" and "Chromatic adaptation") ---


def _white(primaries: Primaries) -> Floats:
    x, y = primaries[3]
    return np.array([x / y, 1, (1 - x - y) / y])


def _to_xyz(primaries: Primaries) -> Floats:
    """Return the matrix from linear RGB to XYZ."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries[:3]]).T
    matrix: Floats = columns * np.linalg.solve(columns, _white(primaries))
    return matrix


def _adaptation(primaries: Primaries) -> Floats:
    """Return the matrix that adapts XYZ from this white to D50, the white of ICC profiles."""
    scale = (_BRADFORD @ np.array(_D50)) / (_BRADFORD @ _white(primaries))
    matrix: Floats = np.linalg.inv(_BRADFORD) @ np.diag(scale) @ _BRADFORD
    return matrix


# --- The file (ICC.1:2001-04) ---


def _fixed(*values: float) -> list[int]:
    """Return numbers of 16 bits before and after the point."""
    return [round(value * 65536) for value in values]


def _sixteen_bits(values: Floats) -> NDArray[np.uint16]:
    return np.round(np.clip(values, 0, 1) * 65535).astype(">u2")


def _profile(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"wtpt": struct.pack(">4s4x3i", b"XYZ ", *_fixed(*_D50)), **tags}
    start = 132 + 12 * len(tags)
    directory, body = struct.pack(">I", len(tags)), b""
    for name, tag in tags.items():
        directory += struct.pack(">4sII", name, start + len(body), len(tag))
        body += tag + bytes(-len(tag) % 4)
    size = start + len(body)
    header = struct.pack(
        ">I4xI4s4s4s12x4s28x3i", size, 0x02400000, b"mntr", space, connection, b"acsp", *_fixed(*_D50)
    )
    return header.ljust(128, b"\0") + directory + body
