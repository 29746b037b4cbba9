#!/usr/bin/env python3
"""Runs a command beside a private PostgreSQL and Redis, with a Chromium at hand, and ends with its exit code.

    .venv/bin/python scripts/servers.py -- .venv/bin/python -m pytest

The command finds DATABASE_URL, REDIS_URL and CHROMIUM_EXECUTABLE, and the other settings that tests need, in
its environment; settings of the caller's own do not reach it. What is missing is installed by apt-get where
that may be done (root on Debian or Ubuntu) and named elsewhere.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.environment import clean_environment
from tests.support.servers import Postgres, Redis, ServerError, find_program

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Debian's package: the programs of which one has to be there.
PACKAGES = {
    "postgresql": (Postgres.program,),
    "redis-server": (Redis.program,),
    "chromium": CHROMIUM_NAMES,
    "unzip": ("unzip",),
    "nginx-light": ("nginx",),
}
END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOP_SECONDS = 15


def missing_packages() -> list[str]:
    """The packages of which no program is there."""
    return [package for package, programs in PACKAGES.items() if find_program(*programs) is None]


def install_missing() -> None:
    """Installs what is not there, or ends with a sentence that says what to install."""
    missing = missing_packages()
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"servers: installing {', '.join(missing)}", file=sys.stderr)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
            result = subprocess.run(
                ["apt-get", "-qq", *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if result.returncode != 0:
                sys.exit(f"servers: apt-get {command[0]} failed:\n{result.stdout}")
        missing = missing_packages()
    if missing:
        sys.exit(
            f"servers: not installed: {', '.join(missing)}. On Debian: apt-get install {' '.join(missing)}; "
            "elsewhere install PostgreSQL, Redis, Chromium, unzip and nginx and put their programs on PATH."
        )


def command_environment(database_url: str, redis_url: str, data_dir: str) -> dict[str, str]:
    """What the command sees: nothing of the caller's that could lead tests to a real database or bucket."""
    return clean_environment(data_dir) | {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "CHROMIUM_EXECUTABLE": str(find_program(*CHROMIUM_NAMES)),
    }


def run(command: list[str], environment: Mapping[str, str]) -> int:
    """Runs the command and returns its exit code as a shell would. It does not outlive this process."""
    process = subprocess.Popen(command, env=environment)
    try:
        code = process.wait()
    except SystemExit as end:
        # Ctrl-C in a terminal has reached the command already. It is SIGINT after which pytest tidies up.
        if end.code != 128 + signal.SIGINT:
            process.send_signal(signal.SIGINT)
        raise
    finally:
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return code if code >= 0 else 128 - code


def end(number: int, _: object) -> NoReturn:
    """Ends this process in good order, once: `make` repeats a signal that went to the whole group."""
    for each in END_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def main(arguments: list[str]) -> int:
    """Installs what is missing, starts the servers, runs the command."""
    if arguments[:1] != ["--"] or len(arguments) < 2:
        sys.exit("usage: scripts/servers.py -- COMMAND [ARGUMENT…]")
    for number in END_SIGNALS:
        signal.signal(number, end)
    install_missing()
    with ExitStack() as stack:
        data_dir = stack.enter_context(TemporaryDirectory(prefix="imageextractor-"))
        postgres = stack.enter_context(Postgres())
        redis = stack.enter_context(Redis())
        return run(arguments[1:], command_environment(postgres.url, redis.url, data_dir))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ServerError, OSError) as error:
        sys.exit(f"servers: {error}")
