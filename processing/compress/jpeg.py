"""JPEGs that end too early."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

_END = b"\xff\xd9"


def has_end(data: bytes, scan_start: int) -> bool:
    """Return whether there is an end marker behind the place where the first scan starts."""
    return data.endswith(_END) or data.rfind(_END, scan_start) >= 0


def with_end(data: bytes) -> bytes:
    """Return the file with an end marker, so that decoders take for complete what has all of its pixels."""
    return data + _END


def missing_percent(data: bytes) -> int | None:
    """Return how much of a JPEG's rows a decoder does not reach, or None if that is not what is wrong with it."""
    try:
        image = Image.open(
            BytesIO(data[: data.rfind(_END)] if data.endswith(_END) else data), formats=["JPEG"]
        )
    except Exception:
        return None
    try:
        image.load()
    except OSError:
        # Pillow has begun with a black picture, and stopped where the data ends.
        reached = Image.Image._new(image, image.im).getbbox()
        rows = reached[3] if reached else image.height
        return max(1, round(100 * (1 - rows / image.height))) if rows < image.height else None
    except Exception:
        return None
    return None
