"""Python programs as processes that are forked from one which has imported the libraries they use.

To import Django, aiohttp, NumPy and the rest takes a process most of a second of CPU; tests start hundreds.
A fork has its own environment, folder, files, session and exit code. It imports our modules, and libraries
that read settings or the environment as they are imported, by itself.

For each process the server is sent four files: stdin, stdout, stderr, and a socket over which it is told in a
line of JSON what to run. It answers with the process ID and, once the process has ended, the exit code.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Protocol

#: Not `gunicorn`, `prometheus_client` and `rest_framework`, which read the environment or settings.
LIBRARIES = (
    *("aiohttp", "boto3", "cryptography.fernet", "httpx", "numpy", "PIL.Image", "pillow_heif", "psycopg"),
    *("redis.asyncio", "requests", "storages.backends.s3", "tqdm", "whitenoise.middleware", "yaml"),
    *(
        "dramatiq.brokers.redis",
        "dramatiq.cli",
        "django.contrib.admin.options",
        "django.contrib.auth.hashers",
    ),
    *("django.contrib.messages.storage.fallback", "django.contrib.postgres.fields"),
    *("django.contrib.staticfiles.storage", "django.core.cache.backends.redis", "django.core.handlers.wsgi"),
    *("django.core.management.commands.shell", "django.db.backends.postgresql.base"),
    *("django.db.backends.sqlite3.base", "django.middleware.csrf", "django.views.generic"),
)
ROOT = Path(__file__).resolve().parents[2]
#: A program that has not ended by then is killed.
RUN_SECONDS = 200


class Process(Protocol):
    """A `Fork`, or what `subprocess.Popen` has started."""

    args: Any
    pid: int
    returncode: int | Any

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...


class Fork:
    """A process that the fork server has started."""

    def __init__(self, arguments: Sequence[str], connection: socket.socket) -> None:
        self._connection = connection.makefile("rb", buffering=0)
        self.args: Any = arguments
        self.pid = int(self._connection.readline())
        self.returncode: int | Any = None

    def poll(self) -> int | None:
        """Return the exit code, or that of a signal below 0. Return None while the process runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, at most so many seconds, and return the exit code."""
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._connection.readline())
            self._connection.close()
        return self.returncode

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


@cache
def _server() -> socket.socket:
    """Start the server, which ends with this process."""
    ours, theirs = socket.socketpair()
    with theirs:
        server = subprocess.Popen(
            [sys.executable, "-m", __name__], cwd=ROOT, stdin=theirs.fileno(), start_new_session=True
        )
    atexit.register(server.wait)
    atexit.register(ours.close)
    return ours


def start(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path = ROOT,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes],
    stderr: IO[bytes],
) -> Fork:
    """Start a program, given as to Python: a script, or `-m` and a module, and arguments."""
    ours, theirs = socket.socketpair()
    with ours, theirs, Path(os.devnull).open("rb") as nothing:
        files = (stdin or nothing, stdout, stderr, theirs)
        socket.send_fds(_server(), [b"\n"], [file.fileno() for file in files])
        request = {"arguments": list(arguments), "environment": dict(env), "directory": str(cwd)}
        ours.sendall(json.dumps(request).encode() + b"\n")
        return Fork(arguments, ours)


def run(
    arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path = ROOT, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end, as `subprocess.run` does with output captured."""
    with TemporaryFile() as given, TemporaryFile() as output, TemporaryFile() as errors:
        given.write(stdin)
        given.seek(0)
        process = start(arguments, env=env, cwd=cwd, stdin=given, stdout=output, stderr=errors)
        try:
            code = process.wait(RUN_SECONDS)
        except BaseException:
            process.send_signal(signal.SIGKILL)
            raise
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(arguments, code, output.read(), errors.read())


def run_text(
    arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, as `run` does, and return its output as text."""
    done = run(arguments, env=env, cwd=cwd)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


# --- In the server ---


def _serve() -> list[str] | None:
    """Fork for each request. Return what to run in the forks, and None in the server at its end."""
    with socket.socket(fileno=os.dup(0)) as requests:
        while files := socket.recv_fds(requests, 1, 4)[1]:
            if not os.fork():
                requests.close()
                return _start(*files)
            for file in files:
                os.close(file)
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
    return None


def _start(stdin: int, stdout: int, stderr: int, client: int) -> list[str]:
    """Fork once more: the child is the process, and this one tells the client about it."""
    with os.fdopen(client, "r+b", buffering=0) as connection:
        request = json.loads(connection.readline())
        if pid := os.fork():
            for file in (0, 1, 2, stdin, stdout, stderr):
                os.close(file)
            connection.write(b"%d\n" % pid)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            with suppress(BrokenPipeError):  # nobody asks any more
                connection.write(b"%d\n" % code)
            os._exit(0)
    os.setsid()
    for target, file in enumerate((stdin, stdout, stderr)):
        os.dup2(file, target)
        os.close(file)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    arguments: list[str] = request["arguments"]
    return arguments


def _run(arguments: list[str]) -> None:
    """Run a program as Python does that is started with these arguments."""
    if arguments[0] == "-c" or any(name.startswith("PYTHON") for name in os.environ):  # not by a fork
        os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path[0] = str(Path(arguments[0]).parent.resolve())
        runpy.run_path(arguments[0], run_name="__main__")


def main() -> None:
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.collect()
    gc.freeze()
    if arguments := _serve():
        _run(arguments)


if __name__ == "__main__":
    main()
