"""The whole product as real processes: gunicorn and worker processes on PostgreSQL and Redis, or embedded."""

import json
import os
import signal
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from functools import cache
from pathlib import Path
from secrets import randbelow, token_hex
from socket import create_server
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
import redis
from psycopg.sql import SQL, Identifier

from tests.support import fork_server
from tests.support.environment import add_database
from tests.support.fork_server import Process
from tests.support.once import once
from tests.support.servers import redis_database

ROOT = fork_server.ROOT
#: For deployments whose workers are to notice sooner that something died. Not smaller: on a busy machine a
#: heartbeat may come some seconds late.
TIME_SCALE = 0.3
QUICK_TO_NOTICE = {"TEST_TIME_SCALE": str(TIME_SCALE)}

LIST_ACTORS = """
from io import StringIO
from django_dramatiq.management.commands.rundramatiq import Command
print(*Command(stdout=StringIO()).discover_tasks_modules())
"""
ISSUE_TOKEN = """
from django.contrib.auth.models import User
from products.accounts.models import ApiToken
print(ApiToken.objects.issue(User.objects.create_user({user!r})))
"""

#: What `restore` leaves: users with their tokens, the workers that run, Django's own.
KEPT_TABLES = ("accounts_", "auth_", "django_", "processing_worker", "processing_maintenance")

#: For clients of services without TLS: to make one loads all certificate authorities.
TLS = ssl.create_default_context()

#: A process that has not ended so long after a signal is killed. Our own limits are shorter.
STOP_SECONDS = 60

T = TypeVar("T")


def wait_for(condition: Callable[[], T | None], what: str, seconds: float = 200) -> T:
    """Wait until `condition` is true and return its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
    return value


def free_port() -> int:
    """A port below those that the system hands out by itself, which clients take meanwhile."""
    while True:
        port = 20_000 + randbelow(10_000)
        with suppress(OSError), create_server(("127.0.0.1", port)):
            return port


def with_database(url: str, name: str) -> str:
    """The URL of another database on the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def execute(server: str, statement: str) -> None:
    """Run SQL that no transaction may hold, such as making a database."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement)


class Template(NamedTuple):
    """A database with all tables and the user `tester`, of which a copy is made in no time."""

    name: str
    token: str  # of the user
    actors: list[str]  # modules that `manage.py rundramatiq` has Dramatiq import


@cache
def template_database(server: str) -> Template:
    if server != os.environ.get("DATABASE_URL"):
        return _make_template(server, _make_migrated_database(server))
    made = once("template", lambda: json.dumps(_make_template(server, migrated_database())).encode())
    return Template(*json.loads(made))


def migrated_database() -> str:
    """Return the name of a database with all tables on the run's server, to make copies of."""
    return once("migrated", lambda: _make_migrated_database(os.environ["DATABASE_URL"]).encode()).decode()


def _make_template(server: str, migrated: str) -> Template:
    name = f"template_{token_hex(4)}"
    execute(server, f"CREATE DATABASE {name} TEMPLATE {migrated}")
    *actors, token = _manage(
        with_database(server, name), "shell", "-v0", "-c", LIST_ACTORS + ISSUE_TOKEN.format(user="tester")
    ).split()
    return Template(name, token, actors)


def _make_migrated_database(server: str) -> str:
    name = f"migrated_{token_hex(4)}"
    execute(server, f"CREATE DATABASE {name}")
    _manage(with_database(server, name), "migrate", "--verbosity=0")
    return name


def _manage(database_url: str, *arguments: str) -> str:
    """Run `manage.py` on a database and return its output."""
    with TemporaryDirectory() as directory:
        deployment = Deployment(
            Path(directory),
            DATABASE_URL=database_url,
            REDIS_URL="redis://127.0.0.1",
            SECRET_KEY=token_hex(32),
            PUBLIC_URL="http://127.0.0.1",
        )
        return deployment.manage(*arguments)


class Deployment:
    """Processes of one installation, with a folder of their own. They end with the `with` block."""

    #: Whether processes are forked from one that has imported the libraries: not where they are measured.
    are_forked: ClassVar[bool] = False

    def __init__(self, directory: Path, **environment: str) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.environment = inherited | {
            "DATA_DIR": str(directory),
            "FETCH_ALLOWED_NETWORKS": "127.0.0.0/8",
            "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
            **environment,
        }
        self.processes: list[Process] = []
        self._tokens: dict[str, str] = {}
        self.prefix: list[str] = []  # what every process is started by, if anything
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            self.end(process, signal.SIGTERM)
        self._stack.close()
        if error is not None:
            sys.stderr.write(self.log())

    def start(self, *command: str, **environment: str) -> Process:
        """Start one of our processes in a group of its own, logging to the deployment's log."""
        log = self._stack.enter_context((self.directory / "log").open("ab"))
        environment = self.environment | environment
        process: Process
        if self.are_forked and not self.prefix:
            process = fork_server.start(command, env=environment, stdout=log, stderr=log)
        else:
            process = subprocess.Popen(
                [*self.prefix, sys.executable, *command],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def end(self, process: Process, number: signal.Signals) -> None:
        """Send a signal, to the whole group if it is one that cannot be handed on, and wait for the end."""
        if process.poll() is None:
            if number == signal.SIGKILL:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def manage(self, *arguments: str) -> str:
        """Run `manage.py`, which must succeed, and return its output."""
        done = fork_server.run(["manage.py", *arguments], env=self.environment)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def token(self, user: str = "tester") -> str:
        """An API token of a user, who is made the first time."""
        if user not in self._tokens:
            self._tokens[user] = self.manage("shell", "-v0", "-c", ISSUE_TOKEN.format(user=user)).strip()
        return self._tokens[user]

    def log(self) -> str:
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, verify=TLS, **options)

    def query(self, statement: str) -> list[Any]:
        """Rows from the deployment's database, read past all of its code."""
        raise NotImplementedError

    def wait_until_up(self, process: Process) -> None:
        """Return when `process` serves."""

        def answers() -> bool:
            assert process.poll() is None, self.log()
            try:
                return httpx.get(f"{self.url}/healthz", verify=TLS).status_code == 200
            except httpx.TransportError:
                return False

        wait_for(answers, "the web server answers")


class Embedded(Deployment):
    """`manage.py serve` without any service, with all tables from the start if `directory` is empty."""

    def __enter__(self) -> Self:
        add_database(self.directory)
        return self

    def serve(self) -> Process:
        process = self.start("manage.py", "serve", "--bind", f"127.0.0.1:{self.port}")
        self.wait_until_up(process)
        return process

    def query(self, statement: str) -> list[Any]:
        with closing(sqlite3.connect(self.directory / "db.sqlite3", timeout=60)) as connection:
            return connection.execute(statement).fetchall()


class Cluster(Deployment):
    """gunicorn and workers on PostgreSQL and Redis, the run's unless given, in a database of their own."""

    def __init__(
        self,
        directory: Path,
        *,
        database_url: str | None = None,
        redis_url: str | None = None,
        **environment: str,
    ) -> None:
        self._server = database_url or os.environ["DATABASE_URL"]
        self._database = f"stack_{token_hex(4)}"
        super().__init__(
            directory,
            DATABASE_URL=with_database(self._server, self._database),
            REDIS_URL=redis_url or redis_database(os.environ["REDIS_URL"], 1),
            SECRET_KEY=token_hex(32),
            **environment,
        )
        self.environment["PUBLIC_URL"] = self.url
        self._connection: psycopg.Connection[Any] | None = None

    def __enter__(self) -> Self:
        template = template_database(self._server)
        execute(self._server, f"CREATE DATABASE {self._database} TEMPLATE {template.name}")
        self._tokens["tester"] = template.token
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        if self._connection:
            self._connection.close()
        execute(self._server, f"DROP DATABASE {self._database} WITH (FORCE)")

    def web(self) -> Process:
        """Start gunicorn; it serves when this returns."""
        process = self.start_web()
        self.wait_until_up(process)
        return process

    def workers(self, count: int) -> list[Process]:
        """Start worker processes; they are at work when this returns."""
        before = self._worker_ids()
        started = self.start_workers(count)
        wait_for(lambda: len(self._worker_ids() - before) >= count, "workers are up")
        return started

    def run(self, *, workers: int) -> None:
        """Start gunicorn and workers at the same time; all are up when this returns."""
        web = self.start_web()
        self.start_workers(workers)
        self.wait_until_all_up(web, workers=workers)

    def wait_until_all_up(self, web: Process, *, workers: int) -> None:
        """Return when gunicorn serves and so many workers are at work."""
        self.wait_until_up(web)
        wait_for(lambda: len(self._worker_ids()) >= workers, "workers are up")

    def restore(self, *, workers: int) -> None:
        """Make it as `run` left it: these processes only, no rows but users and tokens, an empty log."""
        running = [process for process in self.processes if process.poll() is None]
        self._forget_dead_workers()
        groups = {os.getpgid(pid) for (pid,) in self.query("SELECT pid FROM processing_worker")}
        web = [process for process in running if "gunicorn" in str(process.args)][:1]
        kept = [process for process in running if process.pid in groups][:workers]
        for process in running:
            if process not in web + kept:
                self.end(process, signal.SIGTERM)
        web = web or [self.start_web()]
        kept += self.start_workers(workers - len(kept))
        self.processes = web + kept
        self.wait_until_up(web[0])
        wait_for(lambda: len(self._worker_ids()) == workers, "workers are up")
        with redis.Redis.from_url(self.environment["REDIS_URL"]) as client:
            client.flushdb()
        names = [
            name for (name,) in self.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        ]
        with psycopg.connect(self.environment["DATABASE_URL"]) as connection:
            for name in names:
                if not name.startswith(KEPT_TABLES):
                    connection.execute(SQL("DELETE FROM {}").format(Identifier(name)))
            connection.execute("UPDATE accounts_apitoken SET last_used_at = NULL")
        os.truncate(self.directory / "log", 0)

    def _forget_dead_workers(self) -> None:
        for key, pid in self.query("SELECT id, pid FROM processing_worker"):
            if not Path("/proc", str(pid)).exists():
                self.query(f"DELETE FROM processing_worker WHERE id = '{key}' RETURNING 1")  # noqa: S608

    def start_web(self) -> Process:
        """Start gunicorn, without waiting for it."""
        return self.start(
            *("-m", "gunicorn", "-c", "python:imageextractor.gunicorn_conf"),
            *("-b", f"127.0.0.1:{self.port}", "imageextractor.wsgi"),
        )

    def start_workers(self, count: int) -> list[Process]:
        """Start worker processes, without waiting for them."""
        return [self._start_dramatiq(8, "images", "feeds") for _ in range(count)]

    def _start_dramatiq(self, threads: int, *queues: str) -> Process:
        """Start that by which `manage.py rundramatiq` replaces itself. It takes half of the time."""
        actors = template_database(self._server).actors
        return self.start(
            *("-m", "dramatiq", "--path", ".", "--processes", "1", "--threads", str(threads)),
            *(*actors, "--queues", *queues),
            DJANGO_SETTINGS_MODULE="imageextractor.settings",
        )

    def webhooks(self) -> Process:
        """Start a process that delivers webhooks; messages wait until it is up."""
        return self._start_dramatiq(16, "webhooks")

    def _worker_ids(self) -> set[Any]:
        return {key for (key,) in self.query("SELECT id FROM processing_worker")}

    def query(self, statement: str) -> list[Any]:
        try:
            return self._query(statement)
        except psycopg.OperationalError:  # the server may have been killed and started since the last one
            return self._query(statement)

    def _query(self, statement: str) -> list[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self.environment["DATABASE_URL"], autocommit=True)
        return self._connection.execute(statement).fetchall()
