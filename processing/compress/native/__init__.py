"""Change the quality of a JPEG without decoding its pixels.

``requantise.c`` does it. ``scripts/bootstrap`` compiles it to a library in the virtual environment if there
is a C compiler with the headers of libjpeg-turbo. Without the library, pixels are decoded and encoded.
"""

import sys
from ctypes import CDLL, c_char_p, c_int, c_size_t, c_void_p, create_string_buffer
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

LIBRARY = Path(sys.prefix, "lib", "requantise.so")
#: Length of libjpeg's messages, JMSG_LENGTH_MAX.
_REASON_BYTES = 200


class UnsuitableError(Exception):
    """A JPEG that has to be decoded; the message says why."""


@cache
def library() -> Any | None:
    """Return the C function, or None if there is no library that can be loaded."""
    try:
        function = CDLL(str(LIBRARY)).requantise_2
    except (OSError, AttributeError):
        return None
    function.argtypes = (c_char_p, c_size_t, c_int, c_int, c_size_t, c_void_p, c_size_t, c_char_p)
    function.restype = c_size_t
    return function


def jpeg_codec() -> str:
    """Return how this process changes the quality of a JPEG, for operators."""
    if library():
        return f"coefficients, by {LIBRARY}"
    return (
        f"pixels, since {LIBRARY} is missing or cannot be loaded. Install a C compiler and the headers of "
        "libjpeg-turbo and run scripts/bootstrap to recompress JPEGs for less CPU."
    )


def requantise(data: bytes, quality: int, max_pixels: int, *, has_own_codes: bool = True) -> bytes:
    """Return a JPEG with the quantisation tables of a quality (1 to 100) and no metadata.

    It has Huffman codes of its own or, which is faster, the standard ones.

    Raise UnsuitableError unless it is a sound JPEG of ``max_pixels`` at most, grey or with colours subsampled
    4:2:0. Other threads run meanwhile.
    """
    function = library()
    if function is None:
        raise UnsuitableError("The library is not there.")
    output, reason = np.empty(2 * len(data) + 4096, np.uint8), create_string_buffer(_REASON_BYTES)
    size = function(
        data, len(data), quality, has_own_codes, max_pixels, output.ctypes.data, output.size, reason
    )
    if not size:
        raise UnsuitableError(reason.value.decode(errors="replace"))
    return output[:size].tobytes()
