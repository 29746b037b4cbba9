"""Run ``compress()`` in a child process, for pictures that may have crashed a worker or that take long.

If the child crashes, only its picture fails. Each picture has a child of its own, a fork of a server that is
started once (``fork_server``). Server and children get no secrets: no open files, and only the environment
variables that Python needs. They answer in JSON, since unpickling runs code. This is no sandbox against code
in a picture.
"""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict
from threading import Lock, Timer
from typing import Any

from processing.compress import fork_server
from processing.compress.bmp import MaskedBmpFile
from processing.compress.compression import check_canvas, compress_opened, reserved_pixels, target_format
from processing.compress.decode import Picture, open_picture
from processing.compress.formats import JPEG_FORMATS, RARE_FORMATS
from processing.compress.memory import BYTES_PER_PIXEL
from processing.compress.structure import Structure, check_structure
from processing.compress.tiff import SampleTiffFile
from processing.compress.types import SMALLEST, Compressed, CompressError, Encoded, ImageInfo, Recipe

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
#: How long a server waits for its next picture.
SERVER_IDLE_SECONDS = 15


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
        "seconds": seconds,
        "cpu_seconds": min(seconds, cpu_seconds),
        "bytes": len(data),
    }
    with _servers.one() as server:
        ending, answer = server.run(task, data)
    code, errors = ending["code"], ending["errors"]
    if code == -signal.SIGALRM:
        raise _crashed(f"took longer than {seconds} s", errors, TimeLimitError)
    if code == -signal.SIGXCPU:
        raise _crashed(f"ended with {code}", errors, TimeLimitError)
    line, _, output = answer.partition(b"\n")
    if code or not line:
        raise _crashed(f"ended with {code}", errors)
    head = json.loads(line)
    if "code" in head:
        raise CompressError(**head)
    return _read_answer(head, output)


def _read_answer(answer: dict[str, Any], data: bytes) -> Compressed:
    """Return the outputs of a child from the two parts of its answer."""
    made, start = [], 0
    for output in answer["outputs"]:
        info = ImageInfo(**output.pop("output"))
        made.append(Encoded(data=data[start : start + info.bytes], output=info, **output))
        start += info.bytes
    return Compressed.of(made, ImageInfo(**answer["source"]), animated=answer["animated"])


def _crashed(how: str, errors: str, kind: type[CompressError] = CompressError) -> CompressError:
    """Log the end of the child's error output and return the error."""
    logger.warning("The child process of a picture %s: %s", how, errors)
    detail = "The picture crashes the image decoder. Save it again with an image editor and use the new file."
    return kind("crashed", detail)


class _ForkServer:
    """A process that runs ``fork_server``, for one picture at a time."""

    def __init__(self) -> None:
        # Not "-m": the package imports the module, which would then run twice.
        program = f"from {fork_server.__package__} import fork_server; fork_server.main()"
        self._process = subprocess.Popen(  # noqa: S603 (the command contains nothing of a picture)
            [sys.executable, "-P", "-X", "faulthandler", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={
                "PYTHONPATH": os.pathsep.join(sys.path),
                "OPENBLAS_NUM_THREADS": "1",
                "MALLOC_ARENA_MAX": "1",
            },
            start_new_session=True,  # Ctrl-C stops the worker, which finishes its pictures first
        )

    def run(self, task: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        """Return how the child of a picture ended, and its answer.

        Raise RuntimeError if the server has ended, which is no fault of the picture.
        """
        assert self._process.stdin and self._process.stdout  # noqa: S101 (for the type checker)
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(task).encode() + b"\n")
            self._process.stdin.write(data)
            self._process.stdin.flush()
        if not (line := self._process.stdout.readline()):
            _, errors = self._process.communicate()
            raise RuntimeError(f"The fork server ended: {errors.decode(errors='replace')}")
        ending = json.loads(line)
        return ending, self._process.stdout.read(ending["bytes"])

    def is_running(self) -> bool:
        """Return False if something has killed the server."""
        return self._process.poll() is None

    def close(self) -> None:
        """Close the pipes of the server, which ends it, and wait for that."""
        with self._process:
            pass


class _ForkServers:
    """Servers that wait for their next picture, each for SERVER_IDLE_SECONDS."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._idle: dict[_ForkServer, Timer] = {}

    @contextmanager
    def one(self) -> Iterator[_ForkServer]:
        """Lend a server, and keep it unless the block raises."""
        server = self._take() or _ForkServer()
        yield server
        timer = Timer(SERVER_IDLE_SECONDS, self._end, [server])
        timer.daemon = True
        with self._lock:
            self._idle[server] = timer
        timer.start()

    def _take(self) -> _ForkServer | None:
        with self._lock:
            while self._idle:
                server, timer = self._idle.popitem()
                timer.cancel()
                if server.is_running():
                    return server
        return None

    def _end(self, server: _ForkServer) -> None:
        with self._lock:
            is_idle = self._idle.pop(server, None)
        if is_idle:
            server.close()


_servers = _ForkServers()
