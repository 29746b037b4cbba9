"""Scale a stored output down to a small WebP, large ones in a child process: Pillow decodes all of a picture.

Without Django, since the child imports this module.
"""

import os
import subprocess
import sys
from io import BytesIO
from threading import BoundedSemaphore, Lock

from PIL import Image

#: Twice the size at which pages show a thumbnail, for high-density screens.
THUMBNAIL_PIXELS = 192
#: Pixels of a picture that is decoded in this process. A JPEG is decoded at a fraction of its size.
MAX_PIXELS_IN_PROCESS = 4_000_000
MAX_JPEG_PIXELS_IN_PROCESS = 16_000_000
CHILD_SECONDS = 30
#: Threads of a web process that make thumbnails of large outputs or wait for it, which takes seconds: as many
#: as a browser requests at once. Two of the eight threads are left for other requests.
MAX_LARGE_AT_ONCE = 6
# One at a time of each kind: a decoded output takes memory.
_decoding, _child = Lock(), Lock()
_large = BoundedSemaphore(MAX_LARGE_AT_ONCE)


class Busy(Exception):
    """MAX_LARGE_AT_ONCE thumbnails of large outputs are being made already."""


def make_thumbnail(data: bytes) -> bytes:
    """Return the thumbnail of a picture.

    Raises Busy, OSError if it cannot be made, and what Pillow raises for too many pixels.
    """
    with Image.open(BytesIO(data)) as picture:
        most = MAX_JPEG_PIXELS_IN_PROCESS if picture.format == "JPEG" else MAX_PIXELS_IN_PROCESS
        if picture.width * picture.height <= most:
            with _decoding:
                return _scale_down(picture)
    if not _large.acquire(blocking=False):
        raise Busy
    try:
        with _child:
            return _make_in_child(data)
    finally:
        _large.release()


def _make_in_child(data: bytes) -> bytes:
    try:
        child = subprocess.run(  # noqa: S603 (the command contains nothing of the picture)
            [sys.executable, "-P", "-c", f"import {__name__} as child; child.main()"],
            input=data,
            capture_output=True,
            check=True,
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
            timeout=CHILD_SECONDS,
        )
    except subprocess.SubprocessError as error:
        raise OSError("The thumbnail could not be made") from error
    return child.stdout


def _scale_down(picture: Image.Image) -> bytes:
    size = (THUMBNAIL_PIXELS, THUMBNAIL_PIXELS)
    picture.draft("RGB", size)  # decodes a JPEG at about the target size
    picture.thumbnail(size)
    buffer = BytesIO()
    picture.save(buffer, "WEBP", quality=70)
    return buffer.getvalue()


def main() -> None:
    """In the child: write the thumbnail of the picture on stdin to stdout."""
    Image.MAX_IMAGE_PIXELS = None  # the worker that made the picture has checked its size
    with Image.open(BytesIO(sys.stdin.buffer.read())) as picture:
        sys.stdout.buffer.write(_scale_down(picture))
