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
#: Threads of a web process that may wait for a child, which takes seconds: half of all, so that the
#: others are left for other requests.
MAX_WAITING = 4
# One at a time of each kind: a decoded output takes memory.
_decoding, _child = Lock(), Lock()
_waiting = BoundedSemaphore(MAX_WAITING)


class Busy(Exception):
    """MAX_WAITING threads wait for a child already."""


def make_thumbnail(data: bytes) -> bytes:
    """Return the thumbnail of a picture.

    Raises Busy, OSError if it cannot be made, and what Pillow raises for too many pixels.
    """
    with Image.open(BytesIO(data)) as picture:
        most = MAX_JPEG_PIXELS_IN_PROCESS if picture.format == "JPEG" else MAX_PIXELS_IN_PROCESS
        if picture.width * picture.height <= most:
            with _decoding:
                return _scale_down(picture)
    if not _waiting.acquire(blocking=False):
        raise Busy
    try:
        with _child:
            return _make_in_child(data)
    finally:
        _waiting.release()


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
