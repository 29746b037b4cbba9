"""Private PostgreSQL and Redis servers for tests: on free ports of this machine, in temporary directories.

They can be stopped, killed and started again under the same URL.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis

START_SECONDS = 60
STOP_SECONDS = 30
VERSION_OPTIONS = {"unzip": "-v", "nginx": "-v"}  # of those that do not take --version
# Debian and Fedora keep PostgreSQL's server programs outside PATH.
SERVER_DIRECTORIES = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "usr/sbin")


class ServerError(Exception):
    """A server did not start, or a program it needs is not there."""


def find_program(*names: str) -> str | None:
    """The path of the first of these programs that is there and runs."""
    outside = [str(path) for pattern in SERVER_DIRECTORIES for path in Path("/").glob(pattern)]
    directories = os.pathsep.join([os.environ.get("PATH", os.defpath), *outside])
    for name in names:
        path = shutil.which(name, path=directories)
        # Ubuntu's chromium-browser, for one, is a stub that only names another package.
        version = VERSION_OPTIONS.get(name, "--version")
        if path and subprocess.run([path, version], capture_output=True, check=False).returncode == 0:
            return path
    return None


def redis_database(url: str, number: int) -> str:
    """The URL of another database of the same Redis, counted from the one that `url` names."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{int(parts.path.strip('/') or 0) + number}"))


class Server:
    """One server process with a directory of its own. As a context manager it is started and closed."""

    program: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    kill_signal: ClassVar[signal.Signals]
    may_start: ClassVar[bool] = True  # not in `make quick`

    def __init__(self) -> None:
        if not self.may_start:
            raise ServerError(f"--quick starts no servers: mark the test with needs({self.program!r})")
        path = find_program(self.program)
        if path is None:
            raise ServerError(f"{self.program} is not installed")
        self.path = Path(path)
        self.port: int | None = None
        self._temporary = TemporaryDirectory(prefix="imageextractor-")
        self.directory = Path(self._temporary.name)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The URL of the server, which is the same after every start."""
        raise NotImplementedError

    def start(self) -> None:
        """Starts it and returns when it answers."""
        if self.port is not None:
            self._launch(self.port)
            return
        for attempt in range(5):
            # Below the ports that the system hands out by itself, which could take it between two starts.
            port = 20_000 + secrets.randbelow(10_000)
            try:
                self._launch(port)
            except ServerError:
                if attempt == 4:
                    raise
            else:
                self.port = port
                return

    def stop(self) -> None:
        """Ends it in good order, hanging up on its clients."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """Ends it at once, as a crash would."""
        self._end(self.kill_signal)

    def pause(self) -> None:
        """Makes it fall silent: connections are still taken up by the kernel, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it answer again, what was asked meanwhile included."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Ends it and removes its files."""
        self.kill()
        self._temporary.cleanup()

    def _launch(self, port: int) -> None:
        log = self.directory / "log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command(port),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A Ctrl-C in the terminal is for the tests; they still need the server to clean up.
                start_new_session=True,
                **self._process_options(),
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers(port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServerError(f"{self.program} did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.02)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise ServerError(f"{self.program} is not running")
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _process_options(self) -> dict[str, Any]:
        return {"cwd": self.directory}

    def _command(self, port: int) -> list[str | Path]:
        raise NotImplementedError

    def _answers(self, port: int) -> bool:
        """Asked over the socket in the server's own directory, where nobody else can answer."""
        raise NotImplementedError


class Postgres(Server):
    """A PostgreSQL cluster. What is committed survives `kill`, as it would a crash."""

    program = "postgres"
    stop_signal = signal.SIGINT  # "fast": transactions are rolled back, clients hung up on
    kill_signal = signal.SIGQUIT  # "immediate": SIGKILL would leave the backends behind

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        if not self._data.exists():
            self._create()
        super().start()

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _create(self) -> None:
        if owner := self._process_options().get("user"):
            shutil.chown(self.directory, owner)
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        command: list[str | Path] = [self.path.with_name("initdb"), "-D", self._data, *options]
        # Left to finish even when this process is to end: killed, it leaves a server that still writes.
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, start_new_session=True, **self._process_options()
        ) as initdb:
            code = initdb.wait()
        if code != 0:
            raise ServerError(f"initdb failed with exit code {code}")

    def _process_options(self) -> dict[str, Any]:
        options = super()._process_options()
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root; its packages make this user
            group = pwd.getpwnam("postgres").pw_gid
            options |= {"user": "postgres", "group": group, "extra_groups": []}
        return options

    def _command(self, port: int) -> list[str | Path]:
        settings = [
            f"port={port}",
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self.directory}",
            # A crash of the machine may cost the data, a crash of the server may not.
            "fsync=off",
            "full_page_writes=off",
            "max_connections=400",  # several clusters at a time
        ]
        return [self.path, "-D", self._data, *(part for setting in settings for part in ("-c", setting))]

    def _answers(self, port: int) -> bool:
        try:
            psycopg.connect(host=str(self.directory), port=port, user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            return False
        return True


class Redis(Server):
    """A Redis that writes nothing down: each start is an empty one."""

    program = "redis-server"
    stop_signal = signal.SIGTERM
    kill_signal = signal.SIGKILL

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def _socket(self) -> Path:
        return self.directory / "redis.sock"

    def _command(self, port: int) -> list[str | Path]:
        listen: list[str | Path] = ["--port", str(port), "--bind", "127.0.0.1", "--unixsocket", self._socket]
        return [self.path, *listen, "--save", "", "--appendonly", "no"]

    def _answers(self, port: int) -> bool:
        try:
            with redis.Redis(unix_socket_path=str(self._socket)) as client:
                client.ping()
        except redis.ConnectionError:
            return False
        return True
