"""Compress pictures that may crash a decoder, each in a fork of this process.

``child_process`` starts it as a program. It imports all decoders and never decodes a picture itself, so a
fork takes some milliseconds and has no state of an earlier picture. It ends when the worker that started it
ends, even if that is killed.

A task is a line of JSON and the picture, an answer a line of JSON about the end of the fork and what the fork
has written.
"""

import ctypes
import json
import os
import resource
import selectors
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from processing.compress.compression import compress
from processing.compress.types import CompressError, OutputOptions, Recipe

#: Bytes that are kept of the end of a fork's error output.
MAX_ERROR_BYTES = 4000
_PR_SET_PDEATHSIG = 1  # of Linux


def main() -> None:
    """Answer tasks on stdin until it is closed."""
    tasks, answers = sys.stdin.buffer, sys.stdout.buffer
    _let_others_go_first()
    while line := tasks.readline():
        task = json.loads(line)
        code, errors, output = _in_fork(partial(_compress, task, tasks.read(task["bytes"])), tasks.fileno())
        ending = {"code": code, "errors": errors.decode(errors="replace"), "bytes": len(output)}
        answers.write(json.dumps(ending).encode() + b"\n" + output)
        answers.flush()


def _let_others_go_first() -> None:
    os.nice(10)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to a whole service, it is meant for the worker
    if sys.platform == "linux":
        with suppress(OSError):  # if the machine runs out of memory, kill this process and not the worker
            Path("/proc/self/oom_score_adj").write_text("1000")


def _in_fork(function: Callable[[], None], tasks: int) -> tuple[int, bytes, bytes]:
    """Call a function in a fork. Return the fork's exit code, the end of its error output, and its output.

    End the fork and this process if `tasks` is closed meanwhile.
    """
    output, output_end = os.pipe()
    errors, errors_end = os.pipe()
    server = os.getpid()
    pid = os.fork()
    if not pid:
        _end_with(server)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, end in enumerate((nothing, output_end, errors_end)):
            os.dup2(end, number)
        os.closerange(3, nothing + 1)
        _call_and_exit(function)
    os.close(output_end)
    os.close(errors_end)
    read = {output: bytearray(), errors: bytearray()}
    with selectors.DefaultSelector() as selector:
        for end in (tasks, output, errors):
            selector.register(end, selectors.EVENT_READ)
        while len(selector.get_map()) > 1:
            for key, _ in selector.select():
                if key.fd == tasks:  # closed, since the next task is sent when this one is answered
                    os.kill(pid, signal.SIGKILL)
                    os._exit(1)
                if part := os.read(key.fd, 1 << 16):
                    read[key.fd] += part
                    del read[errors][:-MAX_ERROR_BYTES]
                else:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), bytes(read[errors]), bytes(read[output])


# --- In the fork ---


def _end_with(server: int) -> None:
    """Have the kernel kill this process when its server has ended, even if that was killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:  # it has ended before the call
            os._exit(1)


def _call_and_exit(function: Callable[[], None]) -> NoReturn:
    code = 1
    try:
        function()
        sys.stdout.flush()
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _compress(task: dict[str, Any], data: bytes) -> None:
    """Compress a picture. Write a line of JSON to stdout, then the outputs' bytes."""
    _limit_resources(task["memory_bytes"], task["seconds"], task["cpu_seconds"])
    answer: dict[str, Any]
    recipe = task["recipe"]
    renditions = tuple(OutputOptions(**options) for options in recipe.pop("renditions"))
    try:
        result = compress(data, Recipe(**recipe, renditions=renditions), max_pixels=task["max_pixels"])
    except CompressError as error:
        answer, output = {"code": error.code, "detail": error.detail}, b""
    else:
        outputs = [
            {"extension": made.extension, "output": made.output._asdict(), "kept": made.kept}
            for made in result.outputs
        ]
        answer = {"source": result.source._asdict(), "animated": result.animated, "outputs": outputs}
        output = b"".join(made.data for made in result.outputs)
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + output)


def _limit_resources(memory_bytes: int, seconds: int, cpu_seconds: int) -> None:
    """Limit this process. The kernel ends it, by SIGALRM or SIGXCPU if it takes too long."""
    signal.alarm(seconds)
    _set_limit(resource.RLIMIT_CORE, 0)
    _set_limit(resource.RLIMIT_CPU, cpu_seconds, kill_after=5)
    if sys.platform == "linux":  # other systems refuse to limit address space
        _set_limit(resource.RLIMIT_AS, memory_bytes)


def _set_limit(kind: int, limit: int, *, kill_after: int = 0) -> None:
    """Set the limit, and for CPU time also when to kill a process that survives the signal at the limit."""
    _, hard = resource.getrlimit(kind)
    limit, most = (
        (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard))
        for wanted in (limit, limit + kill_after)
    )
    resource.setrlimit(kind, (limit, most))
