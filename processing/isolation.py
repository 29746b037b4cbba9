"""compress() in a child process, for pictures that were in hand when a worker died: one of them may be why.

What kills the child costs that picture alone. The child gets no secret of ours (an environment of what Python
needs and nothing else, no open file), and it answers in JSON, which unlike a pickle runs no code in a worker.
It is no sandbox against code that a picture might smuggle in.
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

from processing.compress import Compressed, CompressError, Facts, Options, compress

logger = logging.getLogger(__name__)

#: Of processor time, and by the clock, where nothing else is said. 50 megapixels to AVIF, the slowest there
#: is, take 25 on a usual core.
SECONDS = 300
#: Bytes of address space: what libraries and the threads of AVIF take up anyhow, and for each pixel allowed
#: (measured: 56, WebP with transparency to WebP).
BASE_MEMORY = 1 << 30
MEMORY_PER_PIXEL = 64

_READY = b"ready\n"
_DETAIL = (
    "The picture makes the program that reads it fail. "
    "Save it anew with an image editor and try again with the new file."
)


def compress_isolated(
    data: bytes, options: Options, *, max_pixels: int, seconds: int = SECONDS
) -> Compressed:
    """What compress() makes of ``data`` in at most ``seconds``, or the CompressError that it raises.

    ``crashed`` is one more code: the child died, or took too much time or memory. Raises RuntimeError or
    OSError where no child could be started, which says nothing of the picture.
    """
    memory = BASE_MEMORY + MEMORY_PER_PIXEL * max_pixels
    task = {"options": asdict(options), "max_pixels": max_pixels, "memory": memory, "seconds": seconds}
    try:
        child = subprocess.run(  # noqa: S603 (nothing of the picture is in the command)
            [sys.executable, "-P", "-X", "faulthandler", "-m", __name__, json.dumps(task)],
            input=data,
            capture_output=True,
            check=False,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the worker, which lets pictures in hand finish
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise _crashed(f"took longer than {seconds} s", error.stderr) from error
    if not child.stdout.startswith(_READY):
        raise RuntimeError(f"The child process did not start: {child.stderr.decode(errors='replace')}")
    head, _, body = child.stdout.removeprefix(_READY).partition(b"\n")
    if child.returncode or not head:
        raise _crashed(f"ended with {child.returncode}", child.stderr)
    return _result(json.loads(head), body)


def _environment() -> dict[str, str]:
    return {
        "PYTHONPATH": os.pathsep.join(sys.path),
        # Each thread or arena takes up address space; here neither makes anything faster.
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",
    }


def _crashed(how: str, stderr: bytes | None) -> CompressError:
    said = (stderr or b"").decode(errors="replace")[-4000:]
    logger.warning("The child process of a picture %s: %s", how, said)
    return CompressError("crashed", _DETAIL)


def _result(head: dict[str, Any], body: bytes) -> Compressed:
    if "code" in head:
        raise CompressError(head["code"], head["detail"])
    source, output = Facts(**head["source"]), Facts(**head["output"])
    return Compressed(body, head["extension"], source, output, head["kept"])


# --- In the child ---


def _main() -> None:
    """Answer the task in the arguments, with the picture on stdin: readiness, a line of JSON, a picture."""
    task = json.loads(sys.argv[1])
    _restrict(task["memory"], task["seconds"])
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    head, body = _answer(sys.stdin.buffer.read(), Options(**task["options"]), task["max_pixels"])
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + body)


def _restrict(memory: int, seconds: int) -> None:
    """Limit this process. The parent watches the clock; processor time is limited should the parent die."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # who stops all of a service by it means the worker
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, seconds)
    if sys.platform == "linux":  # others refuse to limit address space
        _limit(resource.RLIMIT_AS, memory)
        with suppress(OSError):  # if memory runs out it shall hit this process, not the worker
            Path("/proc/self/oom_score_adj").write_text("1000")


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


def _answer(data: bytes, options: Options, max_pixels: int) -> tuple[dict[str, Any], bytes]:
    try:
        made = compress(data, options, max_pixels=max_pixels)
    except CompressError as error:
        return {"code": error.code, "detail": error.detail}, b""
    facts = asdict(made)
    return facts, facts.pop("data")


if __name__ == "__main__":
    _main()
