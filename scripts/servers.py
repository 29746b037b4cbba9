#!/usr/bin/env python3
"""Runs a command beside a private PostgreSQL and Redis, and ends with its exit code.

    .venv/bin/python scripts/servers.py Chromium unzip -- .venv/bin/python -m pytest

The command finds DATABASE_URL, REDIS_URL, CHROMIUM_EXECUTABLE, and the other settings that tests need, in its
environment; settings of the caller's own do not reach it. The servers and the programs named before `--` are
installed by apt-get if they are missing, where that may be done (root on Debian or Ubuntu). Without a server
the run ends. Without one of the programs it goes on, with the program's name in MISSING_PROGRAMS: the tests
that need it are left out, and the run fails at its end.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.environment import clean_environment
from tests.support.servers import Postgres, Redis, ServerError, find_program

# First the one without windows and menus, which takes less CPU.
CHROMIUM_NAMES = (
    *("chromium-headless-shell", "chrome-headless-shell"),
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
)
SERVERS = ("PostgreSQL", "Redis")
# Debian's package, and the names of the program.
PROGRAMS = {
    "PostgreSQL": ("postgresql", (Postgres.program,)),
    "Redis": ("redis-server", (Redis.program,)),
    "Chromium": ("chromium-headless-shell", CHROMIUM_NAMES),
    "unzip": ("unzip", ("unzip",)),
    "promtool": ("prometheus", ("promtool",)),
    "nginx": ("nginx-light", ("nginx",)),
}
END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOP_SECONDS = 15


def missing_of(programs: Iterable[str]) -> list[str]:
    """Return the programs that are not installed."""
    return [name for name in programs if find_program(*PROGRAMS[name][1]) is None]


def apt_get(*arguments: str) -> None:
    """Run apt-get; if it fails, say why."""
    result = subprocess.run(
        ["apt-get", "-qq", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        print(f"servers: apt-get {arguments[0]} failed:\n{result.stdout}", file=sys.stderr)


def install_missing(programs: list[str]) -> list[str]:
    """Install the servers and these programs. Return the programs that are still missing.

    End the process, with a sentence that says what to install, if a server is.
    """
    wanted = [*SERVERS, *programs]
    missing = missing_of(wanted)
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"servers: installing {', '.join(missing)}", file=sys.stderr)
        apt_get("update")
        for name in missing:  # one that cannot be installed keeps no other away
            apt_get("install", "-y", "--no-install-recommends", PROGRAMS[name][0])
        missing = missing_of(wanted)
    if missing:
        packages = " ".join(PROGRAMS[name][0] for name in missing)
        print(
            f"servers: not installed: {', '.join(missing)}. On Debian: apt-get install {packages}; "
            "elsewhere install them and put their programs on PATH.",
            file=sys.stderr,
        )
    if any(name in SERVERS for name in missing):
        sys.exit(1)
    if missing:
        print(
            f"servers: the tests that need {' or '.join(missing)} will not run, and the run will fail.",
            file=sys.stderr,
        )
    return missing


def command_environment(
    database_url: str, redis_url: str, data_dir: str, missing: list[str]
) -> dict[str, str]:
    """Return the command's environment, without variables that name a real database or bucket."""
    return clean_environment(data_dir) | {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "CHROMIUM_EXECUTABLE": find_program(*CHROMIUM_NAMES) or "",
        "MISSING_PROGRAMS": ",".join(missing),
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
    programs, command = [], arguments
    while command and command[0] in PROGRAMS:
        programs.append(command[0])
        command = command[1:]
    if command[:1] != ["--"] or len(command) < 2:
        sys.exit("usage: scripts/servers.py [Chromium] [unzip] [promtool] [nginx] -- COMMAND [ARGUMENT…]")
    for number in END_SIGNALS:
        signal.signal(number, end)
    missing = install_missing(programs)
    with ExitStack() as stack:
        data_dir = stack.enter_context(TemporaryDirectory(prefix="imageextractor-"))
        postgres = stack.enter_context(Postgres())
        redis = stack.enter_context(Redis())
        return run(command[1:], command_environment(postgres.url, redis.url, data_dir, missing))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ServerError, OSError) as error:
        sys.exit(f"servers: {error}")
