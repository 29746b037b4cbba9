"""Run ``compress()`` in a child process, for pictures that may have crashed a worker or that take long.

If the child crashes, only its picture fails. It gets no secrets: no open files, and no environment but what
Python needs. It answers in JSON, since unpickling runs code. This is no sandbox against code that a picture
might smuggle in.
"""

import ctypes
import json
import logging
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from processing.compress.bmp import MaskedBmpFile
from processing.compress.compression import (
    check_canvas,
    compress,
    compress_opened,
    reserved_pixels,
    target_format,
)
from processing.compress.decode import Picture, open_picture
from processing.compress.formats import JPEG_FORMATS, RARE_FORMATS
from processing.compress.memory import BYTES_PER_PIXEL
from processing.compress.structure import Structure, check_structure
from processing.compress.tiff import SampleTiffFile
from processing.compress.types import (
    SMALLEST,
    Compressed,
    CompressError,
    Encoded,
    ImageInfo,
    OutputOptions,
    Recipe,
)

logger = logging.getLogger(__name__)

#: Default limits of elapsed time and of CPU time. The slowest case, 50 megapixels to AVIF, takes 25 seconds
#: on a usual core.
TIMEOUT_SECONDS = 300
CPU_SECONDS = 100
#: Added to both for each rendition, which may take as long to encode.
RENDITION_SECONDS = 50
#: The most work, in pixels weighted by what a pass over one costs, that a worker process does itself: about
#: two seconds. It could not end a decoder that takes longer.
MAX_WORK_IN_PROCESS = 400_000_000
#: Memory for each pixel of a JPEG that becomes a JPEG. The most is for a progressive CMYK one.
JPEG_BYTES_PER_PIXEL = 24
_DECODING_WORK = {"TIFF": 4, "AVIF": 4, "HEIF": 4}
_DEFAULT_DECODING_WORK = 2
_ENCODING_WORK = {"webp": 3, "avif": 10}
_SMALLEST_WORK = {"jpeg": 5, "webp": 6, "avif": 10}
#: Address space for libraries and for the threads of the AVIF encoder.
BASE_MEMORY_BYTES = 1 << 30

_READY = b"ready\n"
_PR_SET_PDEATHSIG = 1  # of Linux


class TimeLimitError(CompressError):
    """The picture took longer than the time limit: its code is ``crashed``."""


class NeedsChildError(Exception):
    """The picture takes too long for this process. A child needs memory for ``pixels``."""

    def __init__(self, pixels: int) -> None:
        super().__init__(pixels)
        self.pixels = pixels


def compress_here(
    data: bytes,
    recipe: Recipe,
    *,
    max_pixels: int,
    reserve: Callable[[int], AbstractContextManager[None]],
) -> Compressed:
    """Return or raise what ``compress()`` does.

    Raise NeedsChildError, after no more than its header was read, if the picture would take too long.
    """
    structure = check_structure(data)
    picture = open_picture(data, structure, max_pixels)
    check_canvas(recipe, max_pixels)
    is_rare = picture.format in RARE_FORMATS or isinstance(picture.image, MaskedBmpFile | SampleTiffFile)
    if is_rare or structure.is_slow or _work(picture, structure, recipe) > MAX_WORK_IN_PROCESS:
        raise NeedsChildError(_pixels_in_child(picture, data, recipe))
    with reserve(reserved_pixels(picture, data, recipe)):
        return compress_opened(picture, data, recipe)


def _work(picture: Picture, structure: Structure, recipe: Recipe) -> int:
    """Estimate the work for a picture, in pixels that a baseline JPEG would have for the same."""
    image = picture.image
    pixels = image.width * image.height
    if image.format in JPEG_FORMATS:
        work = pixels * structure.passes
    else:
        work = pixels * _DECODING_WORK.get(image.format or "", _DEFAULT_DECODING_WORK)
    for options in recipe.outputs:
        width, height = options.box
        box = (width or max(image.size)) * (height or max(image.size))
        most = box if options.fit == "pad" else min(box, pixels)
        encoding = _SMALLEST_WORK if options.effort == SMALLEST else _ENCODING_WORK
        work += most * encoding.get(target_format(picture, options), 0)
    return work


def _pixels_in_child(picture: Picture, data: bytes, recipe: Recipe) -> int:
    """Return the pixels to reserve, fewer for a JPEG, so that pictures of others are worked on beside it."""
    pixels = reserved_pixels(picture, data, recipe)
    targets = {target_format(picture, options) for options in recipe.outputs}
    if picture.image.format in JPEG_FORMATS and targets == {"jpeg"}:
        return pixels * JPEG_BYTES_PER_PIXEL // BYTES_PER_PIXEL
    return pixels


def compress_isolated(
    data: bytes,
    recipe: Recipe,
    *,
    max_pixels: int,
    seconds: int = TIMEOUT_SECONDS,
    cpu_seconds: int = CPU_SECONDS,
) -> Compressed:
    """Return or raise what ``compress()`` does, within ``seconds`` and ``cpu_seconds``.

    Both are for the main output; each rendition adds RENDITION_SECONDS.

    CompressError may also have the code ``crashed``: the child died or, as TimeLimitError, took too long.
    Raise RuntimeError or OSError if the child could not be started.
    """
    added = RENDITION_SECONDS * len(recipe.renditions)
    seconds, cpu_seconds = seconds + added, cpu_seconds + added
    task = {
        "recipe": asdict(recipe),
        "max_pixels": max_pixels,
        "memory_bytes": BASE_MEMORY_BYTES + BYTES_PER_PIXEL * max_pixels,
        "cpu_seconds": min(seconds, cpu_seconds),
        "parent": os.getpid(),
    }
    # Not "-m": the package imports this module, which would then run twice.
    program = f"import {__name__} as child; child.main()"
    try:
        child = subprocess.run(  # noqa: S603 (the command contains nothing of the picture)
            [sys.executable, "-P", "-X", "faulthandler", "-c", program, json.dumps(task)],
            input=data,
            capture_output=True,
            check=False,
            env={
                "PYTHONPATH": os.pathsep.join(sys.path),
                "OPENBLAS_NUM_THREADS": "1",
                "MALLOC_ARENA_MAX": "1",
            },
            start_new_session=True,  # Ctrl-C stops the worker, which finishes its pictures first
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise _crashed(f"took longer than {seconds} s", error.stderr, TimeLimitError) from error
    if not child.stdout.startswith(_READY):
        raise RuntimeError(f"The child process did not start: {child.stderr.decode(errors='replace')}")
    head, _, output = child.stdout.removeprefix(_READY).partition(b"\n")
    if child.returncode == -signal.SIGXCPU:
        raise _crashed(f"ended with {child.returncode}", child.stderr, TimeLimitError)
    if child.returncode or not head:
        raise _crashed(f"ended with {child.returncode}", child.stderr)
    answer = json.loads(head)
    if "code" in answer:
        raise CompressError(**answer)
    return _read_answer(answer, output)


def _read_answer(answer: dict[str, Any], data: bytes) -> Compressed:
    """Return what the child has made, as `main` wrote it."""
    made, start = [], 0
    for output in answer["outputs"]:
        info = ImageInfo(**output.pop("output"))
        made.append(Encoded(data=data[start : start + info.bytes], output=info, **output))
        start += info.bytes
    return Compressed.of(made, ImageInfo(**answer["source"]), animated=answer["animated"])


def _crashed(how: str, stderr: bytes | None, kind: type[CompressError] = CompressError) -> CompressError:
    """Log the end of the child's error output and return the error."""
    tail = (stderr or b"").decode(errors="replace")[-4000:]
    logger.warning("The child process of a picture %s: %s", how, tail)
    detail = "The picture crashes the image decoder. Save it again with an image editor and use the new file."
    return kind("crashed", detail)


# --- In the child ---


def main() -> None:
    """Compress the picture on stdin as the JSON in the arguments says.

    Write to stdout that the child is ready, then a line of JSON, then the outputs' bytes.
    """
    task = json.loads(sys.argv[1])
    _end_with_parent(task["parent"])
    _limit_resources(task["memory_bytes"], task["cpu_seconds"])
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    answer: dict[str, Any]
    recipe = task["recipe"]
    renditions = tuple(OutputOptions(**options) for options in recipe.pop("renditions"))
    try:
        result = compress(
            sys.stdin.buffer.read(), Recipe(**recipe, renditions=renditions), max_pixels=task["max_pixels"]
        )
    except CompressError as error:
        answer, output = {"code": error.code, "detail": error.detail}, b""
    else:
        outputs = [
            {"extension": made.extension, "output": asdict(made.output), "kept": made.kept}
            for made in result.outputs
        ]
        answer = {"source": asdict(result.source), "animated": result.animated, "outputs": outputs}
        output = b"".join(made.data for made in result.outputs)
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + output)


def _end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it has ended, however it ends.

    That thread waits for this process, so it ends first only if the whole worker does.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it has ended before the call
            os._exit(1)


def _limit_resources(memory_bytes: int, cpu_seconds: int) -> None:
    """Limit this process and let others go first. The parent limits the elapsed time."""
    os.nice(10)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to a whole service, it is meant for the worker
    _set_limit(resource.RLIMIT_CORE, 0)
    _set_limit(resource.RLIMIT_CPU, cpu_seconds, kill_after=5)
    if sys.platform == "linux":  # other systems refuse to limit address space
        _set_limit(resource.RLIMIT_AS, memory_bytes)
        with suppress(OSError):  # if the machine runs out of memory, kill this process and not the worker
            Path("/proc/self/oom_score_adj").write_text("1000")


def _set_limit(kind: int, limit: int, *, kill_after: int = 0) -> None:
    """Set the limit, and for CPU time also when to kill a process that survives the signal at the limit."""
    _, hard = resource.getrlimit(kind)
    limit, most = (
        (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard))
        for wanted in (limit, limit + kill_after)
    )
    resource.setrlimit(kind, (limit, most))
