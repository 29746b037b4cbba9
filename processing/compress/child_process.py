"""Run ``compress()`` in a child process, for pictures that may have crashed a worker.

If the child crashes, only its picture fails. It gets no secrets: no open files, and no environment but what
Python needs. It answers in JSON, since unpickling runs code. This is no sandbox against code that a picture
might smuggle in.
"""

import json
import logging
import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from processing.compress.compression import compress
from processing.compress.memory import BYTES_PER_PIXEL
from processing.compress.types import Compressed, CompressError, ImageInfo, Options

logger = logging.getLogger(__name__)

#: Default limit of elapsed time and of CPU time. The slowest case, 50 megapixels to AVIF, takes 25 seconds on
#: a usual core.
TIMEOUT_SECONDS = 300
#: Address space for libraries and for the threads of the AVIF encoder.
BASE_MEMORY_BYTES = 1 << 30

_READY = b"ready\n"


def compress_isolated(
    data: bytes, options: Options, *, max_pixels: int, seconds: int = TIMEOUT_SECONDS
) -> Compressed:
    """Return or raise what ``compress()`` does, within ``seconds``.

    CompressError has one more code here: ``crashed`` if the child died, or exceeded its time or memory. Raise
    RuntimeError or OSError if the child could not be started, for which the picture is not to blame.
    """
    task = {
        "options": asdict(options),
        "max_pixels": max_pixels,
        "memory_bytes": BASE_MEMORY_BYTES + BYTES_PER_PIXEL * max_pixels,
        "cpu_seconds": seconds,
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
                # Every thread and arena takes address space, and makes nothing faster here.
                "OPENBLAS_NUM_THREADS": "1",
                "MALLOC_ARENA_MAX": "1",
            },
            start_new_session=True,  # Ctrl-C stops the worker, which finishes its pictures first
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise _crashed(f"took longer than {seconds} s", error.stderr) from error
    if not child.stdout.startswith(_READY):
        raise RuntimeError(f"The child process did not start: {child.stderr.decode(errors='replace')}")
    head, _, output = child.stdout.removeprefix(_READY).partition(b"\n")
    if child.returncode or not head:
        raise _crashed(f"ended with {child.returncode}", child.stderr)
    answer = json.loads(head)
    if "code" in answer:
        raise CompressError(**answer)
    answer["source"], answer["output"] = ImageInfo(**answer["source"]), ImageInfo(**answer["output"])
    return Compressed(data=output, **answer)


def _crashed(how: str, stderr: bytes | None) -> CompressError:
    """Log the end of the child's error output and return the error."""
    tail = (stderr or b"").decode(errors="replace")[-4000:]
    logger.warning("The child process of a picture %s: %s", how, tail)
    detail = "The picture crashes the image decoder. Save it again with an image editor and use the new file."
    return CompressError("crashed", detail)


# --- In the child ---


def main() -> None:
    """Compress the picture on stdin as the JSON in the arguments says.

    Write to stdout that the child is ready, then a line of JSON, then the output's bytes.
    """
    task = json.loads(sys.argv[1])
    _limit_resources(task["memory_bytes"], task["cpu_seconds"])
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    answer: dict[str, Any]
    try:
        result = compress(sys.stdin.buffer.read(), Options(**task["options"]), max_pixels=task["max_pixels"])
    except CompressError as error:
        answer, output = {"code": error.code, "detail": error.detail}, b""
    else:
        answer = asdict(result)
        output = answer.pop("data")
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + output)


def _limit_resources(memory_bytes: int, cpu_seconds: int) -> None:
    """Limit this process. The parent limits the elapsed time; CPU time is limited in case the parent dies."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to a whole service, it is meant for the worker
    _set_limit(resource.RLIMIT_CORE, 0)
    _set_limit(resource.RLIMIT_CPU, cpu_seconds)
    if sys.platform == "linux":  # other systems refuse to limit address space
        _set_limit(resource.RLIMIT_AS, memory_bytes)
        with suppress(OSError):  # if the machine runs out of memory, kill this process and not the worker
            Path("/proc/self/oom_score_adj").write_text("1000")


def _set_limit(kind: int, limit: int) -> None:
    _, hard = resource.getrlimit(kind)
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (limit, limit))
